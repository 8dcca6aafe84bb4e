"""Checks that a PNG, JPEG or TIFF file is complete and undamaged.

If bytes are missing or changed, decoders read on and make up the pixels. So there are two checks.
Every file gets the check of the structure before work begins. It reads very little of a PNG or TIFF
file, and all of a JPEG. The check of all bytes needs checksums in the file, which only PNG and TIFF
with deflate have. For other compressions, only the decoder can notice damage.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from network.errors import InputError

REMEDY = "copy or extract it again"
DRIVERS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG"}
"""GDAL's names of the formats, by the first bytes of a file."""
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_AT_ONCE = 2**22
"""Number of bytes that are read at once."""

DEFLATE_LIMIT = 1032
"""The largest possible ratio of compression by deflate."""

# TIFF tags.
WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION, BANDS, ROWS, PLANAR = (
    *(256, 257, 258, 259),
    *(274, 277, 278, 284),
)
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_STRIPS_AND_TILES = ((273, 279), (324, 325))  # offsets and lengths in bytes
_DEFLATE = (8, 32946)
_USED_TAGS = {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION, BANDS, ROWS, PLANAR),
    *(_TILE_WIDTH, _TILE_HEIGHT, *chain(*_STRIPS_AND_TILES)),
}
_MOST_VALUES = 2**22
"""Largest number of strips or tiles. Files of many gigabytes have fewer; a hostile file that claims
more would fill the memory."""
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # of whole numbers, for struct


def find_driver(path: Path) -> str:
    """Find GDAL's name of a file's format by its first bytes, not by the file name.

    Raises:
        InputError: the file is no PNG, JPEG or TIFF, or cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(path, f"unreadable image ({error.strerror})", f"{REMEDY}") from error
    if start in TIFF_STARTS:
        return "GTiff"
    for begin, driver in DRIVERS.items():
        if start.startswith(begin):
            return driver
    raise InputError(path, "not an image, or its header is damaged", f"{REMEDY}")


def check_structure(path: Path, driver: str) -> None:
    """Raise an :class:`InputError` if a file ends too early or claims more than it can hold."""
    with _damage_named(path):
        if driver == "PNG":
            _check_png(path)
        elif driver == "JPEG":
            _check_jpeg(path)
        else:
            _check_tiff(path)


def check_bytes(path: Path, driver: str) -> None:
    """Raise an :class:`InputError` if a checksum in a file says that its pixels are damaged."""
    with _damage_named(path):
        if driver == "PNG":
            _check_png_bytes(path)
        elif driver == "GTiff":
            _check_deflated_bytes(path)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn errors that come from senseless numbers in a file into an :class:`InputError`."""
    try:
        yield
    except (struct.error, LookupError, ValueError, ArithmeticError, MemoryError) as error:
        raise InputError(path, "its header is damaged", f"{REMEDY}") from error
    except OSError as error:
        raise InputError(path, f"unreadable image ({error.strerror})", f"{REMEDY}") from error


def _damaged(path: Path) -> InputError:
    return InputError(path, "damaged pixels (a checksum in the file is wrong)", f"{REMEDY}")


# PNG --------------------------------------------------------------------------------------------


