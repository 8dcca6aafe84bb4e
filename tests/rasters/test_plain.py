"""Plain files give the same header and pixels as GDAL; all others are left to GDAL."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from network.errors import InputError
from network.rasters.header import read_header
from network.rasters.plain import plain_header, plain_png
from network.rasters.reader import read_raster
from tests.scenes import write_bands

SIZE = (37, 51)
RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, SIZE, dtype=np.uint8)
COLORS = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def by_pillow(image: np.ndarray, kind: str, mode: str | None = None, **options) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def by_opencv(image: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


LZW, DEFLATE = ((cv2.IMWRITE_TIFF_COMPRESSION, number) for number in (5, 8))
EXIF = Image.Exif()
EXIF[274] = 6

PLAIN = {
    "gray.png": by_opencv(GRAY, ".png"),
    "colors.png": by_opencv(COLORS, ".png"),
    "16.png": by_opencv(COLORS.astype(np.uint16) * 200, ".png"),
    "pillow.png": by_pillow(COLORS, "PNG", dpi=(72, 72)),
    "gray.jpg": by_opencv(GRAY, ".jpg"),
    "colors.jpg": by_opencv(COLORS, ".jpg"),
    "progressive.jpg": by_pillow(COLORS, "JPEG", progressive=True, optimize=True, quality=90),
    "lzw.tif": by_opencv(COLORS, ".tif", *LZW),
    "deflate.tif": by_opencv(GRAY, ".tif", *DEFLATE),
    "16.tif": by_opencv(GRAY.astype(np.uint16), ".tif", *LZW),
    "pillow.tif": by_pillow(COLORS, "TIFF", compression="tiff_lzw"),
}
OTHERS = {
    "1-bit.png": by_pillow(GRAY, "PNG", "1"),
    "table.png": by_pillow(COLORS, "PNG", "P"),
    "alpha.png": by_pillow(COLORS, "PNG", "RGBA"),
    "nodata.png": by_pillow(GRAY, "PNG", transparency=3),
    "turned.png": by_pillow(COLORS, "PNG", exif=EXIF),
    "turned.jpg": by_pillow(COLORS, "JPEG", exif=EXIF),
    "cmyk.jpg": by_pillow(COLORS, "JPEG", "CMYK"),
    "1-bit.tif": by_pillow(GRAY, "TIFF", "1"),
    "white-is-zero.tif": by_pillow(GRAY, "TIFF", "1", tiffinfo={262: 0}),
    "alpha.tif": by_pillow(COLORS, "TIFF", "RGBA"),
    "cmyk.tif": by_pillow(COLORS, "TIFF", "CMYK"),
    "table.tif": by_pillow(COLORS, "TIFF", "P"),
    "turned.tif": by_pillow(COLORS, "TIFF", tiffinfo={274: 6}),
    "several.tif": by_pillow(GRAY, "TIFF", save_all=True, append_images=[Image.new("L", (5, 5))]),
    "float.tif": by_pillow(GRAY.astype(np.float32), "TIFF"),
    "jpeg.tif": by_pillow(COLORS, "TIFF", compression="jpeg"),
}


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_header(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PLAIN.get(name) or OTHERS[name])
    assert plain_header(path) == (read_header(path) if name in PLAIN else None)


def test_header_of_gdals_files(tmp_path):
    path = tmp_path / "a.tif"
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    for options in ({}, tiles, {"compress": "lzw", "predictor": 2}, {"compress": "deflate"}):
        write_bands(path, COLORS, photometric="RGB", **options)
        assert plain_header(path) == read_header(path)
    some = rasterio.Affine(0.5, 0, 4000, 0, -0.5, 9000)
    for options in (
        {"nodata": 3},
        {"crs": "EPSG:25832", "transform": some},
        {"transform": some},
        {"bigtiff": "yes"},
        {"interleave": "band"},
    ):
        write_bands(path, COLORS, photometric="RGB", **options)
        assert plain_header(path) is None
    write_bands(path, COLORS[..., [0, 1]])
    assert plain_header(path) is None


@pytest.mark.parametrize("name", [n for n in PLAIN if n.endswith("png")])
def test_pixels(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PLAIN[name])
    expected = read_raster(path)
    for checked in (False, True):
        found = plain_png(path, checked=checked)
        if name == "16.png":
            assert found is None
            continue
        assert found is not None
        assert found[0] == expected.header
        np.testing.assert_array_equal(found[1], expected.values)
    assert expected.valid is None


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(list(PLAIN)),
    place=st.integers(0, 200) | st.integers(-250, -1),
    change=st.integers(1, 255) | st.none(),
)
def test_damage_is_left_to_gdal(damaged, name, place, change):
    """A file with another byte, or one that ends too early, has GDAL's header or none."""
    content = bytearray(PLAIN[name])
    if change is None:
        del content[place:]
    else:
        content[place] ^= change
    path = damaged / name
    path.write_bytes(content)
    found = plain_header(path)
    if found is not None:
        assert found == read_header(path)
    if name.endswith(".png") and (pixels := plain_png(path)) is not None:
        np.testing.assert_array_equal(pixels[1], read_raster(path).values)


def test_png_whose_pixels_end_too_early(tmp_path):
    """With checksums that are right."""
    path = tmp_path / "short.png"
    content = PLAIN["gray.png"]
    at = content.index(b"IDAT") - 4
    pixels = zlib.compress(zlib.decompress(content[at + 8 : -16])[:-1])
    chunk = b"IDAT" + pixels
    ends = struct.pack(">I", zlib.crc32(chunk)) + content[-12:]
    path.write_bytes(content[:at] + struct.pack(">I", len(pixels)) + chunk + ends)
    assert plain_png(path) is None
    with pytest.raises(InputError):
        read_raster(path)
