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
    """Statistics of the pixels of one band; those of two sets of pixels can be added.

    The sum of squares is one of deviations, since for heights of thousands of meters that differ by
    centimeters, nothing would be left of a difference of plain sums of squares. Source of the
    addition: Chan, Golub and LeVeque, The American Statistician 37(3), 1983.

    Attributes:
        count: number of pixels.
        mean: mean of their values.
        squares: sum of the squared deviations from the mean.
        low: smallest value.
        high: largest value.
    """

    count: int
    mean: float
    squares: float
    low: float
    high: float

    def __add__(self, other: "Band") -> "Band":
        count, apart = self.count + other.count, other.mean - self.mean
        share = other.count / count
        return Band(
            count,
            self.mean + apart * share,
            self.squares + other.squares + apart**2 * share * self.count,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def std(self) -> float:
        """The population standard deviation (not that of a sample), in pixel values."""
        return math.sqrt(self.squares / self.count)


def measure_bands(
    samples: Sequence[Sample], info: DatasetInfo, *, all_pixels: bool = False, workers: Workers = 1
) -> list[Band]:
    """Measure each band over the pixels of all images.

    Only pixels with a class count, or all pixels of an image without a mask. Pixels without data
    never count.

    Args:
        samples: the images and their masks.
        info: description of the data set.
        all_pixels: whether ignored pixels count too, most of which are black margins.
        workers: number of processes, or a cluster.

    Returns:
        The statistics of each band.

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
        if not len(pixels):
            return []
        measure = _measure if self.info.is_measured else _measure_brightness
        return [measure(band) for band in pixels.T]


def _measure(values: np.ndarray) -> Band:
    doubles = values.astype(np.float64)
    mean = doubles.mean()
    squares = np.square(doubles - mean).sum()
    return Band(
        count=len(values),
        mean=float(mean),
        squares=float(squares),
        low=values.min().item(),
        high=values.max().item(),
    )


def _measure_brightness(values: np.ndarray) -> Band:
    """Measure a band of uint8 or uint16 by counting each value, which is faster, and exact."""
    counts = np.bincount(values)
    present = counts.nonzero()[0]
    counts = counts[present]
    count, total, squares = len(values), int(counts @ present), int(counts @ present**2)
    return Band(
        count=count,
        mean=total / count,
        squares=(count * squares - total**2) / count,
        low=int(present[0]),
        high=int(present[-1]),
    )
