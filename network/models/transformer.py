"""The pyramid of a plain vision transformer, all of whose maps have the same stride.

Source: the simple feature pyramid of ViTDet (Li et al., "Exploring Plain Vision Transformer
Backbones for Object Detection", ECCV 2022). It makes all levels from the last map. Here each level
is made from another depth, as BEiT does for segmentation (Bao et al., ICLR 2022), and each map is
normalized first, because maps of different depths have very different magnitudes.

Notation: b batch, p side of the patches in pixels, (H, W) size of the image, c width of the
transformer.
"""

from collections.abc import Sequence

import torch.nn.functional as nnf
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from network.models.padding import crop, pad

STRIDE = 16
"""Stride of the level that keeps the resolution of the transformer's maps."""

_CHANNELS = 256


class SimpleFeaturePyramid(nn.Module):
    """Four maps at strides 4, 8, 16 and 32 from four maps of a plain vision transformer.

    Each level has 256 channels, as in the paper, or half the width of the transformer if that is
    less. Otherwise the pyramid of a small transformer would cost more than the transformer.

    Args:
        width: number of channels of the transformer's maps, c.
        patch: side of its patches in pixels, p.

    Attributes:
        channels: number of channels of each level.
    """

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.patch = patch
        channels = min(_CHANNELS, width // 2)
        self.channels = [channels] * 4
        to_quarter = (
            nn.ConvTranspose2d(width, width // 2, 2, stride=2),
            LayerNorm2d(width // 2),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2),
        )
        to_eighth = (nn.ConvTranspose2d(width, width // 2, 2, stride=2),)
        self.levels = nn.ModuleList(
            nn.Sequential(LayerNorm2d(width), *resize, *_smooth(inputs, channels))
            for resize, inputs in (
                (to_quarter, width // 4),
                (to_eighth, width // 2),
                ((), width),
                ((nn.MaxPool2d(2),), width),
            )
        )

    def pad(self, image: Tensor) -> Tensor:
        """Repeat the last row and column until both sides are multiples of the patch."""
        return pad(image, self.patch)

    def forward(self, maps: Sequence[Tensor], height: int, width: int) -> list[Tensor]:
        """Compute the levels, each (b, channels, H / s, W / s) for its stride s.

        Args:
            maps: four maps of the padded image, shallow to deep, each (b, c, ceil(H / p),
                ceil(W / p)).
            height: height H of the image before it is padded, a multiple of 32.
            width: its width W, a multiple of 32.
        """
        size = height // STRIDE, width // STRIDE
        return [
            level(self._at_stride(features, *size))
            for level, features in zip(self.levels, maps, strict=True)
        ]

    def _at_stride(self, features: Tensor, height: int, width: int) -> Tensor:
        """Sample a map (b, c, ceil(H / p), ceil(W / p)) at stride 16, and cut off the padding.

        The factor is exactly p / 16, so each sample lies where its pixels are. The quotient of the
        two sizes would be another factor, because of the padding.
        """
        if self.patch == STRIDE:
            return features
        factor = self.patch / STRIDE
        sampled = nnf.interpolate(
            features,
            scale_factor=factor,
            mode="bilinear",
            align_corners=False,
            recompute_scale_factor=False,
        )
        return crop(sampled, height, width)


def _smooth(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 1, bias=False),
        LayerNorm2d(outputs),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        LayerNorm2d(outputs),
    )
