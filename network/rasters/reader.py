"""Reader of a raster's pixels and of the mask of valid ones, for images and masks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from network.errors import InputError
from network.rasters.header import Header, check_memory, find_orientation, header_of, opened
from network.rasters.pixels import is_measured
from network.rasters.whole import REMEDY, check_bytes, check_structure, find_driver

# The turn for each of EXIF's orientations.
_TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


SAME_READS = 2
"""Number of times after which OpenCV decodes a file, if its pixels are then the same as GDAL's.

GDAL comes first, because only it says that a TIFF or JPEG is damaged.
"""

Table = dict[int, tuple[int, int, int, int]]
"""Red, green, blue and alpha of each index of a color table."""


@dataclass(frozen=True)
class Raster:
    """A decoded file.

    Attributes:
        header: facts from the header.
        values: (h, w, bands), without an alpha band that went into ``valid``.
        valid: (h, w) bool, false where the file has no data, by its no-data value, its mask or its
            alpha band. None if all pixels have data.
        nodata: the no-data value; None if there is none.
        table: red, green, blue and alpha of a color table, by index; None if there is none.
    """

    header: Header
    values: np.ndarray
    valid: np.ndarray | None
    nodata: float | None = None
    table: Table | None = None


def read_raster(path: Path, bands: int | None = None) -> Raster:
    """Decode a PNG, JPEG or TIFF file as it is stored, neither turned nor scaled.

    Args:
        path: the file.
        bands: number of bands that are wanted. An alpha band goes into ``valid`` only if it comes
            after these. By default, an alpha band always goes into ``valid``.

    Raises:
        InputError: the file cannot be decoded, a checksum in it is wrong, or its pixels would not
            fit into memory.
    """
    seen = _seen_version(path, bands)
    if seen.header is not None:
        values = _by_opencv(path, seen.header.bands)
        if values is not None:
            return Raster(seen.header, values, None)
    driver = find_driver(path)
    orientation = check_once(path, driver)
    raster = _by_gdal(path, bands, driver, orientation)
    seen.reads += 1
    if seen.reads == SAME_READS and driver != "PNG":
        seen.header = _header_if_alike(path, raster)
    return raster


def _by_gdal(path: Path, bands: int | None, driver: str, orientation: int) -> Raster:
    with opened(path, driver) as file:
        header = header_of(file, driver, orientation)
        check_memory(path, header)
        is_apart = header.has_alpha and (bands is None or header.bands == bands + 1)
        count = header.bands - is_apart
        used = list(range(1, count + 1))
        values = _interleaved(file.read(indexes=used))
        alpha = header.bands if is_apart else None
        valid = validity(file, used, alpha, transparent=transparent_colors(file))
        table = file.colormap(1) if header.color == "color-table" else None
        return Raster(header, values, valid, file.nodata, table)


@dataclass
class _Seen:
    """Facts from earlier reads of a file that has not changed since.

    Attributes:
        reads: how often GDAL has decoded it.
        header: its header if OpenCV decodes the same pixels; otherwise None.
    """

    reads: int = 0
    header: Header | None = None


def _seen_version(path: Path, bands: int | None) -> _Seen:
    try:
        about = path.stat()
    except OSError:
        return _Seen()  # reading it gives the error
    return _seen(path, bands, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=2**17)
def _seen(_path: Path, _bands: int | None, _size: int, _time: int) -> _Seen:
    return _Seen()


def _header_if_alike(path: Path, raster: Raster) -> Header | None:
    """Return the header of a file that OpenCV, which is faster, decodes to the same pixels."""
    header = raster.header
    is_plain = raster.valid is None and raster.nodata is None and raster.table is None
    if not is_plain or raster.values.shape[2] != header.bands:
        return None
    values = _by_opencv(path, header.bands)
    if values is None or values.dtype != raster.values.dtype:  # zeros of 16 bits equal those of 8
        return None
    return header if np.array_equal(values, raster.values) else None


class _OpenCVLog:
    """The log of OpenCV, which has one level for all threads.

    Without this, OpenCV writes a warning of each tag of GeoTIFF, and an error of each type that it
    cannot read.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._level = Lock(), 0, 0

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Write nothing in the block. The last thread that leaves one restores the level."""
        logging = cv2.utils.logging
        with self._lock:
            if not self._users:
                self._level = logging.getLogLevel()
                logging.setLogLevel(logging.LOG_LEVEL_SILENT)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    logging.setLogLevel(self._level)


_opencv_log = _OpenCVLog()


def _by_opencv(path: Path, bands: int) -> np.ndarray | None:
    """Decode an image of 8 bits with one or three bands; None if OpenCV cannot."""
    if bands not in (1, 3):
        return None
    mode = cv2.IMREAD_GRAYSCALE if bands == 1 else cv2.IMREAD_COLOR_RGB
    try:
        with _opencv_log.silenced():
            pixels = cv2.imread(str(path), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if pixels is None else pixels.reshape(*pixels.shape[:2], bands)


def check_once(path: Path, driver: str) -> int:
    """Check all bytes of a file and return its orientation; an unchanged file is checked once.

    Args:
        path: the file.
        driver: GDAL's name of its format.

    Raises:
        InputError: the file is damaged, or ends too early.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise damaged(path) from error
    return _check_version(path, driver, about.st_size, about.st_mtime_ns)


