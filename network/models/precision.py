"""What stays in full precision under autocast."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
