"""Smaller copies of rasters that may be larger than the memory."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np
import rasterio
from rasterio.enums import MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from network.progress import progress_bar

Opened: TypeAlias = rasterio.DatasetReader | WarpedVRT

PART_BYTES = 2**25
"""Number of bytes that are read at once. GDAL's cache (``header.OPTIONS``) must hold their blocks.
"""


def has_overviews(file: Opened, factor: float) -> bool:
    """Tell whether a raster can be read quickly when it is shrunk by a factor.

    Args:
        file: the opened raster.
        factor: number of pixels that become one pixel, along a side.
    """
    # Reading four pixels along a side for one that is shown is still quick.
    return 4 * max(file.overviews(1), default=1) >= factor


def shrink(
    file: Opened,
    bands: list[int],
    height: int,
    width: int,
    *,
    is_labels: bool,
    what: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Read a whole raster in a smaller size.

    A pixel is the mean of the valid pixels below it, or the most frequent label. Overviews of the
    file are used. Without them the file is read once, strip by strip, with a progress bar.

    Args:
        file: the opened raster.
        bands: numbers of the bands, from 1 on.
        height: height of the result, at most that of the raster.
        width: width of the result, at most that of the raster.
        is_labels: whether the values are labels, which have no mean.
        what: what is read, for the progress bar.

    Returns:
        Values (height, width, bands), and the mask of valid pixels (height, width) bool.
    """
    shape = height, width
    if has_overviews(file, max(file.height / height, file.width / width)):
        way = Resampling.mode if is_labels else Resampling.average
        return _resampled(file, bands, None, shape, way)
    values = np.empty((*shape, len(bands)), file.dtypes[bands[0] - 1])
    valid = np.empty(shape, bool)
    rows, columns = _part_size(file, bands)
    with progress_bar(total=file.height, desc=f"Reading {what}", unit="row") as bar:
        for down, of_rows in _cuts(file.height, height, rows):
            for across, of_columns in _cuts(file.width, width, columns):
                window = Window.from_slices(of_rows, of_columns)
                part = down.stop - down.start, across.stop - across.start
                if is_labels:
                    found = _resampled(file, bands, window, part, Resampling.mode)
                else:
                    found = _mean(file, bands, window, part)
                values[down, across], valid[down, across] = found
            bar.update(of_rows.stop - of_rows.start)
    return values, valid


def _part_size(file: Opened, bands: list[int]) -> tuple[int, int]:
    """Choose rows and columns of the parts that are read: whole blocks, so each is decoded once."""
    pixel = sum(np.dtype(file.dtypes[band - 1]).itemsize for band in bands)
    height, width = file.block_shapes[0]
    if height * width * pixel > PART_BYTES:  # such as a file that is a single block
        return max(1, PART_BYTES // (width * pixel)), width
    columns = min(file.width, PART_BYTES // (height * pixel) // width * width)
    return PART_BYTES // (columns * pixel) // height * height, columns


def _cuts(full: int, small: int, step: int) -> Iterator[tuple[slice, slice]]:
    """Cut a side of the result, and the same side of the file, into parts of about ``step``."""
    ends = sorted({round(end * small / full) for end in (*range(0, full, step), full)})
    for start, stop in pairwise(ends):
        yield slice(start, stop), slice(round(start * full / small), round(stop * full / small))


def _resampled(
    file: Opened, bands: list[int], window: Window | None, shape: tuple[int, int], way: Resampling
) -> tuple[np.ndarray, np.ndarray]:
    size = len(bands), *shape
    values = file.read(bands, window=window, out_shape=size, resampling=way)
    if file.nodata is None:
        valid = _valid(file, shape, window)
    else:
        # GDAL would look at a single pixel below each, not at those that the value was made from.
        same = np.isnan(values) if np.isnan(file.nodata) else values == file.nodata
        valid = ~same.all(axis=0)
    return values.transpose(1, 2, 0), valid


def _valid(file: Opened, shape: tuple[int, int], window: Window | None = None) -> np.ndarray:
    """Find the valid pixels of a window, in another size."""
    if all(MaskFlags.all_valid in flags for flags in file.mask_flag_enums):
        return np.ones(shape, bool)  # GDAL would take a fifth of the time for this
    return file.dataset_mask(window=window, out_shape=shape) > 0


def _mean(
    file: Opened, bands: list[int], window: Window, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink a window to the means of its valid pixels; half of them are needed for a value."""
    pixels = file.read(bands, window=window)
    valid = _valid(file, pixels.shape[1:], window)
    size = shape[::-1]

    def small(values: np.ndarray) -> np.ndarray:
        # Several times faster than GDAL's average.
        return cv2.resize(values, size, interpolation=cv2.INTER_AREA)

    kind = pixels.dtype
    if kind not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):
        pixels = pixels.astype(np.float64)
    if valid.all():
        return _as_type(np.dstack([small(band) for band in pixels]), kind), np.ones(shape, bool)
    share = small(valid.astype(np.float32))
    sums = [small(np.where(valid, band, 0).astype(np.float32)) for band in pixels]
    means = np.dstack([total / np.maximum(share, 1e-9) for total in sums])
    return _as_type(means, kind), share >= 0.5


def _as_type(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    if values.dtype != kind and np.issubdtype(kind, np.integer):
        values = np.rint(values)
    return values.astype(kind)
