"""Test-time augmentation, which averages the logits of several views of an image."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

import numpy as np

from network.arrays import Array, arrays_of
from network.datasets import info as known_sets
from network.datasets.schema import USUAL_D4, DatasetInfo
from network.datasets.windows import covering_windows

TTA_NAMES = ("none", "lr", "d4", "dihedral")

Predict = Callable[[Array], Array]
"""A function from images (b, bands, H, W) to logits (b, k, H, W), both of NumPy or of torch."""


@dataclass(frozen=True)
class Symmetry:
    """Flips of an image, then quarter turns. The methods are named as in the library ttach.

    Attributes:
        flips: axes of (b, c, h, w) that are reversed: 3 swaps left and right, 2 top and bottom.
        quarters: number of quarter turns.
    """

    flips: tuple[int, ...] = ()
    quarters: int = 0

    def augment_image(self, image: Array) -> Array:
        """Flip and turn images (b, c, h, w)."""
        arrays = arrays_of(image)
        for axis in self.flips:
            image = arrays.flip(image, axis)
        return arrays.turn(image, self.quarters) if self.quarters else image

    def deaugment_mask(self, mask: Array) -> Array:
        """Turn and flip maps (b, c, h, w) back."""
        arrays = arrays_of(mask)
        if self.quarters:
            mask = arrays.turn(mask, -self.quarters)
        for axis in self.flips:
            mask = arrays.flip(mask, axis)
        return mask


@dataclass(frozen=True)
class Views:
    """The views of an image: each symmetry at each scale.

    Attributes:
        symmetries: flips and quarter turns.
        scales: factors of the image's size.
    """

    symmetries: Sequence[Symmetry] = (Symmetry(),)
    scales: tuple[float, ...] = (1.0,)

    @property
    def turns(self) -> bool:
        """Whether some views swap height and width."""
        return any(symmetry.quarters % 2 for symmetry in self.symmetries)

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
    if name == "none":
        return Views()
    if name == "lr":
        return Views(_symmetries())
    if name == "dihedral":
        # A half turn equals both flips, so with a quarter turn these are all 8.
        return Views(_symmetries(quarters=(0, 1)))
    if name != "d4":
        raise ValueError(f"unknown test-time augmentation '{name}'; known: {TTA_NAMES}")
    quarters = tuple(degrees // 90 for degrees in info.d4.rotations)
    return Views(_symmetries(info.d4.vertical_flip, quarters), info.d4.scales)


def changed_views(name: str, info: DatasetInfo) -> str | None:
    """Describe the views of ``d4`` if a config has others than usual; otherwise the name says all.

    Args:
        name: see :func:`build_views`.
        info: description of the data set.
    """
    known = (one for one in vars(known_sets).values() if isinstance(one, DatasetInfo))
    usual = next((one.d4 for one in known if one.name == info.name), USUAL_D4)
    return None if name != "d4" or info.d4 == usual else name_views(info)


def name_views(info: DatasetInfo) -> str:
    """Describe the views of ``d4`` in words.

    Args:
        info: description of the data set.
    """
    angles, scales = (", ".join(map(str, values)) for values in (info.d4.rotations, info.d4.scales))
    flips = "both flips" if info.d4.vertical_flip else "horizontal flips"
    return f"{flips}, rotations of {angles}, scales {scales}"


def _symmetries(
    vertical_flip: bool = True, quarters: tuple[int, ...] = (0,)
) -> tuple[Symmetry, ...]:
    """Combine a horizontal flip with a vertical one and with quarter turns."""
    flips = product(((), (3,)), ((), (2,)) if vertical_flip else ((),))
    return tuple(Symmetry(one + two, turn) for (one, two), turn in product(flips, quarters))


def mean_logits(
    predict: Predict, image: Array, views: Views, max_pixels: int | None = None
) -> Array:
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
    max_pixels = max_pixels or _pixels(image)
    return _total(_by_scale(predict, image, views, max_pixels)) / len(views)


def logits_and_disagreement(
    predict: Predict, image: Array, views: Views, max_pixels: int | None = None
) -> tuple[Array, Array]:
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
    max_pixels = max_pixels or _pixels(image)
    tally = _Tally(image)
    logits = _total(_by_scale(predict, image, views, max_pixels, tally)) / len(views)
    return logits, tally.disagreement(len(views))


class _Tally:
    """Sums over views: of their probabilities, and of the entropies of these.

    Args:
        image: the images (b, bands, H, W).
    """

    def __init__(self, image: Array):
        self._shape = image.shape
        self._probabilities: Array = None
        self._entropies: Array = None

    def watch(self, terms: Iterator[Array], first: int) -> Iterator[Array]:
        """Add the logits of views (n, k, h, w), and yield them as they are.

        Args:
            terms: the logits of each view of n of the images.
            first: number of the first of these images.
        """
        count, _, height, width = self._shape
        for logits in terms:
            arrays = arrays_of(logits)
            if self._probabilities is None:
                shape = count, logits.shape[1], height, width
                self._probabilities = arrays.zeros(shape, logits)
                self._entropies = arrays.zeros((count, 1, height, width), logits)
            probabilities = arrays.softmax(_resize(logits, (height, width)), axis=1)
            own = slice(first, first + len(logits))
            self._probabilities[own] += probabilities
            self._entropies[own] += arrays.entropy(probabilities, axis=1)
            yield logits

    def disagreement(self, views: int) -> Array:
        """Compute the disagreement (b, 1, H, W) of so many views."""
        mean = self._probabilities / views
        together = arrays_of(mean).entropy(mean, axis=1)
        # Where all views agree, rounding may make the difference slightly negative.
        apart = (together - self._entropies / views).clip(0)
        return apart / math.log(mean.shape[1])


def _by_scale(
    predict: Predict,
    image: Array,
    views: Views,
    max_pixels: int,
    tally: _Tally | None = None,
) -> Iterator[Array]:
    """Compute for each scale the sum of the logits of its views, at the size of ``image``."""
    height, width = image.shape[-2:]
    for scale in views.scales:
        resized = _resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
        count = max(1, max_pixels // _pixels(resized[:1]))
        parts = []
        for first in range(0, len(resized), count):
            images = resized[first : first + count]
            terms = _upright(views.symmetries, predict, images, max_pixels)
            if tally:
                terms = tally.watch(terms, first)
            parts.append(_total(terms))
        yield _resize(_joined(parts), (height, width))


def patched_logits(
    predict: Predict,
    image: Array,
    views: Views,
    patch: tuple[int, int],
    batch: int,
    overlap: int = 0,
    prepare: Predict = lambda patches: patches,
) -> Array:
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
    rows_seen, columns_seen = np.zeros(height, np.float32), np.zeros(width, np.float32)
    for rows, columns in covering_windows(height, width, patch, stride):
        # The windows are a grid, so each row of windows has the same columns.
        rows_seen[rows] += columns.start == 0
        columns_seen[columns] += rows.start == 0
    for size, places in by_size.items():
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            images = prepare(_joined([image[:, :, rows, columns] for rows, columns in some]))
            logits = mean_logits(predict, images, views, batch * size[0] * size[1])
            if total is None:
                shape = 1, logits.shape[1], height, width
                total = arrays_of(logits).zeros(shape, logits)
            for (rows, columns), part in zip(some, logits, strict=True):
                total[0, :, rows, columns] += part
    assert total is not None  # each image has a patch
    arrays = arrays_of(total)
    # In place, since a copy of a large image's logits may not fit into memory.
    total /= arrays.from_numpy(rows_seen, total)[:, None]
    total /= arrays.from_numpy(columns_seen, total)
    return total


def _upright(
    symmetries: Sequence[Symmetry], predict: Predict, images: Array, max_pixels: int
) -> Iterator[Array]:
    """Compute the float32 logits (b, k, h, w) of each symmetry, which is undone."""
    at_once = max(1, max_pixels // _pixels(images))
    augmented = [(view, view.augment_image(images)) for view in symmetries]
    # A quarter turn swaps the sides of an image.
    augmented.sort(key=lambda pair: pair[1].shape)
    for _, group in groupby(augmented, key=lambda pair: pair[1].shape):
        pairs = list(group)
        for start in range(0, len(pairs), at_once):
            some = pairs[start : start + at_once]
            logits = predict(_joined([turned for _, turned in some]))
            logits = arrays_of(logits).float32(logits)
            for number, (view, _) in enumerate(some):
                own = slice(number * len(images), (number + 1) * len(images))
                yield view.deaugment_mask(logits[own])


def _total(terms: Iterator[Array]) -> Array:
    """Sum the terms.

    Unlike ``functools.reduce``, this frees the previous sum before the next term is computed.
    """
    total = next(terms)
    for term in terms:
        total = total + term
    return total


def _resize(maps: Array, size: tuple[int, int]) -> Array:
    return maps if tuple(maps.shape[-2:]) == size else arrays_of(maps).resize(maps, size)


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else arrays_of(parts[0]).concatenate(parts)


def _pixels(images: Array) -> int:
    """Count the pixels of all images (b, c, h, w)."""
    count, _, height, width = images.shape
    return count * height * width
