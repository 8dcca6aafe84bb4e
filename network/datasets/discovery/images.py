"""Facts about the images of a data set: their bands, values and sizes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from network.datasets.checks.bands import Band
from network.datasets.checks.images import ALPHA_BETWEEN
from network.datasets.checks.values import Values
from network.datasets.files import COLORS, IMAGE_SUFFIXES
from network.datasets.schema import pixel_type
from network.errors import InputError
from network.progress import progress_bar
from network.rasters.header import Header, read_header
from network.rasters.pixels import is_measured
from network.rasters.source import Source

SAMPLE = 200
"""Number of images whose pixels are read."""

_SIDE = 512
"""Side of the windows that are read of larger images, in pixels."""

_WINDOWS = 64
"""Number of windows of an image in which odd values are searched."""


@dataclass(frozen=True)
class Images:
    """The facts that all images of a data set share.

    Attributes:
        headers: the header of each image, in the order of the files.
        bands: number of bands, without an alpha band that tells where there are data.
        values: kind of the values, as in :class:`DatasetInfo`.
        bits: bits of each value.
        has_alpha: whether some images have such an alpha band.
        orientations: EXIF's numbers for how viewers turn some of the images; empty if they do not.
        unheeded: what all files say of their values, though they are used as stored.
    """

    headers: dict[Path, Header]
    bands: int
    values: str
    bits: int
    has_alpha: bool
    orientations: tuple[int, ...]
    unheeded: tuple[str, ...]

    @property
    def is_measured(self) -> bool:
        """Whether values are measurements, not brightness of 8 or 16 bits."""
        return self.values != "unsigned" or self.bits == 32

    @property
    def smallest(self) -> int:
        """The shortest side of all images, in pixels."""
        return min(min(header.height, header.width) for header in self.headers.values())

    @property
    def pixels(self) -> int:
        """Number of pixels of all images."""
        return sum(header.height * header.width for header in self.headers.values())

    @property
    def sizes(self) -> str:
        """The sizes, as a text: ``512 x 512 to 900 x 700``."""
        sizes = sorted({(header.height, header.width) for header in self.headers.values()})
        ends = sizes if len(sizes) == 1 else [sizes[0], sizes[-1]]
        return " to ".join(f"{height} x {width}" for height, width in ends)

    @property
    def summary(self) -> str:
        """Number, sizes, bands and type: ``9 images of 512 x 512 pixels, 4 bands of uint16``."""
        count, header = len(self.headers), next(iter(self.headers.values()))
        return (
            f"{count} image{'s' * (count != 1)} of {self.sizes} pixels, "
            f"{self.bands} band{'s' * (self.bands != 1)} of {header.dtype}"
        )


def describe_images(paths: Sequence[Path]) -> Images:
    """Read the headers of all images and find what they have in common.

    Args:
        paths: the images.

    Raises:
        InputError: an image cannot be read or used, or has other bands or values than most.
    """
    with ThreadPoolExecutor() as pool:
        read = pool.map(header_of_image, paths)
        bar = progress_bar(
            read, total=len(paths), desc="Reading headers", leave=False, unit="image"
        )
        headers = dict(zip(paths, bar, strict=True))
    for path, header in headers.items():
        if header.color not in COLORS:
            raise InputError(path, f"a {header.color} image", "convert it to gray or RGB")
    alpha = {path for path, header in headers.items() if header.has_alpha}
    if alpha and _is_image_band(min(alpha), headers[min(alpha)]):
        alpha = set()
    kinds = {path: (h.bands - (path in alpha), h.dtype) for path, h in headers.items()}
    (bands, dtype), count = Counter(kinds.values()).most_common(1)[0]
    for path, (own, its_dtype) in kinds.items():
        if (own, its_dtype) != (bands, dtype):
            raise InputError(
                path,
                f"{own} bands of {its_dtype}, {count} of {len(paths)} images have {bands} of "
                f"{dtype}",
                "give only images of one kind (images=PATH ...), or convert it",
            )
    _check_alike(headers)
    kind = pixel_type(dtype)
    if kind is None:
        raise InputError(
            paths[0],
            f"has pixels of {dtype}",
            "convert the images to a type of at most 32 bits (gdal_translate -ot Float32)",
        )
    turned = sorted({h.orientation for h in headers.values()} - {1})
    return Images(
        headers=headers,
        bands=bands,
        values=kind[0],
        bits=kind[1],
        has_alpha=bool(alpha),
        orientations=tuple(turned),
        unheeded=next(iter(headers.values())).unheeded,
    )


def _check_alike(headers: Mapping[Path, Header]) -> None:
    """Raise an :class:`InputError` if the values of images mean different things."""
    common, count = Counter(header.unheeded for header in headers.values()).most_common(1)[0]
    for path, header in headers.items():
        own = header.unheeded
        if own != common:
            what = f"has {' and '.join(own)}" if own else f"lacks {' and '.join(common)}"
            raise InputError(
                path,
                f"{what}, unlike {count} of the {len(headers)} images",
                "write all alike (gdal_translate: -b 3 -b 2 -b 1 changes the order, -unscale -ot "
                "Float32 applies scale and offset)",
            )


def header_of_image(path: Path) -> Header:
    """Read the header of an image of any size and format."""
    if path.suffix.lower() in IMAGE_SUFFIXES and not _is_large(path):
        return read_header(path)
    with Source(path) as source:
        return source.header


def _is_large(path: Path) -> bool:
    """Tell whether a file may be a scene that is larger than the memory."""
    return path.stat().st_size > 2**28


def _is_image_band(path: Path, header: Header) -> bool:
    """Tell whether an alpha band looks like a band of the image."""
    with Source(path, [header.bands]) as source:
        alpha, _ = source.read(*_middle(*source.size))
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else alpha.max()
    return float(((alpha > 0) & (alpha < opaque)).mean()) >= ALPHA_BETWEEN


def _middle(height: int, width: int) -> tuple[slice, slice]:
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    return slice(top, min(height, top + _SIDE)), slice(left, min(width, left + _SIDE))


def spread(items: Sequence, most: int) -> list:
    """Choose items that are evenly spread over a sequence, ``most`` at most."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]


