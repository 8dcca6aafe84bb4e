"""Computation in full precision under autocast."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Convert a tensor to float32, unless its type is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def current_autocast(device: torch.device) -> Callable[[], AbstractContextManager]:
    """Remember the autocast of a forward pass, under which its backward pass computes again.

    Args:
        device: device of the computation.

    Returns:
        A function that makes the context.
    """
    kind = device.type
    is_enabled = torch.is_autocast_enabled(kind)
    return partial(torch.autocast, kind, torch.get_autocast_dtype(kind), enabled=is_enabled)
