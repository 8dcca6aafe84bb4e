"""Rasters on the grid of another one, against slices of arrays and GDAL's own transform."""

import numpy as np
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.errors import InputError
from network.rasters.earth_grid import EarthGrid, name_of
from network.rasters.place import Place
from network.rasters.warped import WarpedSource
from tests.rasters.earth import ORIGIN, UTM, grid_of, write_labels
from tests.scenes import write_band_masks, write_bands

OUTSIDE = 99


def read(path, grid):
    """The labels on a grid, and OUTSIDE where there are none."""
    with WarpedSource(path, grid) as source:
        assert source.size == (grid.height, grid.width)
        values, valid = source.read(slice(0, grid.height), slice(0, grid.width))
    return values[..., 0] if valid is None else np.where(valid, values[..., 0], OUTSIDE)


def random_labels(height, width):
    return np.random.default_rng(0).integers(0, 5, (height, width), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    down=st.integers(-12, 12),
    across=st.integers(-12, 12),
    off=st.floats(-0.45, 0.45),
    nodata=st.sampled_from([None, 3, 255]),
)
def test_moved_grid(tmp_path_factory, down, across, off, nodata):
    """Each pixel takes the pixel of the raster that its center is in."""
    labels = random_labels(30, 40)
    path = tmp_path_factory.mktemp("a") / "a.tif"
    write_labels(path, labels, nodata=nodata)
    grid = grid_of(25, 35, ORIGIN @ Affine.translation(across + off, down - off))
    expected = np.full((90, 90), OUTSIDE)
    expected[20:50, 20:60] = np.where(labels == nodata, OUTSIDE, labels)
    window = expected[20 + down :, 20 + across :][:25, :35]
    np.testing.assert_array_equal(read(path, grid), window)


