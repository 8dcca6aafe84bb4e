"""Rasters to look at: decoded, turned, on another grid; and the errors of those that do not fit."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image, ImageOps
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin
from rasterio.warp import transform

from network.datasets.files import write_image
from network.errors import InputError
from network.rasters.display import choose_bands, display_of
from network.rasters.view import on_grid, view_of
from tests.scenes import write_bands

PLACE = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.5, 0.5)}


def pixels(height: int = 60, width: int = 80, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (height, width, bands), dtype=np.uint8)


def read(view) -> tuple[np.ndarray, np.ndarray]:
    bands = list(range(1, view.bands + 1))
    with view.open() as file:
        return file.read(bands).transpose(1, 2, 0), file.dataset_mask() > 0


def moved(columns: float, rows: float) -> dict:
    return PLACE | {"transform": PLACE["transform"] @ Affine.translation(columns, rows)}


def test_a_png_is_decoded_once(tmp_path):
    image = pixels()
    write_image(tmp_path / "a.png", image)
    view = view_of(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    np.testing.assert_array_equal(read(view)[0], image)
    assert (view.height, view.width, view.bands, view.dtype) == (60, 80, 3, "uint8")


def test_a_tiff_is_read_as_it_lies(tmp_path):
    write_bands(tmp_path / "a.tif", pixels(), **PLACE)
    view = view_of(tmp_path / "a.tif")
    assert view.memory is None
    (tmp_path / "a.tif").unlink()
    with pytest.raises(InputError, match=r"a\.tif: unreadable image"):
        view.open()


def test_transparent_pixels_have_no_data(tmp_path):
    image = np.dstack([pixels(), np.full((60, 80), 255, np.uint8)])
    image[:10, :, 3] = 0
    write_image(tmp_path / "a.png", image)
    view = view_of(tmp_path / "a.png")
    values, valid = read(view)
    assert view.bands == 3
    assert not valid[:10].any()
    np.testing.assert_array_equal(values[10:], image[10:, :, :3])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo(tmp_path, orientation):
    """Pillow turns it by EXIF in its own way."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as photo:
        expected = np.array(ImageOps.exif_transpose(photo))
    view = view_of(tmp_path / "a.png", turn=True)
    np.testing.assert_array_equal(read(view)[0], expected)


def test_colors_of_a_table(tmp_path):
    indices = np.random.default_rng(0).integers(0, 3, (20, 30), dtype=np.uint8)
    photo = Image.fromarray(indices)
    photo.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    photo.save(tmp_path / "a.png")
    view = view_of(tmp_path / "a.png")
    with view.open() as file:
        display = display_of(view, choose_bands(view), file)
        shown = display.to_rgb(file.read([1]).transpose(1, 2, 0))
    colors = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
    np.testing.assert_array_equal(shown, colors[indices])


def test_complex_values(tmp_path):
    write_bands(tmp_path / "a.tif", np.ones((4, 5, 1), np.complex64))
    with pytest.raises(InputError, match="has complex values"):
        view_of(tmp_path / "a.tif")


def test_damaged_pixels(tmp_path):
    write_bands(tmp_path / "a.tif", pixels(200, 300), compress="deflate")
    view = view_of(tmp_path / "a.tif")
    with (tmp_path / "a.tif").open("r+b") as file:
        file.seek(60_000)
        file.write(bytes(50_000))
    with pytest.raises(InputError, match=r"a\.tif: unreadable image"), view.opened() as opened:
        opened.read()


# Grids ------------------------------------------------------------------------------------------


@pytest.fixture
def grid(tmp_path):
    write_bands(tmp_path / "map.tif", pixels(bands=1), **PLACE)
    return view_of(tmp_path / "map.tif")


@pytest.mark.parametrize("place", [PLACE, {}, moved(0.3, 0.3)], ids=["same", "none", "near"])
def test_the_same_grid(tmp_path, grid, place):
    """Rasters of one size lie on each other if both say so, or if one does not say."""
    write_bands(tmp_path / "a.tif", pixels(), **place)
    view = view_of(tmp_path / "a.tif")
    assert on_grid(view, grid) is view


@pytest.mark.parametrize("kind", ["all", "nodata", "mask", "alpha"])
def test_a_moved_image(tmp_path, grid, kind):
    """By whole pixels, so its values stay as they are; around it there are no data."""
    image, options = pixels(), {}
    hole = np.zeros((60, 80), bool)
    if kind != "all":
        hole[30:40, 30:50] = True
    if kind == "nodata":
        image[hole], options = 0, {"nodata": 0}
    if kind == "alpha":
        image = np.dstack([image, np.where(hole, 0, 255).astype(np.uint8)])
        options = {"alpha": "YES", "photometric": "RGB"}
    path = tmp_path / "a.tif"
    write_bands(path, image, **options, **moved(10, -5))
    if kind == "mask":
        with rasterio.open(path, "r+") as file:
            file.write_mask(~hole)
    view = on_grid(view_of(path), grid)
    values, valid = read(view)
    assert (view.height, view.width, view.bands) == (60, 80, 3)
    expected = np.zeros((60, 80), bool)
    expected[:55, 10:] = ~hole[5:, :70]
    np.testing.assert_array_equal(valid, expected)
    lying = np.zeros((60, 80, 3), np.uint8)
    lying[:55, 10:] = image[5:, :70, :3]
    np.testing.assert_array_equal(values[expected], lying[expected])


