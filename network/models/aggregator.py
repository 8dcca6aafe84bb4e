"""The aggregator, which joins four encoder stages to one map of class-independent features.

Source: arXiv 2512.20255, section 3; the same function as the released code, in a cheaper order.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import cast

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn


class Aggregator(nn.Module):
    """The module that joins the stages of an encoder to one map.

    It has one Linear for each stage, a resize to the first stage, a concatenation, and one Linear
    without bias. Both Linears act on each pixel alone, so they commute with the resize. So each
    stage is brought to d channels at its own resolution, and the resized maps are added.

    Args:
        channels: numbers of channels of the stages, shallow to deep.
        dim: number of channels of the result, d.
    """

    def __init__(self, channels: Sequence[int], dim: int):
        super().__init__()
        projections = nn.ModuleList(nn.Linear(c, dim) for c in channels)
        # torch has no type for a ModuleList of one kind of modules.
        self.projections = cast("Iterable[nn.Linear]", projections)
        # Its input is the concatenation of the projected stages, deepest first.
        self.fuse = nn.Linear(dim * len(channels), dim, bias=False)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Join the stages.

        Args:
            stages: maps, each (b, c_i, h_i, w_i), shallow to deep.

        Returns:
            Features (b, h, w, d) at the first stage's size.
        """
        size = stages[0].shape[-2:]
        slices = self.fuse.weight.chunk(len(stages), dim=1)[::-1]  # shallow to deep, (d, d) each
        # A bias is the same at every pixel, so the resize does not change it. It is added once.
        shifts = (
            fuse @ projection.bias
            for fuse, projection in zip(slices, self.projections, strict=True)
        )
        bias = reduce(torch.add, shifts)
        first, *deeper = zip(stages, self.projections, slices, strict=True)
        total = _project(*first, bias)
        for stage, projection, fuse in deeper:
            features = _project(stage, projection, fuse)
            total += _resize(features, size)  # in place, since nothing needs the partial sums
        return total


def _project(
    stage: Tensor, projection: nn.Linear, fuse: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Compute the part of one stage in the features, (b, h_i, w_i, d).

    Args:
        stage: (b, c_i, h_i, w_i)
        projection: Linear of the stage.
        fuse: (d, d), weight of the second Linear for this stage.
        bias: (d,), added to the result.
    """
    pixels = stage.permute(0, 2, 3, 1)  # (b, h_i, w_i, c_i)
    # A program for other runtimes keeps the product as a constant, whatever the size of its images.
    if torch.compiler.is_exporting() or pixels[..., 0].numel() > pixels.shape[-1]:
        weight = fuse @ projection.weight  # (d, c_i), cheaper than a map of d channels
        return nnf.linear(pixels, weight, bias)
    features = nnf.linear(nnf.linear(pixels, projection.weight), fuse)
    return features if bias is None else features + bias


def _resize(features: Tensor, size: torch.Size) -> Tensor:
    """Resize features (b, h_i, w_i, d) to (b, h, w, d), bilinear."""
    channels_first = features.permute(0, 3, 1, 2)  # a view, so the memory stays channels-last
    resized = nnf.interpolate(channels_first, size=size, mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)
