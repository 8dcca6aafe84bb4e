"""Training augmentation by mosaic, random scale, class-balanced crop, turns, flips and colors.

Source: the augmentation of GeoSeg and of D2LS (ICCV 2025), with which BiCoR-Seg was trained.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from network.datasets.lazy import Composition, Piece, Pixels
from network.datasets.resize import resize_image, resize_labels, resize_points
from network.rasters.pixels import count_labels, filler
from network.settings import Data

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would use the network
import albumentations

Pair = tuple[Pixels, Pixels]
"""An image (h, w, bands) and its labels (h, w), of which only the used windows are read."""

Read = Callable[[int], Pair]
DRAWS = 11


@dataclass(frozen=True)
class TrainTransform:
    """The augmentation that makes one training crop from a reader of (image, labels) pairs.

    Args:
        data: settings of the augmentation.
        ignore_index: label of the pixels that fill up a crop.
        sparse: whether the labels are points, so scaling must not lose any.
        varied: whether a crop is drawn again if one class has most of it.
    """

    data: Data
    ignore_index: int
    sparse: bool = False
    varied: bool = True

    def __call__(
        self,
        read: Read,
        index: int,
        count: int,
        rng: np.random.Generator,
        focus: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make one crop: image (crop, crop, bands) and labels (crop, crop).

        Args:
            read: reads image (h, w, bands) and labels (h, w) by index.
            index: the image to use.
            count: number of images, from which a mosaic takes three more.
            rng: source of all random decisions.
            focus: row and column of a pixel of the image that the crop must hold. No mosaic is made
                then, since it would cut most of these pixels off.
        """
        if focus is None and rng.random() < self.data.mosaic:
            others = rng.integers(count, size=3)
            pairs = [read(index), *(read(int(other)) for other in others)]
            pair = mosaic(pairs, self.ignore_index, rng)
        else:
            pair = read(index)
        image, labels = self.scaled_crop(*pair, rng, focus)
        for transform in self._augmentation(image.dtype == np.uint8):
            # Each gets a seed of its own; with one for all of them, all would decide the same.
            transform.set_random_seed(int(rng.integers(2**31)))
            result = transform(image=image, mask=labels)
            image, labels = result["image"], result["mask"]
        labels = np.ascontiguousarray(labels)
        if self.data.label_share < 1:
            labels = thinned(labels, self.data.label_share, self.ignore_index, rng)
        return image, labels

    def _augmentation(self, is_8_bit: bool) -> Sequence[albumentations.BasicTransform]:
        """Turns, flips and colors, in order; they are made once, since that takes long."""
        return self._augmentation_of_8_bits if is_8_bit else self._augmentation_of_others

    @cached_property
    def _augmentation_of_8_bits(self) -> list[albumentations.BasicTransform]:
        return self._transforms(added=0.25)

    @cached_property
    def _augmentation_of_others(self) -> list[albumentations.BasicTransform]:
        # Sensors use a small part of 16 bits, and their bands differ in brightness. A number added
        # to all bands would be too much for some of them; a factor is not.
        return self._transforms(added=0.0)

    def _transforms(self, added: float) -> list[albumentations.BasicTransform]:
        transforms: list[albumentations.BasicTransform] = [
            albumentations.RandomRotate90(p=self.data.rotate),
            albumentations.HorizontalFlip(p=self.data.flip),
            albumentations.VerticalFlip(p=self.data.flip),
        ]
        if self.data.brighten:
            transforms.append(
                albumentations.RandomBrightnessContrast(
                    brightness_limit=added, contrast_limit=0.25, p=self.data.brighten
                )
            )
        if self.data.sharpen:
            transforms.append(albumentations.Sharpen(p=self.data.sharpen))
        return transforms

    def scaled_crop(
        self,
        image: Pixels,
        labels: Pixels,
        rng: np.random.Generator,
        focus: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Crop at a random place and scale; only the pixels of the crop are resized.

        Args:
            image: (h, w, bands)
            labels: (h, w)
            rng: source of all random decisions.
            focus: row and column of a pixel that the crop holds; by default, it may lie anywhere.

        Returns:
            Image (crop, crop, bands) and labels (crop, crop).
        """
        side = round(self.data.crop / rng.choice(self.data.scales))
        for _ in range(DRAWS):
            window = random_window(labels.shape, side, side, rng, focus)
            chosen = labels[window]
            if not self.varied or self._is_varied(chosen):
                break
        whole = pad(image[window], side, side, filler(image.dtype))
        chosen = pad(chosen, side, side, self.ignore_index)
        crop = self.data.crop
        if self.sparse:
            chosen = resize_points(chosen, crop, crop, self.ignore_index)
        return resize_image(whole, crop, crop), resize_labels(chosen, crop, crop)

    def _is_varied(self, labels: np.ndarray) -> bool:
        counts = count_labels(labels)
        counts[self.ignore_index] = 0
        largest = self.data.max_class_share * counts.sum()
        return bool(np.count_nonzero(counts) > 1 and counts.max() < largest)


def thinned(
    labels: np.ndarray, share: float, ignore_index: int, rng: np.random.Generator
) -> np.ndarray:
    """Keep a random share (0 to 1) of the labeled pixels of (h, w) and ignore the others."""
    places = np.flatnonzero(labels != ignore_index)
    kept = rng.choice(places, round(share * len(places)), replace=False)
    thin = np.full_like(labels, ignore_index)
    thin.flat[kept] = labels.flat[kept]
    return thin


def mosaic(pairs: Sequence[Pair], ignore_index: int, rng: np.random.Generator) -> Pair:
    """Put random crops of four images together around a point in the middle half.

    Args:
        pairs: four pairs of image (h, w, bands) and labels (h, w).
        ignore_index: label where an image is too small for its quarter.
        rng: source of all random decisions.

    Returns:
        Image and labels in the size of the first pair. Only the indexed windows are read.
    """
    height, width = pairs[0][1].shape
    row = int(rng.integers(height // 4, height - height // 4 + 1))
    column = int(rng.integers(width // 4, width - width // 4 + 1))
    images, masks = [], []
    quarters = [
        (rows, columns)
        for rows in (slice(0, row), slice(row, height))
        for columns in (slice(0, column), slice(column, width))
    ]
    for quarter, (image, labels) in zip(quarters, pairs, strict=True):
        h, w = (side.stop - side.start for side in quarter)
        window = random_window(labels.shape, h, w, rng)
        images.append(Piece(quarter, image, window))
        masks.append(Piece(quarter, labels, window))
    first, labels = pairs[0]
    return (
        Composition(images, first.shape, filler(first.dtype)),
        Composition(masks, labels.shape, ignore_index),
    )


def random_window(
    shape: Sequence[int],
    height: int,
    width: int,
    rng: np.random.Generator,
    focus: tuple[int, int] | None = None,
) -> tuple[slice, slice]:
    """Choose a window of this size at a random place; it is smaller if the image is too small.

    Args:
        shape: height and width of the image.
        height: height of the window.
        width: width of the window.
        rng: source of randomness.
        focus: row and column of a pixel of the image that the window holds, with the same
            probability at each of its places; by default, the window may lie anywhere.
    """
    rows, columns = (
        _random_span(shape[axis], side, rng, None if focus is None else focus[axis])
        for axis, side in enumerate((height, width))
    )
    return rows, columns


def _random_span(length: int, side: int, rng: np.random.Generator, focus: int | None) -> slice:
    first, last = 0, max(0, length - side)
    if focus is not None:
        first, last = min(max(0, focus - side + 1), last), min(focus, last)
    start = int(rng.integers(first, last + 1))
    return slice(start, min(start + side, length))


def pad(array: np.ndarray, height: int, width: int, value: float) -> np.ndarray:
    """Pad (h, w, ...) with ``value`` at the bottom and right, to (height, width, ...)."""
    missing = height - array.shape[0], width - array.shape[1]
    if not any(missing):
        return array
    margins = [(0, missing[0]), (0, missing[1])] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, margins, constant_values=value)


class Normalize(nn.Module):
    """Layer that normalizes the bands of images (b, bands, H, W) to mean 0 and deviation 1.

    NaN, which stands for no data in images of floats, becomes 0 as if it were the mean.

    Args:
        mean: mean of each band, in pixel values.
        std: standard deviation of each band, in pixel values.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        # Not persistent, since the values belong to the experiment and not to the weights.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        normalized = (image - self.mean) / self.std
        return normalized.nan_to_num(nan=0.0) if image.is_floating_point() else normalized