def forget_checked() -> None:
    """Forget which files were checked, since a service never sees the same file again."""
    _check_version.cache_clear()
    _seen.cache_clear()


@lru_cache(maxsize=2**17)
def _check_version(path: Path, driver: str, _size: int, _time: int) -> int:
    check_structure(path, driver)
    check_bytes(path, driver)
    return find_orientation(path, driver)


def _interleaved(values: np.ndarray) -> np.ndarray:
    """Move the bands from the first axis to the last: (bands, h, w) to (h, w, bands)."""
    if len(values) > 1 and values.dtype in (np.uint8, np.uint16, np.int16, np.float32):
        return cv2.merge(list(values))  # several times faster than a copy by NumPy
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def validity(
    file: rasterio.DatasetReader,
    bands: list[int],
    alpha: int | None = None,
    window: Window | None = None,
    transparent: Sequence[int] = (),
) -> np.ndarray | None:
    """Find the pixels (h, w) that an opened file calls valid; None if all of them are valid.

    A no-data value makes a pixel invalid if all bands have it, and so do masks of single bands.
    Among measurements, one band is enough.

    Args:
        file: the opened file.
        bands: numbers of the bands that are used, from 1 on.
        alpha: number of the alpha band; None if there is none, or if it is used as a band.
        window: the part of the file; by default all of it.
        transparent: values of the first band that are invalid, see :func:`transparent_colors`.
    """
    valid = None
    flags = [file.mask_flag_enums[band - 1] for band in bands]
    # GDAL has no flag for the mask of a single band.
    if any(MaskFlags.nodata in of_band or not of_band for of_band in flags):
        has_value = file.read_masks(indexes=bands, window=window)
        # Black in one band is a color, but -32767 in one band is no measurement.
        is_strict = any(is_measured(file.dtypes[band - 1]) for band in bands)
        valid = has_value.all(axis=0) if is_strict else has_value.any(axis=0)
    elif MaskFlags.per_dataset in flags[0] and MaskFlags.alpha not in flags[0]:
        valid = file.read_masks(bands[0], window=window) > 0
    if alpha is not None:
        opaque = file.read(alpha, window=window) > 0
        valid = opaque if valid is None else valid & opaque
    if transparent:
        opaque = ~np.isin(file.read(bands[0], window=window), transparent)
        valid = opaque if valid is None else valid & opaque
    return None if valid is None or valid.all() else valid


def transparent_colors(file: rasterio.DatasetReader) -> list[int]:
    """List the transparent colors of a PNG with a color table, or of a VRT of one.

    If it has one, GDAL calls it the no-data value. If it has several, GDAL says nothing.

    Args:
        file: the opened file.
    """
    if file.driver not in ("PNG", "VRT") or file.colorinterp[0] != ColorInterp.palette:
        return []
    try:
        table = file.colormap(1)
    except ValueError:  # a VRT may call a band so without a table
        return []
    return [value for value, color in table.items() if color[3] == 0]


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels (h, w, ...) as a viewer does, by EXIF's number of the orientation (1 to 8)."""
    return np.ascontiguousarray(_TURNS[orientation](pixels))


def damaged(path: Path, what: str = "image") -> InputError:
    """Make the error for a file that cannot be decoded.

    Args:
        path: the file.
        what: what the file should be, for the error.
    """
    return InputError(path, f"unreadable or truncated {what}", f"{REMEDY}")
