"""Headers and pixels of plain PNG, JPEG and TIFF files, read without GDAL.

GDAL needs most of a millisecond to open a file, which is long if there are 200,000 of them. Plain
are files whose header holds nothing but the size, the type and the colors of the pixels: no place
on Earth, no mask, no color table, no EXIF. Everything here returns None for any other file, damaged
ones included, and for all files that GDAL would read together with another file beside them. GDAL
then reads these, and says what is wrong.
"""

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from network.rasters.header import Header
from network.rasters.whole import DEFLATE_LIMIT, PNG_BANDS

_FIRST = 2**16
"""Bytes that are read at once from the beginning of a file."""

_LONGEST = 100_000
"""Largest height or width of a plain image, in pixels."""

_UNUSUAL = (struct.error, LookupError, ValueError, ArithmeticError, OSError, MemoryError)
"""Errors that senseless numbers in a file lead to."""


class _Bytes:
    """The bytes of an opened file, of which only the used ones are read."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self.start = os.pread(descriptor, _FIRST, 0)
        self.size = len(self.start)
        if self.size == _FIRST:
            self.size = os.fstat(descriptor).st_size

    def part(self, at: int, length: int) -> bytes:
        """Read ``length`` bytes from the offset ``at`` on; fewer at the end of the file."""
        if at + length <= len(self.start):
            return self.start[at : at + length]
        return os.pread(self.descriptor, length, at)

    def all(self) -> bytes:
        """Read all bytes."""
        if self.size == len(self.start):
            return self.start
        parts, at = [self.start], len(self.start)
        while at < self.size and (more := os.pread(self.descriptor, self.size - at, at)):
            parts.append(more)
            at += len(more)
        return b"".join(parts)


def plain_header(path: Path) -> Header | None:
    """Read the header of a plain file, as :func:`network.rasters.header.read_header` would.

    Args:
        path: the file. There must be no file beside it that GDAL reads too.
    """
    with suppress(*_UNUSUAL):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            file = _Bytes(descriptor)
            start = file.start
            if start[:4] == b"\x89PNG":
                return _png_header(file)
            if start[:4] == b"II*\0":
                return _tiff_header(file, "<")
            if start[:4] == b"MM\0*":
                return _tiff_header(file, ">")
            if start[:3] == b"\xff\xd8\xff":
                return _jpeg_header(file)
        finally:
            os.close(descriptor)
    return None


def _sized(height: int, width: int, bands: int, dtype: str, *, lossy: bool = False) -> Header:
    color = "gray" if bands == 1 else "RGB"
    return Header(height, width, bands, dtype, color, is_lossy=lossy)


def _is_size(height: int, width: int) -> bool:
    return 0 < height <= _LONGEST and 0 < width <= _LONGEST


# PNG --------------------------------------------------------------------------------------------

_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_COLORS = (0, 2)  # gray and RGB
_PNG_EXTRAS = frozenset((b"pHYs", b"tEXt", b"tIME", b"sRGB", b"gAMA"))
"""Chunks that say nothing about pixels as this project reads them."""


def _png_facts(start: bytes) -> tuple[int, int, int, int] | None:
    """Read height, width, bits and bands of a plain PNG from its first bytes."""
    width, height, bits, color, packing, filtering, interlaced = struct.unpack_from(
        ">IIBBBBB", start, 16
    )
    is_plain = (
        start.startswith(_PNG_START)
        and bits in (8, 16)
        and color in _PNG_COLORS
        and not (packing or filtering or interlaced)
        and _is_size(height, width)
        and zlib.crc32(start[12:29]) == int.from_bytes(start[29:33])
    )
    return (height, width, bits, PNG_BANDS[color]) if is_plain else None


def _png_header(file: _Bytes) -> Header | None:
    facts = _png_facts(file.start)
    if facts is None:
        return None
    height, width, bits, bands = facts
    if height * (width * bits * bands // 8) > DEFLATE_LIMIT * file.size:
        return None
    at, has_pixels = 33, False
    while True:
        length, kind = struct.unpack(">I4s", file.part(at, 8))
        if at + 12 + length > file.size:
            return None
        if kind == b"IDAT":
            has_pixels = True
        elif kind == b"IEND":
            break
        elif kind not in _PNG_EXTRAS:
            return None
        at += 12 + length
    return _sized(height, width, bands, f"uint{bits}") if has_pixels else None


def plain_png(path: Path, *, checked: bool = False) -> tuple[Header, np.ndarray] | None:
    """Decode a plain PNG of 8 bits: its header, and its pixels (h, w, bands).

    Args:
        path: the file. There must be no file beside it that GDAL reads too.
        checked: whether the checksums in the file were checked before.
    """
    with suppress(*_UNUSUAL, zlib.error, cv2.error):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            data = _Bytes(descriptor).all()
        finally:
            os.close(descriptor)
        facts = _png_facts(data)
        if facts is None or facts[2] != 8:
            return None
        height, width, _, bands = facts
        if height * width * bands > DEFLATE_LIMIT * len(data):
            return None
        if not _has_plain_chunks(data, None if checked else height * (1 + width * bands)):
            return None
        mode = cv2.IMREAD_GRAYSCALE if bands == 1 else cv2.IMREAD_COLOR_RGB
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
        if pixels is not None and pixels.shape[:2] == (height, width):
            return _sized(height, width, bands, "uint8"), pixels.reshape(height, width, bands)
    return None


def _has_plain_chunks(data: bytes, expected: int | None) -> bool:
    """Tell whether all chunks are plain; with a number of bytes to expect, check all checksums."""
    at, view, stream = 33, memoryview(data), []
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            return False
        if expected is not None and zlib.crc32(view[at + 4 : end]) != int.from_bytes(
            view[end : end + 4]
        ):
            return False
        if kind == b"IDAT":
            stream.append(view[at + 8 : end])
        elif kind == b"IEND":
            break
        elif kind not in _PNG_EXTRAS:
            return False
        at = end + 4
    if expected is None:
        return bool(stream)
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(stream[0] if len(stream) == 1 else b"".join(stream), expected)
    return len(inflated) == expected


# JPEG -------------------------------------------------------------------------------------------


def _jpeg_header(file: _Bytes) -> Header | None:
    """Read the header of a JPEG with a JFIF mark, of gray or YCbCr; all bytes are read."""
    data = file.all()
    if data[2:4] != b"\xff\xe0" or data[6:11] != b"JFIF\0":
        return None
    at, size = 2, None
    while True:
        if data[at] != 0xFF:
            return None
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        inner = at + 4, at + 2 + length
        if marker == 0xDA:
            break
        if marker in (0xC0, 0xC2):
            bits, height, width, bands = struct.unpack_from(">BHHB", data, at + 4)
            if size is not None or bits != 8 or not _are_components(data, *inner, bands):
                return None
            size = height, width, bands
        elif not (
            (marker == 0xDB and _are_tables(data, *inner, is_huffman=False))
            or (marker == 0xC4 and _are_tables(data, *inner, is_huffman=True))
            or marker in (0xDD, 0xFE)  # distance of restart marks, comment
            or (marker == 0xE0 and at == 2)
        ):
            return None
        at += 2 + length
    if size is None or not _is_size(size[0], size[1]):
        return None
    height, width, bands = size
    if -(-height // 8) * -(-width // 8) > 8 * len(data) or data.find(b"\xff\xd9", at) < 0:
        return None
    return _sized(height, width, bands, "uint8", lossy=True)


def _are_components(data: bytes, at: int, end: int, bands: int) -> bool:
    """Tell whether the rest of a frame's header describes gray, or YCbCr with colors up to half."""
    parts = data[at + 6 : end]
    return (
        bands in (1, 3)
        and len(parts) == 3 * bands
        and parts[::3] == bytes(range(1, bands + 1))
        and parts[1] in (0x11, 0x12, 0x21, 0x22)
        and set(parts[4::3]) <= {0x11}
        and max(parts[2::3]) <= 3
    )