def measure(paths: Sequence[Path], bands: int, most: int = SAMPLE) -> list[Band]:
    """Measure each band over windows of some images; pixels without data never count.

    Args:
        paths: the images.
        bands: number of bands.
        most: largest number of windows of 512 x 512 pixels.

    Returns:
        The statistics of each band.

    Raises:
        InputError: an image cannot be decoded, a band has one value everywhere, or no pixel that
            was read has data.
    """
    chosen = spread(paths, most)
    found: list[list[Band]] = []
    with progress_bar(chosen, desc="Measuring bands", leave=False, unit="image") as bar:
        for path in bar:
            with Source(path, range(1, bands + 1)) as source:
                for window in spread(_windows(*source.size), max(1, most // len(chosen))):
                    values, valid = source.read(*window)
                    pixels = values.reshape(-1, bands) if valid is None else values[valid]
                    if len(pixels):
                        found.append([_measured(band) for band in pixels.T])
    if not found:
        raise InputError(paths[0], "no pixel has data", "check the no-data value of the images")
    total = [reduce(lambda one, other: one + other, parts) for parts in zip(*found, strict=True)]
    for number, band in enumerate(total, start=1):
        if band.low == band.high:
            raise InputError(
                paths[0].parent,
                f"band {number} of its images is {band.low} everywhere",
                "leave it out of the images (gdal_translate -b)",
            )
    return total


def _windows(height: int, width: int) -> list[tuple[slice, slice]]:
    return [
        (slice(top, min(height, top + _SIDE)), slice(left, min(width, left + _SIDE)))
        for top in range(0, height, _SIDE)
        for left in range(0, width, _SIDE)
    ]


def _measured(values: np.ndarray) -> Band:
    doubles = values.astype(np.float64)
    mean = float(doubles.mean())
    squares = float(np.square(doubles - mean).sum())
    return Band(len(doubles), mean, squares, values.min().item(), values.max().item())


def odd_headers(images: Images) -> list[str]:
    """Say what is not done with the values, though all files ask for it."""
    if not images.unheeded:
        return []
    return [f"the images have {' and '.join(images.unheeded)}; their values are used as stored"]


def odd_values(paths: Sequence[Path]) -> list[str]:
    """List faults in the values of a few images, such as a no-data value that no file names.

    Args:
        paths: the images.
    """
    found = []
    for path in spread(paths, 5):
        values = Values()
        with Source(path) as source:
            if not all(map(is_measured, source.dtypes)):
                continue
            for window in spread(_windows(*source.size), _WINDOWS):  # a scene may be of any size
                values.add(source.read_raster(*window))
        found += [f"{path}: {problem}; {remedy}" for problem, remedy in values.faults()]
    return found[:3]


def normalization(
    images: Images, paths: Sequence[Path]
) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Measure mean and deviation of each band, unless the pretrained encoder brings its own.

    Its weights were trained on 8-bit RGB with these, so for such images they expect nothing else.

    Args:
        images: facts of the images.
        paths: the images to measure.

    Returns:
        Both in the units of :class:`network.settings.Data`; None for three bands of 8 bits.

    Raises:
        InputError: a band has one value everywhere.
    """
    bands = measure(paths, images.bands)
    if (images.bands, images.bits, images.values) == (3, 8, "unsigned"):
        return None, None
    mean, std = rounded(bands, not images.is_measured, images.bits)
    return mean, std


def rounded(bands: Sequence[Band], is_share: bool, bits: int) -> tuple[tuple[float, ...], ...]:
    """Round mean and standard deviation of each band to a few digits.

    Args:
        bands: the statistics.
        is_share: whether the numbers are shares of the largest value, not pixel values.
        bits: bits of the values.

    Returns:
        The means and the standard deviations.
    """
    unit = 2**bits - 1 if is_share else 1
    mean = tuple(_digits(band.mean / unit, band.std / unit) for band in bands)
    std = tuple(_digits(band.std / unit, band.std / unit) for band in bands)
    return mean, std


def _digits(value: float, std: float) -> float:
    """Round a number to a thousandth of the deviation, however large the number is."""
    places = 3 - int(np.floor(np.log10(std)))
    return round(value, places)
