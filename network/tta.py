"""Test-time augmentation, which averages the logits of several views of an image."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as nnf
import ttach
from torch import Tensor

from network.datasets.schema import DatasetInfo
from network.datasets.windows import covering_windows

TTA_NAMES = ("none", "lr", "d4", "dihedral")

Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Views:
    """The views of an image: each symmetry at each scale.

    Attributes:
        symmetries: flips and quarter turns.
        scales: factors of the image's size.
    """

    symmetries: ttach.Compose
    scales: tuple[float, ...] = (1.0,)

    def __len__(self) -> int:
        return len(self.symmetries) * len(self.scales)


def build_views(name: str, info: DatasetInfo) -> Views:
    """Make the views of a test-time augmentation.

    Args:
        name: ``none``; ``lr``: both flips, 4 views; ``d4``: the flips, turns and scales that the
            usual scripts call d4 on this data set; ``dihedral``: all 8 flips and turns.
        info: description of the data set.

    Raises:
        ValueError: there is no augmentation of this name.

    Examples:
        >>> from network.datasets.info import LOVEDA, VAIHINGEN
        >>> [len(build_views(name, VAIHINGEN)) for name in ("none", "lr", "dihedral", "d4")]
        [1, 4, 8, 40]
        >>> len(build_views("d4", LOVEDA))
        8
    """
    flips = [ttach.HorizontalFlip(), ttach.VerticalFlip()]
    if name == "none":
        return Views(ttach.Compose([]))
    if name == "lr":
        return Views(ttach.Compose(flips))
    if name == "dihedral":
        # A half turn equals both flips, so with a quarter turn these are all 8.
        return Views(ttach.Compose([*flips, ttach.Rotate90([0, 90])]))
    if name != "d4":
        raise ValueError(f"unknown test-time augmentation '{name}'; known: {TTA_NAMES}")
    symmetries = flips if info.d4.vertical_flip else flips[:1]
    if info.d4.rotations != (0,):
        symmetries = [*symmetries, ttach.Rotate90(list(info.d4.rotations))]
    return Views(ttach.Compose(symmetries), info.d4.scales)


def mean_logits(
    predict: Predict, image: Tensor, views: Views, max_pixels: int | None = None
) -> Tensor:
    """Compute the mean of the logits over all views, whose flips and turns are undone.

    Resizing is linear, so the logits of all views of one scale are added before one bicubic resize
    to (H, W). The image is also resized only once for each scale.

    Args:
        predict: function from images to logits.
        image: (b, bands, H, W)
        views: the views.
        max_pixels: largest number of pixels for one call of ``predict``. Views of the same size
            are batched up to this number, and a batch of images at a larger scale is split into
            smaller batches. The default is the number of pixels of ``image``.

    Returns:
        (b, k, H, W)
    """
    max_pixels = max_pixels or image[:, 0].numel()
    return _total(_by_scale(predict, image, views, max_pixels)) / len(views)


def logits_and_disagreement(
    predict: Predict, image: Tensor, views: Views, max_pixels: int | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the mean of the logits over all views, and how much the views disagree.

    The disagreement is the mutual information of class and view: the entropy of the mean of the
    views' probabilities, minus the mean of their entropies. It is divided by log(k), its largest
    possible value for k classes. It is 0 if all views have the same probabilities, also if these
    are uncertain, and 1 if each view is sure of another class. Each view is seen once.

    Source: Houlsby et al., "Bayesian active learning for classification and preference learning",
    2011, equation 2, with views in place of draws of the parameters.

    Args:
        predict: function from images to logits.
        image: (b, bands, H, W)
        views: the views.
        max_pixels: see :func:`mean_logits`.

    Returns:
        The same logits (b, k, H, W) as those of :func:`mean_logits`, and the disagreement
        (b, 1, H, W) from 0 to 1.
    """
    max_pixels = max_pixels or image[:, 0].numel()
    tally = _Tally(image)
    logits = _total(_by_scale(predict, image, views, max_pixels, tally)) / len(views)
    return logits, tally.disagreement(len(views))


