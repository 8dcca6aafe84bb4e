"""Damage is found where the format tells it, and good files are read, whatever follows them."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from network.errors import InputError
from network.rasters.header import read_header
from network.rasters.reader import read_raster
from network.rasters.source import Source
from tests.scenes import write_bands


def picture(side: int = 96) -> np.ndarray:
    """Smooth with some noise: as photographs are compressed."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(side), np.arange(side))[..., None] * (1, 2, 3)
    return (ramp + rng.integers(0, 9, (side, side, 3))).astype(np.uint8)


def write(path: Path, image: np.ndarray, **options) -> None:
    if path.suffix == ".tif":
        write_bands(path, image, **options)
    else:
        Image.fromarray(image).save(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("image.png", {}),
        ("deflate.tif", {"compress": "deflate"}),
        ("tiles.tif", {"compress": "deflate", "predictor": 2, "tiled": True, "blockxsize": 32}),
    ],
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_has_checksums_is_never_read_damaged(tmp_path_factory, name, options, data):
    """Bytes changed or left out anywhere: the same pixels as before, or an error."""
    path = tmp_path_factory.mktemp("damage") / name
    image = picture()
    write(path, image, **options | ({"blockysize": 32} if "tiled" in options else {}))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.sampled_from([1, 8, 64]))
    if data.draw(st.booleans()):
        content[at : at + length] = bytes(len(content[at : at + length]))
    else:
        del content[at : at + length]
    path.write_bytes(content)
    try:
        raster = read_raster(path)
    except InputError:
        return
    # What stands in a header is not covered: a changed size, or other tags, are another image.
    if raster.values.shape == image.shape and raster.values.dtype == image.dtype:
        assert (raster.values == image).all() or at < 8 or path.suffix == ".tif"


@pytest.mark.parametrize("seed", range(40))
def test_lzw(tmp_path, seed):
    """As the patch tools write it: of 64 bytes zeroed, OpenCV notices nothing at all."""
    path = tmp_path / "patch.tif"
    cv2.imwrite(str(path), picture(128), (cv2.IMWRITE_TIFF_COMPRESSION, 5))
    good, content = read_raster(path).values, bytearray(path.read_bytes())
    at = int(np.random.default_rng(seed).integers(8, len(content) * 9 // 10))
    content[at : at + 64] = bytes(64)
    path.write_bytes(content)
    assert cv2.imread(str(path)) is not None
    with pytest.raises(InputError, match=r"patch\.tif: "):
        assert (read_raster(path).values == good).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("tail", [b"\0" * 100, b"\n", b"IEND" + b"x" * 5000])
def test_bytes_behind_the_end(tmp_path, suffix, tail):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(picture()).save(path)
    good = read_raster(path).values
    path.write_bytes(path.read_bytes() + tail)
    np.testing.assert_array_equal(read_raster(path).values, good)
    assert read_header(path).height == 96


def test_a_preview_is_not_the_end_of_a_photo(tmp_path):
    """The end mark of a preview in the EXIF block stands before the pixels."""
    path = tmp_path / "image.jpg"
    Image.fromarray(picture()).save(path)
    photo = path.read_bytes()
    directory = b"II*\0\x08\0\0\0" + bytes(6)  # without an entry
    preview = b"Exif\0\0" + directory + photo
    app1 = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    path.write_bytes(photo[:2] + app1 + photo[2:])
    assert read_header(path).width == 96
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="truncated image"):
        read_header(path)


def test_damaged_exif(tmp_path):
    """No traceback of GDAL's."""
    path = tmp_path / "image.jpg"
    Image.fromarray(picture()).save(path)
    photo, exif = path.read_bytes(), b"Exif\0\0 no directory"
    path.write_bytes(photo[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + photo[2:])
    for read in (read_header, read_raster):
        with pytest.raises(InputError, match=r"image\.jpg: "):
            read(path)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(side: int, rows: bytes, bands: int = 3, interlaced: bool = False) -> bytes:
    """A PNG of 8 bits, whatever its header claims."""
    color = {1: 0, 3: 2}[bands]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, color, 0, 0, interlaced))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")


def read_window(path: Path) -> np.ndarray:
    with Source(path) as source:
        height, width = source.size
        return source.read(slice(0, min(height, 64)), slice(0, min(width, 64)))[0]


@pytest.mark.parametrize("read", [read_raster, read_window])
def test_a_png_whose_pixels_end_too_early(tmp_path, read):
    """GDAL makes up the missing rows without an error when it reads a window."""
    path, rows = tmp_path / "image.png", bytes(64 * (1 + 3 * 64))
    path.write_bytes(make_png(64, rows))
    read(path)
    for kept in (0, 1000, len(rows) - 1):
        path = tmp_path / f"kept_{kept}.png"
        path.write_bytes(make_png(64, rows[:kept]))
        with pytest.raises(InputError, match=rf"kept_{kept}\.png: truncated image"):
            read(path)


