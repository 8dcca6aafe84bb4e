"""D2LS on images that are larger than the memory: the dictionary of the whole image.

The dictionary of D2LS is made from all pixels that the network sees, and each layer lets it attend
to all of them. If the network sees an image in windows, each window has another dictionary. Here
the dictionary comes from the pixels of the whole image: one pass over all windows makes it, and one
more for each time that it attends to pixels. Then it stays fixed, and all windows are segmented
with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from network.models.encoder import STRIDES
from network.models.output import SegOutput
from network.models.padding import crop, pad
from network.models.precision import at_least_float32
from network.models.segmenter import core_at

FINE, COARSE = STRIDES[0], STRIDES[-1]


class Generator(Protocol):
    """The methods of the dictionary's generator; see :class:`DictionaryGenerator`."""

    def project(self, deepest: Tensor) -> Tensor:
        """Project the deepest stage to pixels."""
        ...

    def mix(self, class_embeddings: Tensor, maximum: Tensor, average: Tensor) -> Tensor:
        """Mix the candidates of each class."""
        ...


class Reader(Protocol):
    """The methods of an attention to pixels; see :class:`ReadPixels`."""

    def compare(self, classes: Tensor, features: Tensor, position: Tensor) -> Tensor:
        """Compare classes with the sum of features and position of pixels."""
        ...

    def finish(self, context: Tensor, k: int) -> Tensor:
        """Turn the weighted means of the pixels into the result for the classes."""
        ...


class Layer(Protocol):
    """The method of a layer that is needed here; see :class:`InteractorLayer`."""

    def refine_features(
        self, classes: Tensor, features: Tensor, start: Tensor, position: Tensor
    ) -> Tensor:
        """Refine the features of pixels by refined classes."""
        ...


@dataclass(frozen=True)
class D2LSParts:
    """The parts of the network that segment windows.

    Attributes:
        encoder: from images to the maps of its stages.
        aggregator: from these maps to features (b, h, w, d).
        generator: makes the dictionary; None if the class embeddings are the dictionary.
        layers: layers of the interactor.
        readers: attention of the dictionary to the pixels, in each layer and after the last one.
        norms: what normalizes the dictionary after each attention.
        position: position of the pixels of a map, see :class:`FourierPosition`.
        head: from features and dictionary to logits.
        class_embeddings: (k, d)
    """

    encoder: nn.Module
    aggregator: nn.Module
    generator: Generator | None
    layers: Sequence[Layer]
    readers: Sequence[Reader]
    norms: Sequence[nn.Module]
    position: Callable[[int, int, slice, slice], Tensor]
    head: nn.Module
    class_embeddings: Tensor