class _Tally:
    """Sums over views: of their probabilities, and of the entropies of these.

    Args:
        image: the images (b, bands, H, W).
    """

    def __init__(self, image: Tensor):
        self._shape = image.shape
        self._probabilities = self._entropies = torch.empty(0)

    def watch(self, terms: Iterator[Tensor], first: int) -> Iterator[Tensor]:
        """Add the logits of views (n, k, h, w), and yield them as they are.

        Args:
            terms: the logits of each view of n of the images.
            first: number of the first of these images.
        """
        count, _, height, width = self._shape
        for logits in terms:
            if not len(self._probabilities):
                self._probabilities = logits.new_zeros(count, logits.shape[1], height, width)
                self._entropies = logits.new_zeros(count, 1, height, width)
            probabilities = _resize(logits, (height, width)).softmax(dim=1)
            own = slice(first, first + len(logits))
            self._probabilities[own] += probabilities
            self._entropies[own] += torch.special.entr(probabilities).sum(dim=1, keepdim=True)
            yield logits

    def disagreement(self, views: int) -> Tensor:
        """Compute the disagreement (b, 1, H, W) of so many views."""
        mean = self._probabilities / views
        together = torch.special.entr(mean).sum(dim=1, keepdim=True)
        # Where all views agree, rounding may make the difference slightly negative.
        apart = (together - self._entropies / views).clamp(min=0)
        return apart / math.log(mean.shape[1])


def _by_scale(
    predict: Predict,
    image: Tensor,
    views: Views,
    max_pixels: int,
    tally: _Tally | None = None,
) -> Iterator[Tensor]:
    """Compute for each scale the sum of the logits of its views, at the size of ``image``."""
    height, width = image.shape[-2:]
    for scale in views.scales:
        resized = _resize(image, (round(height * scale), round(width * scale)))
        count = max(1, max_pixels // resized[0, 0].numel())
        parts = []
        for number, images in enumerate(resized.split(count)):
            terms = _upright(views.symmetries, predict, images, max_pixels)
            if tally:
                terms = tally.watch(terms, number * count)
            parts.append(_total(terms))
        yield _resize(torch.cat(parts), (height, width))


def patched_logits(
    predict: Predict,
    image: Tensor,
    views: Views,
    patch: tuple[int, int],
    batch: int,
    overlap: int = 0,
    prepare: Predict = lambda patches: patches,
) -> Tensor:
    """Compute mean logits of one large image in patches; where patches overlap, take their mean.

    Args:
        predict: function from images to logits.
        image: (1, bands, H, W)
        views: the views.
        patch: height and width of the patches; the last ones of a row or column are moved back to
            the edge.
        batch: number of patches of the same size, or of their views, for one call of ``predict``.
        overlap: smallest overlap of neighboring patches in pixels; less than a patch's side.
        prepare: function that moves patches to the device and normalizes them. For a whole large
            image, this would take much memory.
    """
    height, width = image.shape[-2:]
    by_size: dict[tuple[int, int], list[tuple[slice, slice]]] = {}
    stride = patch[0] - overlap, patch[1] - overlap
    for window in covering_windows(height, width, patch, stride):
        size = tuple(side.stop - side.start for side in window)
        by_size.setdefault(size, []).append(window)
    total = None
    rows_seen, columns_seen = torch.zeros(height), torch.zeros(width)
    for rows, columns in covering_windows(height, width, patch, stride):
        # The windows are a grid, so each row of windows has the same columns.
        rows_seen[rows] += columns.start == 0
        columns_seen[columns] += rows.start == 0
    for size, places in by_size.items():
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            images = prepare(torch.cat([image[:, :, rows, columns] for rows, columns in some]))
            logits = mean_logits(predict, images, views, batch * size[0] * size[1])
            if total is None:
                total = logits.new_zeros(1, logits.shape[1], height, width)
            for (rows, columns), part in zip(some, logits, strict=True):
                total[0, :, rows, columns] += part
    assert total is not None  # each image has a patch
    # In place, since a copy of a large image's logits may not fit into memory.
    return total.div_(rows_seen.to(total)[:, None]).div_(columns_seen.to(total))


def _upright(
    symmetries: ttach.Compose, predict: Predict, images: Tensor, max_pixels: int
) -> Iterator[Tensor]:
    """Compute the float32 logits (b, k, h, w) of each symmetry, which is undone."""
    at_once = max(1, max_pixels // images[:, 0].numel())
    augmented = [(view, view.augment_image(images)) for view in symmetries]
    # A quarter turn swaps the sides of an image.
    augmented.sort(key=lambda pair: pair[1].shape)
    for _, group in groupby(augmented, key=lambda pair: pair[1].shape):
        pairs = list(group)
        for start in range(0, len(pairs), at_once):
            some = pairs[start : start + at_once]
            logits = predict(torch.cat([turned for _, turned in some])).float()
            for (view, _), part in zip(some, logits.chunk(len(some)), strict=True):
                yield view.deaugment_mask(part)


def _total(terms: Iterator[Tensor]) -> Tensor:
    """Sum the terms.

    Unlike ``functools.reduce``, this frees the previous sum before the next term is computed.
    """
    total = next(terms)
    for term in terms:
        total = total + term
    return total


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[-2:]) == size:
        return maps
    return nnf.interpolate(maps, size=size, mode="bicubic", align_corners=False)
