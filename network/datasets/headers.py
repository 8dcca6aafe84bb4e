"""What the header of an image file says, without decoding it, and whether the file has its end."""

import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from network.datasets.info import DatasetInfo
from network.errors import InputError

REMEDY = "copy or extract it again"

# TIFF tags.
_WIDTH, _HEIGHT, _BITS, _BANDS, _FORMAT = 256, 257, 258, 277, 339
_STRIPS_AND_TILES = ((273, 279), (324, 325))  # offsets and lengths in bytes


@dataclass(frozen=True)
class Header:
    """Size in pixels, number of bands, and the type of their values as NumPy names it."""

    height: int
    width: int
    bands: int
    dtype: str


def image_size(path: Path) -> tuple[int, int]:
    """(height, width); see :func:`read_header`."""
    header = read_header(path)
    return header.height, header.width


def fitting_size(path: Path, info: DatasetInfo) -> tuple[int, int]:
    """(height, width) of an image of ``info``.

    Raises:
        InputError: see :func:`read_header`; or it has other bands or bits.
    """
    header = read_header(path)
    check_bands(path, header.bands, header.dtype, info)
    return header.height, header.width


def check_bands(path: Path, bands: int, dtype: str, info: DatasetInfo) -> None:
    """Raise an :class:`InputError` if an image has not the bands and bits that ``info`` says."""
    if (bands, dtype) != (info.bands, info.dtype):
        raise InputError(
            f"{path}: {_count(bands)} of {dtype}, {info.name} has {_count(info.bands)} of "
            f"{info.dtype}; convert the image, or say what it has in the config's DatasetInfo"
        )


def read_header(path: Path) -> Header:
    """Header of a PNG, JPEG or TIFF, after checking that the file has its end.

    Raises:
        InputError: not an image, or the file stops before its pixels do.
    """
    try:
        with path.open("rb") as file:
            start = file.read(32)
        if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff_header(path)
        if _is_cut_off(path, start):
            raise InputError(f"{path}: truncated image; {REMEDY}")
        with Image.open(path) as image:
            is_png16 = image.format == "PNG" and start[24] == 16
            bits = 16 if is_png16 else 8
            return Header(image.height, image.width, len(image.getbands()), f"uint{bits}")
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image, or its header is damaged; {REMEDY}") from error
    except OSError as error:
        raise InputError(f"{path}: unreadable image ({error}); {REMEDY}") from error


def _is_cut_off(path: Path, start: bytes) -> bool:
    """Whether the end of a PNG or JPEG is missing."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        end = file.read()
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND\xaeB`\x82" not in end
    return start.startswith(b"\xff\xd8\xff") and b"\xff\xd9" not in end


def _tiff_header(path: Path) -> Header:
    """From the tags alone: Pillow opens no file of five bands, and few of 16 bits."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            # BigTIFF has a longer header.
            is_big = file.read(4)[2:] in (b"+\0", b"\0+")
            file.seek(0)
            tags = ImageFileDirectory_v2(file.read(16 if is_big else 8))
            if tags.next + 2 > size:
                raise InputError(f"{path}: truncated image; {REMEDY}")
            file.seek(tags.next)
            tags.load(file)
            height, width = tags[_HEIGHT], tags[_WIDTH]
            bands, bits = tags.get(_BANDS, 1), tags.get(_BITS, (1,))[0]
            kind = {1: "uint", 2: "int", 3: "float"}[tags.get(_FORMAT, (1,))[0]]
            ends = [
                offset + count
                for offsets, counts in _STRIPS_AND_TILES
                if offsets in tags and counts in tags
                for offset, count in zip(tags[offsets], tags[counts], strict=True)
            ]
    except (KeyError, ValueError, TypeError, SyntaxError, struct.error) as error:
        raise InputError(f"{path}: not an image, or its header is damaged; {REMEDY}") from error
    if max(ends, default=0) > size:
        raise InputError(f"{path}: truncated image; {REMEDY}")
    return Header(height, width, bands, f"{kind}{bits}")


def _count(bands: int) -> str:
    return f"{bands} band{'s' * (bands != 1)}"
