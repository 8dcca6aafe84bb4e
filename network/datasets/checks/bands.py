"""Measurement of the mean and the standard deviation of each band, for the normalization."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from network.cluster import Workers
from network.datasets.files import ignore_invalid, read_mask, read_valid_image
from network.datasets.on_earth.label_raster import CELL
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, is_read_in_windows
from network.datasets.window_reader import WindowReader
from network.datasets.windows import Window
from network.datasets.workers import map_parallel
from network.errors import InputError
from network.rasters.source import Source

_AT_ONCE = 2**20
"""Values that are counted at once."""

_SIDE = 2048
"""Side of a window of a scene in pixels; other windows have as many pixels."""


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
    never count: those of a no-data value, of a mask in the file or of an alpha band, and NaN.
    Scenes and other large images are read in windows. Pixels of scenes outside the areas of the
    split have no class.

    Args:
        samples: the images and their masks.
        info: description of the data set.
        all_pixels: whether ignored pixels count too, most of which are black margins.
        workers: number of processes, or a cluster.

    Returns:
        The statistics of each band.

    Raises:
        InputError: a file cannot be read, or no pixel has a class; or ``all_pixels`` is given for
            labeled scenes, of which other areas may be for another split.
    """
    if all_pixels and any(sample.scene and sample.scene.labels for sample in samples):
        raise InputError(
            "all_pixels=True",
            f"the scenes of {info.name} are only measured where they have labels, since other "
            "areas may be for another split",
            "leave it out",
        )
    parts = [part for sample in samples for part in _parts(sample)]
    measure = _Measurement(WindowReader(info), all_pixels)
    unit = "image" if len(parts) == len(samples) else "window"
    found = [bands for bands in map_parallel(measure, parts, workers=workers, unit=unit) if bands]
    if not found:
        raise InputError(
            info.name, "no pixel has a class", "give all_pixels=True, or mend the masks"
        )
    total, *others = found
    for bands in others:
        total = [one + other for one, other in zip(total, bands, strict=True)]
    return total


@dataclass(frozen=True)
class _Part:
    """An image, or a window of a large one."""

    sample: Sample
    window: Window | None = None


def _parts(sample: Sample) -> Iterator[_Part]:
    """Cut a scene into windows that have labels, and a large image into windows."""
    scene = sample.scene
    if scene is None:
        if not is_read_in_windows(sample.size):
            yield _Part(sample)
            return
        with Source(sample.image) as source:
            block = source.block_size
        yield from (_Part(sample, window) for window in _windows(sample.size, block))
        return
    # The counts of all cells need not be sent to a worker with each window.
    bare = replace(sample, scene=replace(scene, labels=None))
    with Source(sample.image, scene.bands) as source:
        windows = _windows(sample.size, source.block_size)
    for rows, columns in windows:
        cells = tuple(slice(side.start // CELL, -(-side.stop // CELL)) for side in (rows, columns))
        if scene.labels is None or scene.labels.cells[cells].any():
            yield _Part(bare, (rows, columns))


def _windows(size: tuple[int, int], block: tuple[int, int]) -> list[Window]:
    """Cut an image into windows: squares, or rows of their whole width if it is stored in rows."""
    height, width = size
    across = width if block[1] >= width else min(width, _SIDE)
    down = max(1, _SIDE**2 // across)
    return [
        (slice(top, min(top + down, height)), slice(left, min(left + across, width)))
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]


@dataclass(frozen=True)
class _Measurement:
    """A function that measures the bands of one part; it runs in a worker."""

    reader: WindowReader
    all_pixels: bool

    @property
    def info(self) -> DatasetInfo:
        return self.reader.info

    def __call__(self, part: _Part) -> list[Band]:
        image, valid = self._read(part)
        if valid is not None:
            image = image[valid]
        pixels = image.reshape(-1, self.info.bands)
        if not len(pixels):
            return []
        measure = _measure if self.info.is_measured else _measure_brightness
        return [measure(band) for band in pixels.T]

    def _read(self, part: _Part) -> tuple[np.ndarray, np.ndarray | None]:
        """Read the values (h, w, bands), and the pixels (h, w) that count; None for all of them."""
        sample, ignored = part.sample, self.info.ignore_index
        mask = next(iter(sample.masks.values()), None)
        labels: np.ndarray | None = None
        if part.window is None:
            image, valid = read_valid_image(sample.image, self.info)
            if mask and not self.all_pixels:
                labels = read_mask(mask, self.info)
        else:
            image, valid = self.reader.image(sample, part.window)
            if mask and not self.all_pixels:
                labels = self.reader.mask_of(sample, mask, part.window)
        if labels is not None:
            valid = ignore_invalid(labels, valid, self.info) != ignored
        return image, valid


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
    counts = np.zeros(2**16, np.int64)
    for start in range(0, len(values), _AT_ONCE):  # NumPy makes them four or eight times as large
        counts += np.bincount(values[start : start + _AT_ONCE], minlength=2**16)
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