def _are_tables(data: bytes, at: int, end: int, *, is_huffman: bool) -> bool:
    """Tell whether a segment is filled with tables of codes, or of quantization."""
    while at < end:
        kind, number = data[at] >> 4, data[at] & 15
        if kind > 1 or number > 3:
            return False
        codes = sum(data[at + 1 : at + 17])
        if is_huffman and codes > 256:
            return False
        at += 17 + codes if is_huffman else 1 + 64 * (1 + kind)
    return at == end


# TIFF -------------------------------------------------------------------------------------------

_TIFF_TYPES = {3: ("H", 2), 4: ("I", 4)}
_IGNORED_TAGS = frozenset((282, 283, 296, 305, 306, 315))
"""Resolution of a print, names of program and author, date."""
_NUMBERS = frozenset(
    (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339)
)
_COMPRESSIONS = (1, 5, 8, 32773, 32946)  # none, LZW, Deflate, PackBits, Deflate


def _tiff_header(file: _Bytes, order: str) -> Header | None:
    (start,) = struct.unpack_from(f"{order}I", file.start, 4)
    (count,) = struct.unpack(f"{order}H", file.part(start, 2))
    table = file.part(start + 2, 12 * count + 4)
    if len(table) != 12 * count + 4 or table[-4:] != b"\0\0\0\0":
        return None
    tags: dict[int, tuple[int, ...]] = {}
    last = 0
    for tag, kind, number, value in struct.iter_unpack(f"{order}HHI4s", table[:-4]):
        if tag <= last:
            return None
        last = tag
        if tag in _IGNORED_TAGS:
            continue
        if tag not in _NUMBERS or not number:
            return None
        letter, length = _TIFF_TYPES[kind]
        if length * number > 4:
            at = int.from_bytes(value, "little" if order == "<" else "big")
            if at + length * number > file.size:
                return None
            value = file.part(at, length * number)
        tags[tag] = struct.unpack(f"{order}{number}{letter}", value[: length * number])
    return _tiff_facts(tags, file.size)


def _tiff_facts(tags: dict[int, tuple[int, ...]], size: int) -> Header | None:
    """Turn the tags of a TIFF into its header, if nothing in them is unusual."""
    (height,), (width,), bits = tags[257], tags[256], tags[258]
    (bands,) = tags.get(277, (1,))
    is_plain = (
        _is_size(height, width)
        and (bands, tags[262]) in ((1, (1,)), (3, (2,)))
        and bits in ((8,) * bands, (16,) * bands)
        and tags[259][0] in _COMPRESSIONS
        and tags.get(339, (1,) * bands) == (1,) * bands
        and all(tags.get(tag, (1,)) == (1,) for tag in (266, 274, 284))
        and len(tags[259]) == len(tags.get(278, (1,))) == 1
        and tags.get(254, (0,)) == (0,)
        and tags.get(317, (1,)) in ((1,), (2,))
    )
    if not is_plain:
        return None
    if 322 in tags:
        (across,), (down,) = tags[322], tags[323]
        if across % 16 or down % 16 or 273 in tags:
            return None
        offsets, lengths = tags[324], tags[325]
        expected = -(-width // across) * -(-height // down)
    else:
        offsets, lengths = tags[273], tags[279]
        expected = -(-height // min(height, tags.get(278, (height,))[0]))
    if len(offsets) != expected or len(lengths) != expected:
        return None
    if any(offset + length > size for offset, length in zip(offsets, lengths, strict=True)):
        return None
    return _sized(height, width, bands, f"uint{bits[0]}")