PASSES = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2))


@pytest.mark.parametrize("side", [1, 3, 5, 8, 21])
def test_interlaced_pngs(tmp_path, side):
    """Their seven passes are read, and nothing less than all of them."""
    image = np.random.default_rng(side).integers(0, 256, (side, side), np.uint8)
    passes = [image[top::down, left::across] for top, down, left, across in PASSES]
    passes.append(image[1::2])
    rows = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    path, short = tmp_path / "image.png", tmp_path / "short.png"
    path.write_bytes(make_png(side, rows, bands=1, interlaced=True))
    np.testing.assert_array_equal(read_raster(path).values[..., 0], image)
    short.write_bytes(make_png(side, rows[:-1], bands=1, interlaced=True))
    with pytest.raises(InputError, match="truncated image"):
        read_raster(short)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "LA", "RGB", "RGBA"])
def test_pngs_of_every_color_are_whole(tmp_path, mode):
    """Also where a row ends in the middle of a byte."""
    image = Image.new("I;16" if mode == "I;16" else "L", (13, 7))
    image = image if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "image.png", bits=4) if mode == "P" else image.save(
        tmp_path / "image.png"
    )
    assert read_raster(tmp_path / "image.png").values.shape[:2] == (7, 13)


@pytest.mark.parametrize("side", [30_000, 100_000, 2**31 - 1])
def test_a_png_that_claims_more_than_it_has(tmp_path, side):
    path = tmp_path / "image.png"
    path.write_bytes(make_png(side, bytes(1000)))
    for read in (read_header, read_raster):
        with pytest.raises(InputError, match=r"more than its .* bytes can hold"):
            read(path)


@pytest.mark.parametrize("side", [30_000, 65_500])
def test_a_jpeg_that_claims_more_than_it_has(tmp_path, side):
    path = tmp_path / "image.jpg"
    Image.fromarray(picture()).save(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", side, side)
    path.write_bytes(content)
    for read in (read_header, read_raster, read_window):
        with pytest.raises(InputError, match=r"image\.jpg: claims .* bytes can hold"):
            read(path)


def with_tag(path: Path, tag: int, value: int) -> None:
    """Change a number in the first directory of a TIFF."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, entry)[0] == tag:
            struct.pack_into("<HII", content, entry + 2, 4, 1, value)
    path.write_bytes(content)


@pytest.mark.parametrize("options", [{}, {"compress": "lzw"}, {"compress": "deflate"}])
@pytest.mark.parametrize("tag", [256, 257])
@pytest.mark.parametrize("value", [0, 30_000, 2**31 - 1])
def test_a_tiff_that_claims_something_else(tmp_path, options, tag, value):
    path = tmp_path / "image.tif"
    write_bands(path, picture(), **options)
    with_tag(path, tag, value)
    with pytest.raises(InputError, match=r"image\.tif: "):
        read_raster(path)


@pytest.mark.parametrize("tag", [322, 323, 278])  # width and height of tiles, rows of strips
def test_a_tiff_in_parts_without_any_pixel(tmp_path, tag):
    path = tmp_path / "image.tif"
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    write_bands(path, picture(), compress="deflate", **({} if tag == 278 else tiles))
    with_tag(path, tag, 0)
    with pytest.raises(InputError, match=r"image\.tif: its header is damaged"):
        read_raster(path)


def test_more_pixels_than_memory(tmp_path):
    path = tmp_path / "image.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=10**6, width=10**6, count=3, dtype="uint8",
        tiled=True, blockxsize=4096, blockysize=4096, SPARSE_OK="YES", BIGTIFF="YES",
    ):  # fmt: skip
        pass
    assert read_header(path).height == 10**6  # images of any size can be read in windows
    with pytest.raises(InputError, match="1000000 x 1000000 pixels take 3000 GB of memory"):
        read_raster(path)


@pytest.mark.parametrize("compress", ["zstd", "lzma", "lzw", "deflate", "packbits", None])
def test_every_lossless_compression(tmp_path, compress, capfd):
    path = tmp_path / "image.tif"
    write_bands(path, picture(), compress=compress)
    np.testing.assert_array_equal(read_raster(path).values, picture())
    assert capfd.readouterr().err == ""


def test_a_format_by_its_bytes_not_by_its_name(tmp_path):
    """A file that tells GDAL to read others is no image, whatever it is called."""
    write_bands(tmp_path / "secret.tif", picture())
    (tmp_path / "image.png").write_text(
        '<VRTDataset rasterXSize="96" rasterYSize="96"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{tmp_path}/secret.tif</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InputError, match="not an image"):
        read_raster(tmp_path / "image.png")
    (tmp_path / "secret.tif").rename(tmp_path / "really_a_tiff.png")
    np.testing.assert_array_equal(read_raster(tmp_path / "really_a_tiff.png").values, picture())