PNG_BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Bands of a PNG by the kind of its color."""


def png_chunks(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, offset and length in bytes of each chunk's data.

    Bytes after the last chunk are not checked.

    Raises:
        InputError: the file ends before the last chunk does.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 8
        while True:
            file.seek(at)
            head = file.read(8)
            length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (size, b"")
            at += 8
            if at + length + 4 > size:
                raise InputError(path, "truncated image", f"{REMEDY}")
            yield kind, at, length
            if kind == b"IEND":
                return
            at += length + 4


def _check_png(path: Path) -> None:
    size = path.stat().st_size
    for kind, at, _ in png_chunks(path):
        if kind == b"IHDR":
            width, height, bits, color = struct.unpack(">IIBB", read_part(path, at, 10))
            if height * (width * bits * PNG_BANDS[color] // 8) > DEFLATE_LIMIT * size:
                raise InputError(
                    path,
                    f"claims {height} x {width} pixels, more than its {size} bytes can hold",
                    f"{REMEDY}",
                )


def read_part(path: Path, at: int, length: int) -> bytes:
    """Read ``length`` bytes of a file from the offset ``at`` on."""
    with path.open("rb") as file:
        file.seek(at)
        return file.read(length)


def _check_png_bytes(path: Path) -> None:
    """Check the checksum of each chunk, and that the pixels are as many as the header claims."""
    pixels, expected = zlib.decompressobj(), 0
    inflated = 0
    with path.open("rb") as file:
        for kind, at, length in png_chunks(path):
            # Readers may skip chunks whose names begin with a small letter.
            if kind[0] & 0x20 and kind != b"tRNS":
                continue
            if kind == b"IHDR":
                expected = _png_bytes(*struct.unpack(">IIBBxxB", read_part(path, at, 13)))
            file.seek(at)
            found, rest = zlib.crc32(kind), length
            # A chunk may be as large as the file.
            while rest and (data := file.read(min(rest, _AT_ONCE))):
                found, rest = zlib.crc32(data, found), rest - len(data)
                # A hostile file may inflate without end; readers stop after the last row.
                while kind == b"IDAT" and data and not pixels.eof and inflated <= expected:
                    try:
                        inflated += len(pixels.decompress(data, _AT_ONCE))
                    except zlib.error:
                        raise _damaged(path) from None
                    data = pixels.unconsumed_tail
            if file.read(4) != found.to_bytes(4):
                raise _damaged(path)
    if inflated < expected:
        raise InputError(path, "truncated image", f"{REMEDY}")


_ADAM7 = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)
"""First row and column of each pass of an interlaced PNG, and the steps to the next ones."""


def _png_bytes(width: int, height: int, bits: int, color: int, interlaced: int) -> int:
    """Count the bytes of the filtered rows of a PNG, each of which begins with its filter."""
    total = 0
    for top, left, down, across in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-(height - top) // down), -(-(width - left) // across)
        if rows > 0 and columns > 0:
            total += rows * (1 + -(-columns * bits * PNG_BANDS[color] // 8))
    return total


# JPEG -------------------------------------------------------------------------------------------


_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)


def _check_jpeg(path: Path) -> None:
    """Check that the end mark comes after the start of the pixels; other bytes may follow it.

    In files with Huffman codes, each block of 8 x 8 pixels takes a bit at least.
    """
    data = path.read_bytes()
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # may be repeated
            at += 1
            continue
        if marker == 0xDA:  # the pixels begin; the end mark of a preview comes before this
            if data.find(b"\xff\xd9", at) < 0:
                raise InputError(path, "truncated image", f"{REMEDY}")
            return
        if marker in _HUFFMAN_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            if -(-height // 8) * -(-width // 8) > 8 * len(data):
                raise InputError(
                    path,
                    f"claims {height} x {width} pixels, more than its {len(data)} bytes can hold",
                    f"{REMEDY}",
                )
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    raise InputError(path, "not an image, or its header is damaged", f"{REMEDY}")


# TIFF -------------------------------------------------------------------------------------------


def _check_tiff(path: Path) -> None:
    """Check that all strips or tiles of the first image are listed and lie inside the file."""
    tags = read_tiff_tags(path)
    if not {WIDTH, HEIGHT} <= tags.keys():
        raise InputError(path, "not an image, or its header is damaged", f"{REMEDY}")
    size, segments = path.stat().st_size, list(_segments(tags))
    if max((offset + length for offset, length in segments), default=0) > size:
        raise InputError(path, "truncated image", f"{REMEDY}")
    height, width = tags[HEIGHT][0], tags[WIDTH][0]
    if not height or not width:
        raise InputError(path, f"an image of {height} x {width} pixels", f"{REMEDY}")
    if len(segments) < _expected_segments(tags):
        raise InputError(
            path, f"claims {height} x {width} pixels, but lists too few of them", f"{REMEDY}"
        )


def _segments(tags: dict[int, tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    """Yield offset and length in bytes of each strip or tile; both are 0 if it has no data."""
    for offsets, lengths in _STRIPS_AND_TILES:
        if offsets in tags and lengths in tags:
            yield from zip(tags[offsets], tags[lengths], strict=False)


def _expected_segments(tags: dict[int, tuple[int, ...]]) -> int:
    height, width = tags[HEIGHT][0], tags[WIDTH][0]
    planes = tags.get(BANDS, (1,))[0] if tags.get(PLANAR, (1,))[0] == 2 else 1
    if _TILE_WIDTH in tags and _TILE_HEIGHT in tags:
        across, down = -(-width // tags[_TILE_WIDTH][0]), -(-height // tags[_TILE_HEIGHT][0])
        return planes * across * down
    rows = min(height, tags.get(ROWS, (height,))[0])
    return planes * -(-height // rows)


def _check_deflated_bytes(path: Path) -> None:
    """Check the checksums at the end of deflated strips and tiles, which libtiff ignores."""
    tags = read_tiff_tags(path)
    if tags.get(COMPRESSION, (1,))[0] not in _DEFLATE:
        return
    with path.open("rb") as file:
        for offset, length in _segments(tags):
            if not length:
                continue
            file.seek(offset)
            stream, rest = zlib.decompressobj(), file.read(length)
            try:
                while rest and not stream.eof:
                    stream.decompress(rest, 2**22)  # a hostile file may inflate without end
                    rest = stream.unconsumed_tail
            except zlib.error:
                raise _damaged(path) from None


def read_tiff_tags(path: Path) -> dict[int, tuple[int, ...]]:
    """Read the integer tags of the first directory that this module names, by tag number.

    Raises:
        InputError: the file ends before the tags do.
    """
    size = path.stat().st_size
    with path.open("rb") as file:

        def read(format_: str, at: int) -> tuple[int, ...]:
            count = struct.calcsize(order + format_)
            if at + count > size:
                raise InputError(path, "truncated image", f"{REMEDY}")
            file.seek(at)
            return struct.unpack(order + format_, file.read(count))

        order = "<" if file.read(2) == b"II" else ">"
        is_big = read("H", 2)[0] == 43
        offset = "Q" if is_big else "I"
        (start,) = read(offset, 8 if is_big else 4)
        (count,) = read("Q" if is_big else "H", start)
        start += 8 if is_big else 2
        step, inline = (20, 8) if is_big else (12, 4)
        read(f"{step}s", start + max(0, count - 1) * step)  # fails early if the last is missing
        tags = {}
        for number in range(count):
            at = start + number * step
            tag, kind, length = read(f"HH{offset}", at)
            if tag not in _USED_TAGS or tag in tags or kind not in _TIFF_TYPES or not length:
                continue
            if length > _MOST_VALUES:
                raise InputError(path, "not an image, or its header is damaged", f"{REMEDY}")
            values = f"{length}{_TIFF_TYPES[kind]}"
            place = at + step - inline
            if struct.calcsize(order + values) > inline:
                (place,) = read(offset, place)
            tags[tag] = read(values, place)
    return tags
