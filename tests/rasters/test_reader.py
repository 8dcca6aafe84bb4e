"""Pixels, what is valid among them, and how they are to be turned."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image, ImageOps
from rasterio.transform import from_origin

from network.errors import InputError
from network.rasters import reader
from network.rasters.header import read_header
from network.rasters.place import Place, distance, place_of, write_place
from network.rasters.reader import read_raster, turned
from network.rasters.source import Source
from tests.scenes import write_band_masks, write_bands

WHERE = {"crs": "EPSG:32632", "transform": from_origin(500000, 5400000, 0.1, 0.1)}


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, shape, dtype=np.uint8)


def test_no_data_by_value(tmp_path):
    """A pixel is invalid where all bands have the value: black in one band is a color."""
    image = pixels(20, 30, 3)
    image[:5], image[10, 10] = 0, (0, 90, 0)
    write_bands(tmp_path / "image.tif", image, nodata=0)
    raster = read_raster(tmp_path / "image.tif")
    expected = np.ones((20, 30), bool)
    expected[:5] = False
    np.testing.assert_array_equal(raster.valid, expected)
    np.testing.assert_array_equal(raster.values, image)
    assert raster.nodata == 0


def test_no_data_by_a_mask(tmp_path):
    image, valid = pixels(20, 30, 3), np.ones((20, 30), bool)
    valid[:, :7] = False
    size = {"height": 20, "width": 30, "count": 3, "dtype": "uint8"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "image.tif", "w", driver="GTiff", **size) as file,
    ):
        file.write(image.transpose(2, 0, 1))
        file.write_mask(valid)
    np.testing.assert_array_equal(read_raster(tmp_path / "image.tif").valid, valid)


def test_no_data_by_masks_of_bands(tmp_path):
    """A pixel is invalid where all of them say so; in measurements, one is enough."""
    hidden = np.zeros((3, 20, 30), bool)
    hidden[:, :5], hidden[1, 10:] = True, True
    for dtype, expected in (("uint8", hidden.all(axis=0)), ("float32", hidden.any(axis=0))):
        path = tmp_path / f"{dtype}.tif"
        write_bands(path, pixels(20, 30, 3).astype(dtype))
        write_band_masks(path, ~hidden)
        with rasterio.open(path) as file:
            assert file.mask_flag_enums == ([], [], [])
        np.testing.assert_array_equal(read_raster(path).valid, ~expected)
        with Source(path) as source:
            _, valid = source.read(slice(2, 20), slice(0, 30))
        np.testing.assert_array_equal(valid, ~expected[2:])


@pytest.mark.parametrize("alpha", [(0, 255, 255, 255), (0, 255, 0, 128)])
def test_no_data_by_transparent_colors(tmp_path, alpha):
    values = np.random.default_rng(0).integers(0, 4, (20, 30), dtype=np.uint8)
    image = Image.fromarray(values, "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=bytes(alpha))
    expected = np.array(alpha)[values] > 0
    raster = read_raster(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.values[..., 0], values)
    np.testing.assert_array_equal(raster.valid, expected)
    with Source(tmp_path / "a.png") as source:
        np.testing.assert_array_equal(source.read(slice(0, 20), slice(5, 30))[1], expected[:, 5:])
    rasterio.shutil.copy(tmp_path / "a.png", tmp_path / "a.vrt", driver="VRT")
    with Source(tmp_path / "a.vrt") as source:
        assert source.may_lack_data
        np.testing.assert_array_equal(source.read(slice(0, 20), slice(0, 30))[1], expected)
    text = re.sub("<ColorTable>.*</ColorTable>", "", (tmp_path / "a.vrt").read_text(), flags=re.S)
    (tmp_path / "b.vrt").write_text(re.sub("<NoDataValue>.*</NoDataValue>", "", text))
    with Source(tmp_path / "b.vrt") as source:  # a palette without colors
        assert not source.may_lack_data


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_no_data_by_alpha(tmp_path, suffix, mode):
    bands = len(mode)
    image = pixels(20, 30, bands)
    image[:4, :, -1] = 0
    Image.fromarray(image, mode).save(tmp_path / f"image{suffix}")
    raster = read_raster(tmp_path / f"image{suffix}", bands - 1)
    np.testing.assert_array_equal(raster.values, image[..., :-1])
    np.testing.assert_array_equal(raster.valid, image[..., -1] > 0)
    assert raster.header.has_alpha
    # Where as many bands are wanted, it is one of them: programs call near infrared so.
    raster = read_raster(tmp_path / f"image{suffix}", bands)
    np.testing.assert_array_equal(raster.values, image)
    assert raster.valid is None


def test_everything_valid_is_no_mask(tmp_path):
    write_bands(tmp_path / "image.tif", pixels(8, 8, 3), nodata=0)
    assert read_raster(tmp_path / "image.tif").valid is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation(tmp_path, suffix, orientation):
    """As Pillow turns it."""
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"image{suffix}"
    Image.fromarray(pixels(7, 11, 3)).save(path, exif=exif)
    raster = read_raster(path)
    assert raster.header.orientation == read_header(path).orientation == orientation
    if suffix != ".jpg":  # which has changed them
        np.testing.assert_array_equal(raster.values, pixels(7, 11, 3))
    plain = Image.fromarray(raster.values)
    plain.getexif()[274] = orientation
    shown = np.asarray(ImageOps.exif_transpose(plain))
    np.testing.assert_array_equal(turned(raster.values, orientation), shown)


def test_lossy(tmp_path):
    image = pixels(64, 64, 3)
    Image.fromarray(image).save(tmp_path / "a.jpg")
    write_bands(tmp_path / "b.tif", image, compress="jpeg")
    write_bands(tmp_path / "c.tif", image, compress="webp")
    write_bands(tmp_path / "d.tif", image, compress="webp", webp_lossless=True)
    write_bands(tmp_path / "e.tif", image, compress="lerc", max_z_error=3)
    write_bands(tmp_path / "f.tif", image, compress="lerc")
    write_bands(tmp_path / "g.tif", image, compress="lzw")
    found = {p.stem: read_header(p).is_lossy for p in sorted(tmp_path.iterdir())}
    assert found == {"a": True, "b": True, "c": True, "d": False, "e": True, "f": False, "g": False}


def test_distance():
    """By hand: 5 m east and 3 m north at 0.1 m a pixel."""
    crs = rasterio.CRS.from_epsg(32632)
    image = Place(crs, from_origin(500000, 5400000, 0.1, 0.1))
    moved = Place(crs, from_origin(500005, 5400003, 0.1, 0.1))
    assert distance(image, image, 96, 96) == 0
    assert distance(image, moved, 96, 96) == pytest.approx(np.hypot(50, 30))
    # Half the resolution: the far corner is off by the whole image.
    coarse = Place(crs, from_origin(500000, 5400000, 0.2, 0.2))
    assert distance(image, coarse, 100, 100) == pytest.approx(np.hypot(100, 100))
    unnamed = Place(None, image.transform)
    assert distance(image, unnamed, 96, 96) == 0
    elsewhere = Place(rasterio.CRS.from_epsg(4326), from_origin(9, 48.7, 1e-6, 1e-6))
    assert distance(image, elsewhere, 96, 96) > 1000


def test_the_same_place_in_another_reference_system():
    """Web Mercator of the same corners: a square of 10 m at the equator is nearly one there."""
    crs, mercator = rasterio.CRS.from_epsg(32631), rasterio.CRS.from_epsg(3857)
    x, y = rasterio.warp.transform(crs, mercator, [500000, 500010], [10, 0])
    image = Place(crs, from_origin(500000, 10, 0.1, 0.1))
    other = Place(mercator, from_origin(x[0], y[0], (x[1] - x[0]) / 100, (y[0] - y[1]) / 100))
    assert distance(image, other, 100, 100) < 0.01


@pytest.mark.parametrize("by", ["transform", "points", "nothing", "system"])
def test_a_place_is_carried_over(tmp_path, by):
    corners = [(0, 0, 9.0, 48.0), (0, 40, 9.1, 48.0), (30, 0, 9.0, 47.9), (30, 40, 9.1, 47.9)]
    points = [rasterio.control.GroundControlPoint(*numbers) for numbers in corners]
    options = {
        "transform": WHERE,
        "points": {"gcps": points, "crs": "EPSG:4326"},
        "nothing": {},
        "system": {"crs": "EPSG:4326"},
    }
    write_bands(tmp_path / "image.tif", pixels(30, 40, 3), **options[by])
    Image.fromarray(pixels(30, 40)).save(tmp_path / "mask.png")
    (tmp_path / "mask.png.aux.xml").write_text("old")
    write_place(read_header(tmp_path / "image.tif").place, tmp_path / "mask.png")
    found = {p.name for p in tmp_path.iterdir()}
    assert ("mask.png.aux.xml" in found) == (by != "nothing")
    with (
        rasterio.open(tmp_path / "image.tif") as image,
        rasterio.open(tmp_path / "mask.png") as mask,
    ):
        assert mask.crs == (image.crs or image.gcps[1])
        assert mask.transform == image.transform
        (expected, expected_crs), (carried, crs) = image.gcps, mask.gcps
        assert crs == expected_crs
        assert [(p.row, p.col, p.x, p.y) for p in carried] == [
            (p.row, p.col, p.x, p.y) for p in expected
        ]
        if by == "points":
            assert len(carried) == 4
            assert distance(place_of(image), place_of(mask), 30, 40) == 0


def read_often(path, times: int = 4) -> list[np.ndarray]:
    return [read_raster(path, 3).values for _ in range(times)]


@pytest.fixture
def opened(monkeypatch) -> list:
    """The files that GDAL opens."""
    paths: list = []
    plain = reader.opened

    def noted(path, driver):
        paths.append(path)
        return plain(path, driver)

    monkeypatch.setattr(reader, "opened", noted)
    return paths


def test_a_tiff_is_soon_read_by_opencv(tmp_path, opened):
    """With the same pixels; after a change GDAL checks it anew."""
    path = tmp_path / "a.tif"
    for seed in (1, 2):
        image = pixels(20, 30, 3, seed=seed)
        write_bands(path, image, photometric="RGB", compress="lzw")
        os.utime(path, ns=(seed, seed))
        opened.clear()
        for found in read_often(path):
            np.testing.assert_array_equal(found, image)
        assert len(opened) == 2
        assert read_raster(path, 3).header == read_header(path)


def test_what_opencv_reads_otherwise_stays_with_gdal(tmp_path, opened):
    """Colors of half resolution, which two versions of libjpeg enlarge in two ways."""
    image = pixels(32, 32, 3)
    path = tmp_path / "a.jpg"
    Image.fromarray(image).save(path, subsampling="4:2:0")
    first, *others = read_often(path)
    assert all((other == first).all() for other in others)
    for options in ({"nodata": 7}, {"photometric": "RGB", "dtype": "uint16"}):
        path = tmp_path / "b.tif"
        values = image.astype(options.pop("dtype", "uint8"))
        write_bands(path, values, **options)
        opened.clear()
        read_often(path)
        assert len(opened) == 4


def test_a_tiff_with_an_orientation_is_not_turned_by_opencv(tmp_path):
    path = tmp_path / "a.tif"
    image = pixels(20, 30, 3)
    Image.fromarray(image).save(path, tiffinfo={274: 6})
    for found in read_often(path):
        np.testing.assert_array_equal(found, image)


def test_a_file_that_disappears(tmp_path):
    path = tmp_path / "a.tif"
    write_bands(path, pixels(20, 30, 3), photometric="RGB")
    read_often(path)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tif: unreadable"):
        read_raster(path, 3)


@pytest.mark.parametrize(("sizes", "is_clear"), [((9, 9), False), ((4, 9), False), ((9, 4), True)])
def test_tiffs_of_several_pages(tmp_path, sizes, is_clear):
    """A smaller page after the first one is a preview."""
    pages = [Image.fromarray(np.full((side, side), side, np.uint8)) for side in sizes]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    if is_clear:
        assert (read_raster(tmp_path / "a.tif").values == 9).all()
        assert read_header(tmp_path / "a.tif").height == 9
        return
    for read in (read_raster, read_header, Source):
        with pytest.raises(InputError, match=r"a\.tif: has 2 pages, .*gdal_translate GTIFF_DIR:1"):
            read(tmp_path / "a.tif")


def test_the_log_of_opencv_is_as_before():
    """Also if a thread begins to read while another one reads: both silence the log."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    with reader._opencv_log.silenced():
        with ThreadPoolExecutor(1) as pool:
            enter = reader._opencv_log.silenced()
            pool.submit(enter.__enter__).result()
        assert logging.getLogLevel() == logging.LOG_LEVEL_SILENT
    assert logging.getLogLevel() == logging.LOG_LEVEL_SILENT  # the other one still reads
    enter.__exit__(None, None, None)
    assert logging.getLogLevel() == level != logging.LOG_LEVEL_SILENT


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_black_images_keep_their_type(tmp_path, dtype):
    """OpenCV reads them as 8 bits, and the zeros are equal."""
    path = tmp_path / "a.tif"
    write_bands(path, np.zeros((8, 9, 3), dtype), photometric="RGB")
    assert {found.dtype.name for found in read_often(path)} == {dtype}