@pytest.mark.parametrize("nodata", [None, 0, 3, 99])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32"])
@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_comes_before_the_value_for_no_data(tmp_path, nodata, dtype, internal):
    labels, path = random_labels(30, 40), tmp_path / "a.tif"
    write_labels(path, labels.astype(dtype), nodata=nodata)
    hidden = np.zeros((30, 40), bool)
    hidden[:15] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
        file.write_mask(~hidden)
    expected = np.full((50, 60), OUTSIDE)
    expected[10:40, 10:50] = np.where(hidden, OUTSIDE, labels)
    found = read(path, grid_of(50, 60, ORIGIN @ Affine.translation(-10, -10)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int64", "uint64", "float64"])
@pytest.mark.parametrize("nodata", [None, 0, 3, 127])
def test_types_of_labels(tmp_path, dtype, nodata):
    """Neither a pixel without data nor one outside has a label."""
    labels, path = random_labels(30, 40), tmp_path / "a.tif"
    write_labels(path, labels.astype(dtype), nodata=nodata)
    expected = np.full((50, 60), OUTSIDE)
    expected[10:40, 10:50] = np.where(labels == nodata, OUTSIDE, labels)
    grid = grid_of(50, 60, ORIGIN @ Affine.translation(-10, -10))
    np.testing.assert_array_equal(read(path, grid), expected)


@pytest.mark.parametrize("kind", ["mask", "colors", "alpha", "upwards"])
def test_other_forms(tmp_path, kind):
    labels, path = random_labels(30, 40), tmp_path / "a.tif"
    valid = np.random.default_rng(1).random((30, 40)) < 0.7
    expected = np.where(valid, labels, OUTSIDE)
    place = {"crs": UTM, "transform": ORIGIN}
    if kind == "mask":
        write_bands(path, labels[..., None], **place)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(valid)
    elif kind == "colors":  # several of which are transparent
        path = path.with_suffix(".png")
        shown = Image.fromarray(np.where(valid, labels, 5 + labels % 2), "P")
        shown.putpalette(range(21))
        shown.save(path, transparency=bytes([255] * 5 + [0] * 2))
        with rasterio.open(path, "r+") as file:
            file.crs, file.transform = place["crs"], place["transform"]
    elif kind == "alpha":
        bands = np.dstack([labels, labels, labels, valid * np.uint8(255)])
        write_bands(path, bands, photometric="RGB", alpha="YES", **place)
    else:  # rows from south to north
        flipped = ORIGIN @ Affine.translation(0, 30) @ Affine.scale(1, -1)
        stored = np.where(valid, labels, np.uint8(255))[::-1]
        write_labels(path, stored, transform=flipped)
    np.testing.assert_array_equal(read(path, grid_of(30, 40)), expected)


def test_the_mask_of_a_band_is_not_forgotten(tmp_path):
    path = write_labels(tmp_path / "a.tif", random_labels(30, 40), nodata=None)
    write_band_masks(path, np.random.default_rng(1).random((1, 30, 40)) < 0.7)
    with pytest.raises(InputError, match=r"a.tif: has a mask of a single band.*gdal_translate"):
        WarpedSource(path, grid_of(30, 40))


def test_grid_upwards(tmp_path):
    path = write_labels(tmp_path / "a.tif", random_labels(30, 40))
    grid = grid_of(30, 40, ORIGIN @ Affine.translation(0, 30) @ Affine.scale(1, -1))
    np.testing.assert_array_equal(read(path, grid), random_labels(30, 40)[::-1])


def test_from_degrees(tmp_path):
    """Where the center of each pixel is, computed by itself."""
    labels = random_labels(200, 200)
    (west,), (north,) = rasterio.warp.transform(UTM, CRS.from_epsg(4326), [499_990], [5_400_010])
    transform = from_origin(west, north, 1e-5, 1e-5)
    path = write_labels(tmp_path / "a.tif", labels, crs=CRS.from_epsg(4326), transform=transform)
    grid = grid_of(60, 60, from_origin(500_000, 5_400_000, 1, 1))
    found = read(path, grid)
    columns, rows = np.meshgrid(np.arange(60) + 0.5, np.arange(60) + 0.5)
    x, y = grid.transform @ (columns.ravel(), rows.ravel())
    longitude, latitude = rasterio.warp.transform(UTM, CRS.from_epsg(4326), x, y)
    across, down = ~transform @ (np.array(longitude), np.array(latitude))
    is_clear = np.abs(np.stack([across, down]) % 1 - 0.5).max(0) < 0.35  # of an eighth, and more
    inside = (across > 0) & (across < 200) & (down > 0) & (down < 200)
    chosen = is_clear & inside
    assert chosen.sum() > 500
    expected = labels[down[chosen].astype(int), across[chosen].astype(int)]
    np.testing.assert_array_equal(found.ravel()[chosen], expected)


MARS = CRS.from_string("+proj=longlat +a=3396190 +b=3376200 +no_defs")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"transform": ORIGIN, "crs": MARS}, "no transform is known from .* to EPSG:32632"),
        ({"transform": ORIGIN}, "in which reference system"),
        ({}, "where on Earth it lies"),
        (
            {"transform": ORIGIN, "crs": CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')},
            "no transform is known from site to EPSG:32632",
        ),
    ],
)
def test_places_without_a_way_to_the_grid(tmp_path, place, words):
    write_bands(tmp_path / "a.tif", random_labels(30, 40)[..., None], **place)
    with pytest.raises(InputError, match=words):
        WarpedSource(tmp_path / "a.tif", grid_of(30, 40))


def test_windows_and_boxes(tmp_path):
    grid, path = grid_of(100, 200), tmp_path / "a"
    assert grid.bounds == (500_000, 5_399_950, 500_100, 5_400_000)
    inner = (500_010, 5_399_970, 500_020, 5_399_980)
    assert grid.window_of(inner, UTM, path) == (slice(40, 60), slice(20, 40))
    assert grid.window_of((500_010, 0, 500_020, 10), UTM, path) is None
    box = grid.bounds_in(CRS.from_epsg(4326), path)
    rows, columns = grid.window_of(box, CRS.from_epsg(4326), path)
    assert (rows, columns) == (slice(0, 100), slice(0, 200))
    part = grid.part(slice(40, 60), slice(20, 40))
    assert (part.bounds, part.height, part.width) == (inner, 20, 20)
    coarse = grid.part(slice(0, 100), slice(0, 200), side=50)
    assert (coarse.height, coarse.width, coarse.bounds) == (25, 50, grid.bounds)
    assert grid.resolution == pytest.approx(0.5)


def test_what_is_no_grid(tmp_path):
    for place, words in (
        (None, "where on Earth"),
        (Place(UTM, None), "control points"),
        (Place(None, ORIGIN), "reference system"),
        (Place(UTM, Affine.scale(0)), "without an area"),
    ):
        with pytest.raises(InputError, match=words):
            EarthGrid.of(tmp_path / "a.tif", place, 2, 2)


def test_names():
    assert name_of(UTM) == "EPSG:32632"
    assert name_of(CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')) == "site"
