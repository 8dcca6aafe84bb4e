"""Computation in full precision under autocast."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Convert a tensor to float32, unless its type is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