class D2LSContext:
    """The dictionary of one image; see :class:`network.contracts.ImageContext`.

    Notation: k classes, d channels, n heads, s pixels of a window at a quarter of its size.

    Args:
        parts: the parts of the network.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """

    def __init__(self, parts: D2LSParts, height: int, width: int):
        self._net = parts
        # Sides of the feature map of the whole image, which is padded to a multiple of the stride.
        self._height, self._width = (-(-n // COARSE) * COARSE // FINE for n in (height, width))
        # The dictionary, and what it is after each time that it has attended to the pixels.
        self._classes = [] if parts.generator else [parts.class_embeddings[None]]
        self.passes = len(parts.readers) + (1 if parts.generator else 0)
        self._extremes: _Extremes | None = None
        self._attention: _Attention | None = None

    def see(self, image: Tensor, inside: tuple[slice, slice], corner: tuple[int, int]) -> None:
        """Use the pixels of a window's core; see :class:`network.contracts.ImageContext`."""
        stages = self._net.encoder(pad(image, COARSE))
        if not self._classes:
            assert self._net.generator is not None
            rows, columns = core_at(inside, image, COARSE)
            self._extremes = self._extremes or _Extremes()
            pixels = self._net.generator.project(stages[-1][..., rows, columns])[0]
            self._extremes.add(at_least_float32(pixels))
            return
        fused = self._net.aggregator(stages)
        position = self._positions(fused, [corner])
        features = self._refined(fused, position)
        rows, columns = core_at(inside, image, FINE)
        of_core, position_of_core = (
            pixels.view(fused.shape)[:, rows, columns].flatten(1, 2)
            for pixels in (features, position)
        )
        reader = self._net.readers[len(self._classes) - 1]
        score = reader.compare(self._classes[-1] + self._classes[0], of_core, position_of_core)
        self._attention = self._attention or _Attention()
        # Sums over a whole image are beyond the range of 16 bits.
        with torch.autocast(image.device.type, enabled=False):
            self._attention.add(at_least_float32(score[0]), at_least_float32(of_core[0]))

    def end_pass(self) -> None:
        """Make the dictionary, or let it attend to all pixels that were seen in this pass."""
        static = self._net.class_embeddings
        if not self._classes:
            assert self._net.generator is not None
            self._classes.append(
                static[None]  # an image without a valid pixel
                if self._extremes is None
                else self._net.generator.mix(static, *self._extremes.result())
            )
            return
        depth, classes = len(self._classes) - 1, self._classes[-1]
        if self._attention is not None:
            context = self._attention.result()[None]
            read = self._net.readers[depth].finish(context, classes.shape[1])
            classes = self._net.norms[depth](classes + read)
        self._classes.append(classes)
        self._attention = None

    def state(self) -> list[Tensor]:
        """The dictionary, and the same after each attention (k, d), after all passes."""
        return [classes[0] for classes in self._classes]

    def restore(self, state: list[Tensor]) -> None:
        """Take the dictionaries of an earlier computation instead of the passes."""
        self._classes = [classes.to(self._net.class_embeddings)[None] for classes in state]

    def segment(self, image: Tensor, corners: Sequence[tuple[int, int]]) -> SegOutput:
        """Segment windows (b, bands, h, w) with the dictionary of the whole image."""
        fused = self._net.aggregator(self._net.encoder(pad(image, COARSE)))
        features = self._refined(fused, self._positions(fused, corners))
        classes = self._classes[-1].expand(len(fused), -1, -1)
        logits = self._net.head(features.view(fused.shape), classes)
        return SegOutput(crop(logits, *image.shape[-2:]))

    def _refined(self, fused: Tensor, position: Tensor) -> Tensor:
        """Refine features (b, h, w, d) by the layers whose dictionary is known, to (b, s, d)."""
        features, b = fused.flatten(1, 2), len(fused)
        start = self._classes[0].expand(b, -1, -1)
        # Layers after the known dictionaries are left out.
        for layer, classes in zip(self._net.layers, self._classes[1:], strict=False):
            features = layer.refine_features(classes.expand(b, -1, -1), features, start, position)
        return features

    def _positions(self, fused: Tensor, corners: Sequence[tuple[int, int]]) -> Tensor:
        """Compute the position of the pixels of windows in the image, (b, s, d)."""
        height, width = fused.shape[1:3]
        found = []
        for corner in corners:
            top, left = (side // FINE for side in corner)
            rows, columns = slice(top, top + height), slice(left, left + width)
            found.append(self._net.position(self._height, self._width, rows, columns))
        return torch.stack(found)


class _Extremes:
    """The largest value and the mean of each channel, over parts of the pixels."""

    def __init__(self) -> None:
        self._count = 0
        self._maximum = self._sum = torch.empty(0)

    def add(self, pixels: Tensor) -> None:
        """Add pixels (s, d), at least float32."""
        to_maximum, to_average = pixels.chunk(2, dim=-1)
        maximum, total = to_maximum.amax(dim=0), to_average.sum(dim=0)
        if self._count:
            maximum, total = torch.maximum(self._maximum, maximum), self._sum + total
        self._maximum, self._sum = maximum, total
        self._count += len(pixels)

    def result(self) -> tuple[Tensor, Tensor]:
        """Maximum and mean (1, d/2)."""
        return self._maximum[None], self._sum[None] / self._count


class _Attention:
    """The mean of values weighted by the softmax of scores, over parts of the pixels.

    The sums are those of exponentials relative to the largest score so far.
    """

    def __init__(self) -> None:
        self._largest = self._weights = self._sums = torch.empty(0)

    def add(self, score: Tensor, values: Tensor) -> None:
        """Add pixels.

        Args:
            score: (n * k, s), at least float32.
            values: (s, d), at least float32.
        """
        largest = score.amax(dim=-1, keepdim=True)
        if len(self._largest):
            largest = torch.maximum(largest, self._largest)
        exponentials = (score - largest).exp()
        weights = exponentials.sum(dim=-1, keepdim=True)
        sums = exponentials @ values
        if len(self._largest):
            fade = (self._largest - largest).exp()
            weights, sums = weights + fade * self._weights, sums + fade * self._sums
        self._largest, self._weights, self._sums = largest, weights, sums

    def result(self) -> Tensor:
        """The weighted mean (n * k, d)."""
        return self._sums / self._weights
