"""How a network computes: precision, memory format, compilation and device."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from network.errors import InputError
from network.settings import Compute

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def prepare(model: nn.Module, compute: Compute) -> nn.Module:
    """``model`` itself, changed to compute so; the names of its parameters stay."""
    if compute.channels_last:
        # torch's overloads lack the keyword that its documentation has.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compute.compile:
        # For each size anew: graphs for any size are slower, and fail where sizes are compared.
        model.compile(dynamic=False)
    return model


def arrange(image: Tensor, compute: Compute) -> Tensor:
    """(b, c, H, W) in the memory format that the network computes in; values and shape stay."""
    return image.contiguous(memory_format=torch.channels_last) if compute.channels_last else image


def autocast(compute: Compute, device: torch.device) -> AbstractContextManager:
    """What a forward pass runs in; Lightning has its own for training."""
    dtype = _AUTOCAST.get(compute.precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


def find_device(name: str) -> torch.device:
    """``auto``: the GPU if there is one.

    Raises:
        InputError: torch cannot use it here.
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
