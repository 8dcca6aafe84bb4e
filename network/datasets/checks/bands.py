"""Measurement of the mean and the standard deviation of each band, for the normalization."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from network.cluster import Workers
from network.datasets.files import ignore_invalid, read_mask, read_valid_image
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.datasets.workers import map_parallel
from network.errors import InputError


@dataclass(frozen=True)
class Band:
    """Sums over the pixels of one band, in whole numbers, so nothing is rounded before the end.

    Attributes:
        count: number of pixels.
        total: sum of their values.
        squares: sum of the squares of their values.
        low: smallest value.
        high: largest value.
    """

    count: int
    total: int
    squares: int
    low: int
    high: int

    def __add__(self, other: "Band") -> "Band":
        return Band(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def mean(self) -> float:
        """The mean of all pixels, in pixel values."""
        return self.total / self.count

    @property
    def std(self) -> float:
        """The population standard deviation (not that of a sample), in pixel values."""
        return math.sqrt(self.count * self.squares - self.total**2) / self.count


def measure_bands(
    samples: Sequence[Sample], info: DatasetInfo, *, all_pixels: bool = False, workers: Workers = 1
) -> list[Band]:
    """Sum up the pixels of each band over all images.

    Only pixels with a class count, or all pixels of an image without a mask. Pixels without data
    never count.

    Args:
        samples: the images and their masks.
        info: description of the data set.
        all_pixels: whether ignored pixels count too, most of which are black margins.
        workers: number of processes, or a cluster.

    Returns:
        The sums of each band.

    Raises:
        InputError: a file cannot be read, or no pixel has a class.
    """
    found = map_parallel(_Measurement(info, all_pixels), samples, workers=workers, unit="image")
    found = [bands for bands in found if bands]
    if not found:
        raise InputError(
            info.name, "no pixel has a class", "give all_pixels=True, or mend the masks"
        )
    total, *others = found
    for bands in others:
        total = [one + other for one, other in zip(total, bands, strict=True)]
    return total


@dataclass(frozen=True)
class _Measurement:
    """A function that measures the bands of one image; it runs in a worker."""

    info: DatasetInfo
    all_pixels: bool

    def __call__(self, sample: Sample) -> list[Band]:
        image, valid = read_valid_image(sample.image, self.info)
        if sample.masks and not self.all_pixels:
            labels = read_mask(next(iter(sample.masks.values())), self.info)
            valid = ignore_invalid(labels, valid, self.info) != self.info.ignore_index
        if valid is not None:
            image = image[valid]
        pixels = image.reshape(-1, self.info.bands)
        return [_measure(band) for band in pixels.T] if len(pixels) else []


def _measure(values: np.ndarray) -> Band:
    counts = np.bincount(values)
    present = counts.nonzero()[0]
    counts = counts[present]
    return Band(
        count=len(values),
        total=int(counts @ present),
        squares=int(counts @ present**2),
        low=int(present[0]),
        high=int(present[-1]),
    )
