"""Reading of a raster's header without decoding its pixels."""

import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
from PIL import Image
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from network.errors import InputError
from network.rasters.place import Place, place_of
from network.rasters.whole import (
    ORIENTATION,
    REMEDY,
    check_structure,
    find_driver,
    png_chunks,
    read_part,
    read_tiff_tags,
)

CACHE_BYTES = 2**25
"""Bytes of decoded blocks that GDAL keeps in memory."""

OPTIONS: dict[str, str | int] = {
    # Do not list a large folder again for each of its files; GDAL still finds side files.
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    # A warning of libjpeg means damage, since it makes up pixels that it cannot read.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    # Enough for a row of windows in a block of a map. GDAL's
    # own default is 5 % of the machine's memory in each process.
    "GDAL_CACHEMAX": CACHE_BYTES,
}

# Images without a place on Earth are normal here.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

_PAGE = re.compile(r"\((\d+)P x (\d+)L x \d+B\)")
"""Size of a page in GDAL's description of it."""

_UPRIGHT = 1
_ALL_COLORS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class Header:
    """Facts about the pixels of a file.

    Attributes:
        height: height as stored, in pixels.
        width: width as stored, in pixels.
        bands: number of bands, an alpha band included.
        dtype: NumPy's name for the type of the values.
        color: ``"RGB"``, ``"gray"`` (also for bands without a meaning), ``"color-table"``,
            ``"1-bit"`` and so on, ``"CMYK"``, ...
        has_alpha: whether the last band tells which pixels are valid.
        is_lossy: whether lossy compression may have changed the pixels.
        orientation: EXIF's number for how a viewer turns the image, 1 to 8; 1 is not at all.
        place: place on Earth; None if the file does not say.
        unheeded: what the file says of the meaning of its values, though they are used as stored:
            an order of red, green and blue that is another one, a scale, an offset.
    """

    height: int
    width: int
    bands: int
    dtype: str
    color: str
    has_alpha: bool = False
    is_lossy: bool = False
    orientation: int = _UPRIGHT
    place: Place | None = None
    unheeded: tuple[str, ...] = ()


