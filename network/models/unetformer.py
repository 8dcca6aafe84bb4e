"""UNetFormer, a common baseline: a convolutional encoder and a decoder of global-local attention.

Source: Wang et al., "UNetFormer: A UNet-like transformer for efficient semantic segmentation of
remote sensing urban scene imagery", ISPRS Journal 190, 2022. Written from the paper: it differs
from the authors' code at the edges of maps (padding of windows, means and the large kernel) and in
how the auxiliary maps are resized.

Notation: b batch, k classes, d channels of the decoder, (h, w) of a map, n heads, t = p * p pixels
of a window.
"""

from typing import Unpack

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from network.models.encoder import AdaptationOptions, Encoder
from network.models.output import SegOutput
from network.models.padding import crop, pad
from network.models.segmenter import Segmenter, check_setting

WINDOW = 8
HEADS = 8
EPSILON = 1e-8


def _conv(
    inputs: int, outputs: int, kernel: int, activation: bool = False, groups: int = 1
) -> nn.Sequential:
    """Build a sequence of a convolution (no bias), a BatchNorm and optionally a ReLU6."""
    before, after = (kernel - 1) // 2, kernel // 2  # an even kernel has no middle
    edge = [] if before == after else [nn.ZeroPad2d((0, 1, 0, 1))]
    conv = nn.Conv2d(inputs, outputs, kernel, padding=before, groups=groups, bias=False)
    end = [nn.ReLU6()] if activation else []
    return nn.Sequential(*edge, conv, nn.BatchNorm2d(outputs), *end)


def _separable(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    depthwise = _conv(inputs, inputs, kernel, groups=inputs)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=False))


