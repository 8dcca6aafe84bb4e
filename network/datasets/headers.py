"""What the header of an image file says, without decoding it, and whether the file has its end."""

import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from network.datasets.info import DatasetInfo
from network.errors import InputError

REMEDY = "copy or extract it again"
COLORS = ("gray", "RGB")
"""What the bands of an image may mean; TIFFs of more bands call them gray, or RGB and others."""

# TIFF tags.
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _BANDS, _FORMAT = 256, 257, 258, 262, 277, 339
_STRIPS_AND_TILES = ((273, 279), (324, 325))  # offsets and lengths in bytes
_TIFF_COLORS = {0: "gray", 1: "gray", 2: "RGB", 3: "color-table", 5: "CMYK", 6: "RGB"}
_OTHER_FORMATS = {2: "int", 3: "float"}
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # of whole numbers, for struct
_PIL_COLORS = {"1": "1-bit", "L": "gray", "LA": "gray", "RGB": "RGB", "RGBA": "RGB"}


@dataclass(frozen=True)
class Header:
    """Size in pixels, number of bands, their type as NumPy names it, and what they mean."""

    height: int
    width: int
    bands: int
    dtype: str
    color: str


def image_size(path: Path) -> tuple[int, int]:
    """(height, width); see :func:`read_header`."""
    header = read_header(path)
    return header.height, header.width


def fitting_size(path: Path, info: DatasetInfo) -> tuple[int, int]:
    """(height, width) of an image of ``info``.

    Raises:
        InputError: see :func:`read_header`; or it has other bands or bits, or they are no
            intensities (color tables, CMYK).
    """
    header = read_header(path)
    check_bands(path, header.bands, header.dtype, info)
    if header.color not in COLORS:
        raise InputError(f"{path}: a {header.color} image; convert it to gray or RGB")
    return header.height, header.width


def check_bands(path: Path, bands: int, dtype: str, info: DatasetInfo) -> None:
    """Raise an :class:`InputError` if an image has not the bands and bits that ``info`` says."""
    if (bands, dtype) != (info.bands, info.dtype):
        remedy = "convert it to RGB without alpha" if info.is_rgb8 else "convert it"
        raise InputError(
            f"{path}: {_count(bands)} of {dtype}, {info.name} has {_count(info.bands)} of "
            f"{info.dtype}; {remedy}, or say what the images have in the config's DatasetInfo"
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
            # Pillow reads RGB of 16 bits as if it had 8.
            is_png16 = image.format == "PNG" and start[24] == 16
            color = "gray" if image.mode.startswith("I") else _PIL_COLORS.get(image.mode)
            return Header(
                height=image.height,
                width=image.width,
                bands=len(image.getbands()),
                dtype="uint16" if is_png16 else "uint8",
                color=color or ("color-table" if image.mode.startswith("P") else image.mode),
            )
    except (UnidentifiedImageError, ValueError, IndexError, struct.error) as error:
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
    tags = _tiff_tags(path)
    data = [pair for pair in _STRIPS_AND_TILES if set(pair) <= tags.keys()]
    if not {_WIDTH, _HEIGHT} <= tags.keys() or not data:
        raise InputError(f"{path}: not an image, or its header is damaged; {REMEDY}")
    ends = [o + c for pair in data for o, c in zip(*(tags[tag] for tag in pair), strict=False)]
    if max(ends, default=0) > path.stat().st_size:
        raise InputError(f"{path}: truncated image; {REMEDY}")
    bits, kind = tags.get(_BITS, (1,))[0], tags.get(_FORMAT, (1,))[0]
    if kind in (1, 4):  # unsigned; undefined, which all take for that
        # Sensors of 12 bits: readers widen them.
        name = f"uint{16 if 8 < bits < 16 else bits}"
    else:
        name = f"{_OTHER_FORMATS.get(kind, 'complex')}{bits}"
    photometric = tags.get(_PHOTOMETRIC, (1,))[0]
    return Header(
        height=tags[_HEIGHT][0],
        width=tags[_WIDTH][0],
        bands=tags.get(_BANDS, (1,))[0],
        dtype=name,
        color=_TIFF_COLORS.get(photometric, f"photometric {photometric}"),
    )


def _tiff_tags(path: Path) -> dict[int, tuple[int, ...]]:
    """The whole-number tags of the first directory.

    Raises:
        InputError: the file ends before they do.
    """
    size = path.stat().st_size
    with path.open("rb") as file:

        def read(format_: str, at: int) -> tuple[int, ...]:
            count = struct.calcsize(order + format_)
            if at + count > size:
                raise InputError(f"{path}: truncated image; {REMEDY}")
            file.seek(at)
            return struct.unpack(order + format_, file.read(count))

        order = "<" if file.read(2) == b"II" else ">"
        is_big = read("H", 2)[0] == 43
        offset = "Q" if is_big else "I"
        (start,) = read(offset, 8 if is_big else 4)
        (count,) = read("Q" if is_big else "H", start)
        start += 8 if is_big else 2
        step, inline = (20, 8) if is_big else (12, 4)
        read(f"{step}s", start + max(0, count - 1) * step)  # the last entry is there
        tags = {}
        for number in range(count):
            at = start + number * step
            tag, kind, length = read(f"HH{offset}", at)
            if kind not in _TIFF_TYPES:
                continue
            values = f"{length}{_TIFF_TYPES[kind]}"
            place = at + step - inline
            if struct.calcsize(order + values) > inline:
                (place,) = read(offset, place)
            tags[tag] = read(values, place)
    return tags


def _count(bands: int) -> str:
    return f"{bands} band{'s' * (bands != 1)}"