def test_an_image_in_another_reference_system(tmp_path, grid):
    """A ramp of longitudes, whose values at the map's pixels are known."""
    (west, east), (north, south) = transform(
        PLACE["crs"], "EPSG:4326", [500_000, 500_040], [5_400_000, 5_399_970]
    )
    step = (east - west) / 200
    columns = np.arange(240)
    ramp = np.tile(100 * columns, (240, 1)).astype(np.uint16)[..., None]
    place = from_origin(west - 20 * step, north + 20 * step, step, (north - south) / 180)
    write_bands(tmp_path / "a.tif", ramp, crs="EPSG:4326", transform=place)
    view = on_grid(view_of(tmp_path / "a.tif"), grid)
    values, valid = read(view)
    x = 500_000 + 0.5 * (np.arange(80) + 0.5)
    longitudes, _ = transform(PLACE["crs"], "EPSG:4326", x, np.full(80, 5_399_985))
    expected = 100 * ((np.array(longitudes) - place.c) / step - 0.5)
    assert valid.all()
    np.testing.assert_allclose(values[30, :, 0], expected, atol=15)  # 0.15 pixels


def test_colors_of_a_table_are_not_mixed(tmp_path, grid):
    indices = np.random.default_rng(0).choice([0, 9], (60, 80, 1)).astype(np.uint8)
    write_bands(tmp_path / "a.tif", indices, photometric="palette", **moved(0.6, 0.6))
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write_colormap(1, {0: (1, 2, 3), 9: (7, 8, 9)})
    values, valid = read(on_grid(view_of(tmp_path / "a.tif"), grid))
    assert set(np.unique(values[valid])) == {0, 9}


@pytest.mark.parametrize(
    ("size", "place", "line"),
    [
        ((60, 81), {}, "has 60 x 81 pixels, its map 60 x 80, and a.tif does not say where it lies"),
        ((60, 80), moved(200, 0), r"does not overlap the map .*map\.tif"),
        (
            (60, 80),
            {
                "crs": "EPSG:32632",
                "gcps": [
                    GroundControlPoint(row, column, 500_000 + column, 5_400_000 - row)
                    for row in (0, 60)
                    for column in (0, 80)
                ],
            },
            "has other control points than its map",
        ),
    ],
)
def test_an_image_that_does_not_fit(tmp_path, grid, size, place, line):
    write_bands(tmp_path / "a.tif", pixels(*size), **place)
    with pytest.raises(InputError, match=line):
        on_grid(view_of(tmp_path / "a.tif"), grid)


# Colors -----------------------------------------------------------------------------------------


def test_sixteen_bits_are_stretched(tmp_path):
    image = np.random.default_rng(0).integers(500, 4000, (200, 200, 5), dtype=np.uint16)
    image[:50] = 0  # no data, so they do not count
    write_bands(tmp_path / "a.tif", image, nodata=0)
    view = view_of(tmp_path / "a.tif")
    with view.open() as file:
        display = display_of(view, choose_bands(view, [5, 1, 3]), file)
    low, high = np.percentile(image[50:][..., [4, 0, 2]].reshape(-1, 3), (2, 98), axis=0)
    np.testing.assert_allclose(display.low, low)
    shown = display.to_rgb(image[..., [4, 0, 2]])
    expected = 255 * (image[..., [4, 0, 2]] - low) / (high - low)
    np.testing.assert_allclose(shown, np.clip(expected, 0, 255), atol=1)


def test_floats_without_a_number(tmp_path):
    image = np.full((10, 10, 1), np.nan, np.float32)
    write_bands(tmp_path / "a.tif", image)
    view = view_of(tmp_path / "a.tif")
    with view.open() as file:
        display = display_of(view, choose_bands(view), file)
    assert (display.to_rgb(image) == 0).all()


@pytest.mark.parametrize(
    ("bands", "line"),
    [([1, 2], "one band, or three"), ([1, 2, 4], "has no band 4, only 1 to 3"), ([0], "no band 0")],
)
def test_bands_that_are_not_there(tmp_path, bands, line):
    write_bands(tmp_path / "a.tif", pixels())
    with pytest.raises(InputError, match=line):
        choose_bands(view_of(tmp_path / "a.tif"), bands)
