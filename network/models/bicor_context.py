"""BiCoR-Seg on images that are larger than the memory: class embeddings of the whole image.

The class embeddings of BiCoR-Seg are refined from all pixels that the network sees. If it sees an
image in windows, each window has other embeddings, and some labels depend on the window. Here the
embeddings are refined from the pixels of the whole image, one pass over all windows for each layer.
Then they stay fixed, so all windows are segmented with the same embeddings. If the windows have
enough context around their cores, and all of them were seen, the result is the prediction of the
whole image at once, up to rounding.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from network.models.encoder import STRIDES
from network.models.output import SegOutput
from network.models.padding import crop, pad
from network.models.segmenter import core_at

FINE, COARSE = STRIDES[0], STRIDES[-1]


class Layer(Protocol):
    """The methods of an HBIS layer that are needed here; see :class:`HBISLayer`."""

    value: nn.Linear
    class_norm: nn.LayerNorm

    def compare(self, classes: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compare each class with each pixel."""
        ...

    def refine_classes(self, classes: Tensor, classes_n: Tensor, context: Tensor) -> Tensor:
        """Mix each class embedding with its context."""
        ...

    def refine_features(self, classes: Tensor, features: Tensor, score: Tensor) -> Tensor:
        """Modulate the features of each pixel by its probable classes."""
        ...


class BiCoRContext:
    """The class embeddings of one image; see :class:`network.contracts.ImageContext`.

    Notation: k classes, d channels, s pixels of a window at a quarter of its size.

    Args:
        backbone: encoder and aggregator, from (b, bands, h, w) to (b, h/4, w/4, d).
        layers: the HBIS layers.
        head: the head, from features (b, h/4, w/4, d) and class embeddings (b, k, d) to logits.
        classes: class embeddings before the first layer (k, d).
        counts: number of pixels of the image that each layer refines a class from.
        epsilon: if the weights of these pixels sum to no more than this, all pixels are weighted.
    """

    def __init__(
        self,
        backbone: nn.Module,
        layers: Sequence[Layer],
        head: nn.Module,
        classes: Tensor,
        counts: Sequence[int],
        epsilon: float,
    ):
        self.passes = len(layers)
        self._backbone, self._layers, self._head = backbone, layers, head
        self._counts, self._epsilon = counts, epsilon
        self._classes = [classes.detach()[None]]
        self._pool: _Pool | None = None

    def see(self, image: Tensor, inside: tuple[slice, slice], corner: tuple[int, int]) -> None:
        """Use the pixels of a window's core; see :class:`network.contracts.ImageContext`."""
        fused = self._fused(image)
        features, depth = self._refined(fused), len(self._classes) - 1
        rows, columns = core_at(inside, image, FINE)
        core = features.view(fused.shape)[:, rows, columns].flatten(1, 2)
        score, _, features_n = self._layers[depth].compare(self._classes[-1], core)
        if self._pool is None:
            self._pool = _Pool(self._counts[depth], self._epsilon)
        # Sums over a whole image are beyond the range of 16 bits.
        with torch.autocast(image.device.type, enabled=False):
            self._pool.add(score[0].sigmoid(), features_n[0])

    def end_pass(self) -> None:
        """Refine the class embeddings from all pixels that were seen in this pass."""
        layer, classes = self._layers[len(self._classes) - 1], self._classes[-1]
        if self._pool is None:  # an image without a valid pixel
            self._classes.append(classes)
            return
        context = layer.value(self._pool.result()[None])
        self._classes.append(layer.refine_classes(classes, layer.class_norm(classes), context))
        self._pool = None

    def state(self) -> list[Tensor]:
        """The class embeddings of each layer (k, d), after all passes."""
        return [classes[0] for classes in self._classes[1:]]

    def restore(self, state: list[Tensor]) -> None:
        """Take the class embeddings of an earlier computation instead of the passes."""
        first = self._classes[0]
        self._classes = [first, *(classes.to(first)[None] for classes in state)]

    def segment(self, image: Tensor, corners: Sequence[tuple[int, int]]) -> SegOutput:
        """Segment windows (b, bands, h, w) with the class embeddings of the whole image."""
        fused = self._fused(image)
        classes = self._classes[-1].expand(len(fused), -1, -1)
        logits = self._head(self._refined(fused).view(fused.shape), classes)
        return SegOutput(crop(logits, *image.shape[-2:]))

    def _fused(self, image: Tensor) -> Tensor:
        """Compute the features before the first layer, (b, h, w, d)."""
        return self._backbone(pad(image, COARSE))

    def _refined(self, fused: Tensor) -> Tensor:
        """Refine features by the layers whose class embeddings are known, (b, s, d)."""
        features, b = fused.flatten(1, 2), len(fused)
        for depth, refined in enumerate(self._classes[1:]):
            layer, before = self._layers[depth], self._classes[depth].expand(b, -1, -1)
            score, _, _ = layer.compare(before, features)
            features = layer.refine_features(refined.expand(b, -1, -1), features, score)
        return features


class _Pool:
    """The weighted mean of the pixels with the highest heatmap values, from one part at a time.

    It gives what :func:`network.models.bicor.pooling_weights` gives for all pixels at once.

    Args:
        count: number of pixels to select for each class.
        epsilon: if their weights sum to no more than this, all pixels are weighted.
    """

    def __init__(self, count: int, epsilon: float):
        self.count, self.epsilon = count, epsilon
        self._values = self._vectors = torch.empty(0)
        self._all_weights = self._all_sums = torch.empty(0)

    def add(self, heatmap: Tensor, features: Tensor) -> None:
        """Add pixels.

        Args:
            heatmap: values from 0 to 1 (k, s), at least float32.
            features: normalized features (s, d), at least float32.
        """
        weights, sums = heatmap.sum(dim=-1, keepdim=True), heatmap @ features
        wanted = min(self.count, heatmap.shape[-1])
        if len(self._values) and self._values.shape[-1] == self.count:
            # Most pixels of later windows are not among the best.
            least = self._values.amin(dim=-1, keepdim=True)
            wanted = min(wanted, int((heatmap > least).sum(dim=-1).amax()))
        top = heatmap.topk(wanted, sorted=False)
        vectors = features[top.indices]  # (k, n, d)
        if not len(self._values):
            self._values, self._vectors = top.values, vectors
            self._all_weights, self._all_sums = weights, sums
            return
        self._all_weights, self._all_sums = self._all_weights + weights, self._all_sums + sums
        values = torch.cat([self._values, top.values], dim=-1)
        vectors = torch.cat([self._vectors, vectors], dim=1)
        best = values.topk(min(self.count, values.shape[-1]), sorted=False)
        index = best.indices[..., None].expand(-1, -1, vectors.shape[-1])
        self._values, self._vectors = best.values, vectors.gather(1, index)

    def result(self) -> Tensor:
        """The weighted mean of the features for each class, (k, d)."""
        weights = self._values.sum(dim=-1, keepdim=True)
        sums = (self._values[:, None] @ self._vectors)[:, 0]
        is_cold = weights <= self.epsilon
        weights = torch.where(is_cold, self._all_weights, weights)
        return torch.where(is_cold, self._all_sums, sums) / (weights + self.epsilon)
