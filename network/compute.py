"""Precision, memory format, compilation and device of a network."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from network.errors import InputError
from network.settings import Compute

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def prepare(model: nn.Module, compute: Compute) -> nn.Module:
    """Set the memory format and the compilation of a network in place and return it.

    The names of its parameters stay the same.

    Args:
        model: the network.
        compute: settings to apply.
    """
    if compute.channels_last:
        # torch's overloads lack the keyword that its documentation has.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compute.compile:
        # One graph for each size: a graph for all sizes is slower, and it fails where code
        # compares sizes.
        model.compile(dynamic=False)
    return model


def arrange(image: Tensor, compute: Compute) -> Tensor:
    """Put images (b, c, H, W) into the network's memory format; values and shape stay the same."""
    return image.contiguous(memory_format=torch.channels_last) if compute.channels_last else image


def autocast(compute: Compute, device: torch.device) -> AbstractContextManager:
    """Return the context for a forward pass in the set precision; training uses Lightning's."""
    dtype = _AUTOCAST.get(compute.precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


def find_device(name: str) -> torch.device:
    """Find a device by its name.

    Args:
        name: ``"auto"`` for the GPU, or the CPU if there is none; or a name of torch, such as
            ``"cuda:1"``.

    Raises:
        InputError: torch cannot use the device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={name}", "torch cannot use it here", "give cpu or cuda"
        ) from error
    return device


def available_gpus() -> tuple[str, ...]:
    """Name the GPUs that this process may use, as in ``CUDA_VISIBLE_DEVICES``."""
    count = torch.cuda.device_count()
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return tuple(names[:count] or map(str, range(count)))