@contextmanager
def opened(path: Path, driver: str) -> Iterator[rasterio.DatasetReader]:
    """Open a file with one driver only, so a misleading file name cannot select another one.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with rasterio.Env(**OPTIONS), rasterio.open(path, driver=driver) as file:
            yield file
    except (RasterioError, CPLE_BaseError, OSError, ValueError, OverflowError) as error:
        raise InputError(path, "unreadable or truncated image", f"{REMEDY}") from error


def read_header(path: Path) -> Header:
    """Read the header of a PNG, JPEG or TIFF file and check that the file is not truncated.

    Raises:
        InputError: the file is no image or is truncated.
    """
    driver = find_driver(path)
    check_structure(path, driver)
    with opened(path, driver) as file:
        return header_of(file, driver, find_orientation(path, driver))


def header_of(file: rasterio.DatasetReader, driver: str, orientation: int) -> Header:
    """Read the header of an opened file.

    Args:
        file: the opened file.
        driver: GDAL's name of its format.
        orientation: EXIF's number for how a viewer turns the image, 1 to 8.

    Raises:
        InputError: the file has several pages, and it is not clear which of them is the image.
    """
    _check_pages(file)
    structure = file.tags(ns="IMAGE_STRUCTURE")
    return Header(
        height=file.height,
        width=file.width,
        bands=file.count,
        dtype=file.dtypes[0],
        color=_color(file, structure),
        has_alpha=file.count > 1 and file.colorinterp[-1] == ColorInterp.alpha,
        is_lossy=is_lossy(file, driver),
        orientation=orientation,
        place=place_of(file),
        unheeded=_unheeded(file),
    )


def _check_pages(file: rasterio.DatasetReader) -> None:
    """Raise an :class:`InputError` if a TIFF has another page that is as large as the first one.

    GDAL reads the first one. Smaller pages are previews.
    """
    if file.driver != "GTiff" or not file.subdatasets:
        return
    texts = (text for key, text in file.tags(ns="SUBDATASETS").items() if key.endswith("_DESC"))
    sizes = [(int(m[2]), int(m[1])) for text in texts if (m := _PAGE.search(text))]
    if sum(h >= file.height and w >= file.width for h, w in sizes) > 1:
        raise InputError(
            Path(file.name),
            f"has {len(sizes)} pages, and only one of them can be the image",
            "save that page as a file (gdal_translate GTIFF_DIR:1:in.tif out.tif)",
        )


def _color(file: rasterio.DatasetReader, structure: dict[str, str]) -> str:
    source = structure.get("SOURCE_COLOR_SPACE", "YCbCr")
    if source != "YCbCr":  # GDAL converts such colors to RGB, and each reader does it differently
        return "CMYK" if source == "YCCK" else source
    meanings = file.colorinterp
    if meanings[0] == ColorInterp.palette:
        return "color-table"
    if meanings[0] == ColorInterp.cyan:
        return "CMYK"
    bits = file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "8")
    if int(bits) < 8:
        return f"{bits}-bit"
    return "RGB" if meanings[:3] == _ALL_COLORS else "gray"


def _unheeded(file: rasterio.DatasetReader) -> tuple[str, ...]:
    found = []
    colors = file.colorinterp[:3]
    if colors != _ALL_COLORS and set(colors) == set(_ALL_COLORS):
        found.append(f"the bands {', '.join(color.name for color in colors)} in this order")
    for name, values, plain in (("scale", file.scales, 1), ("offset", file.offsets, 0)):
        if set(values) != {plain}:
            shown = dict.fromkeys(f"{value:g}" for value in values)
            found.append(f"a band {name} of {', '.join(shown)}")
    return tuple(found)


def is_lossy(file: rasterio.DatasetReader, driver: str | None = None) -> bool:
    """Tell whether an opened file was compressed with loss. The sources of a VRT are not asked.

    Args:
        file: the file.
        driver: GDAL's name of its format, by default as it was opened.
    """
    driver, structure = driver or file.driver, file.tags(ns="IMAGE_STRUCTURE")
    compression = structure.get("COMPRESSION", "")
    return (
        driver == "JPEG"
        or "JPEG" in compression
        or structure.get("COMPRESSION_REVERSIBILITY", "").startswith("LOSSY")
        or float(structure.get("MAX_Z_ERROR", 0)) > 0
    )


def find_orientation(path: Path, driver: str) -> int:
    """Find EXIF's number for how a viewer turns an image, 1 to 8; 1 is not at all."""
    found: Any = _UPRIGHT  # a damaged file may hold anything there
    if driver == "GTiff":
        found = read_tiff_tags(path).get(ORIENTATION, (_UPRIGHT,))[0]
    elif driver == "JPEG":
        with opened(path, driver) as file:
            found = file.tags().get("EXIF_Orientation", _UPRIGHT)
    else:
        for kind, at, length in png_chunks(path):
            if kind == b"eXIf":
                found = _exif_orientation(read_part(path, at, length))
    return _known_orientation(found)


def _known_orientation(found: Any) -> int:
    try:
        number = int(found)
    except (TypeError, ValueError):
        return _UPRIGHT
    return number if number in range(1, 9) else _UPRIGHT


def webp_orientation(path: Path) -> int:
    """Find EXIF's number for how a viewer turns a WebP file, which GDAL does not tell.

    Args:
        path: the file.

    Returns:
        1 to 8; 1, which is not at all, also for a file that is no WebP.
    """
    found: Any = _UPRIGHT
    with path.open("rb") as file:
        kind = file.read(12)
        while kind[:4] == b"RIFF" and kind[8:] == b"WEBP" and len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], "little")
            if head[:4] == b"EXIF":
                found = _exif_orientation(file.read(length))
                break
            file.seek(length + length % 2, 1)
    return _known_orientation(found)


def _exif_orientation(data: bytes) -> Any:
    exif = Image.Exif()
    try:
        exif.load(b"Exif\0\0" + data.removeprefix(b"Exif\0\0"))
        return exif.get(ORIENTATION, _UPRIGHT)
    except (SyntaxError, ValueError, struct.error):
        return _UPRIGHT


def check_memory(path: Path, header: Header) -> None:
    """Raise an :class:`InputError` if the decoded pixels would not fit into the free memory."""
    needed = header.height * header.width * header.bands * _bytes(header.dtype)
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            path,
            f"{header.height} x {header.width} pixels take {needed / 1000000000.0:.0f} GB of "
            f"memory, {free / 1000000000.0:.0f} GB are free",
            "cut it into smaller images (gdal_retile.py)",
        )


def _bytes(dtype: str) -> int:
    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # complex integers, which NumPy lacks
        return 8
