"""Padding of images to a multiple of a stride, and the cut that undoes it."""

import torch.nn.functional as nnf
from torch import Tensor


def pad(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of ``multiple``."""
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return nnf.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


def crop(maps: Tensor, height: int, width: int) -> Tensor:
    """Cut out the top left part of maps (..., H, W)."""
    return maps[..., :height, :width]