class WindowAttention(nn.Module):
    """The self-attention of n heads in windows, with a learned bias for each relative position."""

    position_index: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.position_bias = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, HEADS))
        nn.init.trunc_normal_(self.position_bias, std=0.02)
        rows, columns = torch.arange(WINDOW**2) // WINDOW, torch.arange(WINDOW**2) % WINDOW
        offsets = [line[:, None] - line + WINDOW - 1 for line in (rows, columns)]
        index = offsets[0] * (2 * WINDOW - 1) + offsets[1]
        self.register_buffer("position_index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the attention of x (b, d, h, w), with h and w multiples of the window."""
        b, d, h, w = x.shape
        rows, columns = h // WINDOW, w // WINDOW
        windows = self.qkv(x).view(b, 3, HEADS, d // HEADS, rows, WINDOW, columns, WINDOW)
        windows = windows.permute(1, 0, 4, 6, 2, 5, 7, 3)  # (3, b, rows, columns, n, p, p, c)
        query, key, value = windows.reshape(3, b * rows * columns, HEADS, WINDOW**2, d // HEADS)
        bias = self.position_bias[self.position_index].permute(2, 0, 1)  # (n, t, t)
        out = nnf.scaled_dot_product_attention(query, key, value, bias.to(query))
        out = out.view(b, rows, columns, HEADS, WINDOW, WINDOW, d // HEADS)
        return out.permute(0, 3, 6, 1, 4, 2, 5).reshape(b, d, h, w)


class GlobalLocalAttention(nn.Module):
    """A convolutional branch, and window attention with context along rows and columns."""

    def __init__(self, dim: int):
        super().__init__()
        self.wide, self.narrow = _conv(dim, dim, 3), _conv(dim, dim, 1)
        self.attention = WindowAttention(dim)
        self.projection = _separable(dim, dim, WINDOW)

    def forward(self, x: Tensor) -> Tensor:
        """Compute features (b, d, h, w) from x of the same shape."""
        height, width = x.shape[-2:]
        attended = self.attention(pad(x, WINDOW))
        # Means over a window's height and width around each pixel give context across windows.
        context = _mean(attended, WINDOW, 1) + _mean(attended, 1, WINDOW)
        return self.projection(crop(context, height, width) + self.wide(x) + self.narrow(x))


def _mean(x: Tensor, height: int, width: int) -> Tensor:
    """Compute the mean of ``height`` x ``width`` pixels around each pixel; edges are mirrored."""
    top, left = (height - 1) // 2, (width - 1) // 2
    padded = nnf.pad(x, (left, width - 1 - left, top, height - 1 - top), mode="reflect")
    return nnf.avg_pool2d(padded, (height, width), stride=1)


class Block(nn.Module):
    """Global-local attention and a pointwise MLP, each behind a BatchNorm and beside a shortcut."""

    def __init__(self, dim: int):
        super().__init__()
        self.attention = nn.Sequential(nn.BatchNorm2d(dim), GlobalLocalAttention(dim))
        self.mlp = nn.Sequential(
            nn.BatchNorm2d(dim), nn.Conv2d(dim, 4 * dim, 1), nn.ReLU6(), nn.Conv2d(4 * dim, dim, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


class WeightedSum(nn.Module):
    """The weighted sum of an enlarged map and a stage; learned positive weights sum to 1."""

    def __init__(self, channels: int, dim: int):
        super().__init__()
        self.lateral = nn.Conv2d(channels, dim, 1, bias=False)
        self.weights = nn.Parameter(torch.ones(2))
        self.smooth = _conv(dim, dim, 3, activation=True)

    def forward(self, x: Tensor, stage: Tensor) -> Tensor:
        """Compute the sum (b, d, 2h, 2w) of x (b, d, h, w) and a stage (b, c, 2h, 2w)."""
        weights = self.weights.relu()
        weights = weights / (weights.sum() + EPSILON)
        return self.smooth(weights[0] * self.lateral(stage) + weights[1] * _resize(x, stage))


class FeatureRefinement(nn.Module):
    """The last weighted sum, followed by parallel attention to pixels and to channels."""

    def __init__(self, channels: int, dim: int):
        super().__init__()
        self.sum = WeightedSum(channels, dim)
        self.pixels = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.Sigmoid())
        hidden = dim // 16
        self.channels = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, hidden, 1, bias=False),
            nn.ReLU6(),
            nn.Conv2d(hidden, dim, 1, bias=False),
            nn.Sigmoid(),
        )
        self.shortcut = _conv(dim, dim, 1)
        self.projection = _separable(dim, dim, 3)

    def forward(self, x: Tensor, stage: Tensor) -> Tensor:
        """Compute the refined features; shapes are those of :class:`WeightedSum`."""
        x = self.sum(x, stage)
        refined = x * self.pixels(x) + x * self.channels(x)
        return nnf.relu6(self.projection(refined) + self.shortcut(x))


class UNetFormer(Segmenter):
    """The network UNetFormer: encoder, three global-local blocks, feature refinement, classifier.

    Args:
        num_classes: number of classes, k.
        encoder: a timm model with maps at strides 4, 8, 16 and 32; the paper uses a ResNet-18.
        weights: weights of the encoder: ``"imagenet"``, a local file, or None.
        dim: number of channels, d, a multiple of 16.
        dropout: share of the channels that the classifier drops in training.
        aux: whether training also gives logits of the sum of the three blocks.
        drop_path: rate of stochastic depth of the encoder.
        bands: number of bands of each image.
        adaptation: the settings ``out_indices``, ``freeze`` and ``lora`` of the encoder, see
            :class:`Encoder`.

    Raises:
        InputError: ``dim`` is not a multiple of 16, or see :class:`Encoder`.
    """

    def __init__(
        self,
        num_classes: int,
        encoder: str = "resnet18.a1_in1k",
        weights: str | None = "imagenet",
        dim: int = 64,
        dropout: float = 0.1,
        aux: bool = True,
        drop_path: float = 0.0,
        bands: int = 3,
        **adaptation: Unpack[AdaptationOptions],
    ):
        super().__init__(aux)
        check_setting("dim", dim, dim > 0 and dim % 16 == 0, "a multiple of 16")
        self.encoder = Encoder(
            encoder, weights, drop_path, checkpoint=False, bands=bands, **adaptation
        )
        shallow, *middle, deep = self.encoder.channels
        self.enter = _conv(deep, dim, 1)
        self.sums = nn.ModuleList(WeightedSum(channels, dim) for channels in middle[::-1])
        self.blocks = nn.ModuleList(Block(dim) for _ in range(3))
        self.refine = FeatureRefinement(shallow, dim)
        self.classifier = nn.Sequential(
            _conv(dim, dim, 3, activation=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(dim, num_classes, 1, bias=False),
        )
        self.aux_classifier = None
        if aux:
            self.aux_classifier = nn.Sequential(
                _conv(dim, dim, 3, activation=True),
                nn.Dropout(dropout),
                nn.Conv2d(dim, num_classes, 1, bias=False),
            )

    def decode(self, stages: list[Tensor], details: bool = False) -> SegOutput:
        """Compute the output at four times the size of the first stage.

        Args:
            stages: maps of the encoder, each (b, c_i, h_i, w_i).
            details: is not used; there are no heatmaps.
        """
        shallow, *middle, deep = stages
        x = self.blocks[0](self.enter(deep))
        maps = [x]
        for join, block, stage in zip(self.sums, self.blocks[1:], middle[::-1], strict=True):
            x = block(join(x, stage))
            maps.append(x)
        logits = self._upsample(self.classifier(self.refine(x, shallow)), shallow)
        if self.aux_classifier is None or not (self.training and self.has_aux):
            return SegOutput(logits)
        joined = sum(_resize(one, maps[-1]) for one in maps)
        return SegOutput(logits, self._upsample(self.aux_classifier(joined), shallow))

    @staticmethod
    def _upsample(logits: Tensor, shallow: Tensor) -> Tensor:
        size = [4 * side for side in shallow.shape[-2:]]
        return nnf.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return nnf.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
