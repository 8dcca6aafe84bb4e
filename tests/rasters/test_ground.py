"""Measures on the ground: equal to those of pyproj, also where pixels are turned or not square."""

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS as ProjCRS
from pyproj import Geod
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.errors import InputError
from network.rasters.ground import Ground
from network.rasters.place import Place
from network.rasters.source import UnreadableImage

NORTH = from_origin(11.5, 48.2, 0.001, 0.0005)
TURNED = Affine.translation(11.5, 48.2) @ Affine.rotation(30) @ Affine.scale(0.001, -0.0005)


def ground(crs: str, transform: Affine, size: tuple[int, int] = (40, 60)) -> Ground:
    return Ground("a.tif", Place(CRS.from_user_input(crs), transform), *size)


def pixels(transform: Affine, rows: slice, columns: slice) -> np.ndarray:
    """Polygons of pixels, in coordinates."""
    found = [
        [transform @ (c + right, r + down) for right, down in ((0, 0), (0, 1), (1, 1), (1, 0))]
        for r in range(rows.start, rows.stop)
        for c in range(columns.start, columns.stop)
    ]
    return shapely.polygons(np.array(found))


@pytest.mark.parametrize("transform", [NORTH, TURNED])
@pytest.mark.parametrize(("crs", "degrees"), [("EPSG:4326", 1.0), ("EPSG:4807", 0.9)])
def test_areas_on_an_ellipsoid(crs, degrees, transform):
    """Of all pixels of a window, and of them as polygons; EPSG:4807 counts 100 grads, not 90."""
    found = ground(crs, transform)
    rows, columns = slice(3, 6), slice(50, 54)
    squares = pixels(transform, rows, columns)
    geod = ProjCRS(crs).get_geod()
    areas = [
        abs(geod.geometry_area_perimeter(square)[0])
        for square in shapely.transform(squares, lambda xy: xy * degrees)
    ]
    np.testing.assert_allclose(found.areas(squares), areas, rtol=1e-7)
    np.testing.assert_allclose(found.pixel_areas(rows, columns).ravel(), areas, rtol=1e-6)
    assert found.pixel_side(rows, columns) == pytest.approx(math.sqrt(np.mean(areas)), rel=1e-4)


def test_the_shape_of_pixels():
    """At 60 degrees north, a degree of longitude is half as long as one of latitude."""
    assert ground("EPSG:4326", from_origin(9, 60.01, 0.002, 0.001)).pixel_shape == pytest.approx(
        1, rel=0.002
    )
    assert ground("EPSG:32632", from_origin(5e5, 5e6, 0.2, 0.2)).pixel_shape == 1
    turned = Affine.rotation(20) @ Affine.scale(2, -3)
    assert ground("EPSG:32632", turned).pixel_shape == pytest.approx(1.5)
    geod = Geod(ellps="WGS84")
    x, y = TURNED @ (30, 20)
    across, down = (geod.inv(x, y, *(TURNED @ to))[2] for to in ((31, 20), (30, 21)))
    assert ground("EPSG:4326", TURNED).pixel_shape == pytest.approx(down / across, rel=0.005)


@pytest.mark.parametrize(
    ("crs", "meters"),
    [
        ("EPSG:32632", 1.0),
        ("EPSG:2263", 1200 / 3937),  # US survey feet
        ("EPSG:32632+5773", 1.0),  # with heights
    ],
)
def test_areas_in_a_plane(crs, meters):
    transform = from_origin(980_000, 200_000, 2, 3)
    found = ground(crs, transform)
    rows, columns = slice(3, 5), slice(10, 13)
    expected = np.full(6, 6 * meters**2)
    np.testing.assert_allclose(found.areas(pixels(transform, rows, columns)), expected)
    np.testing.assert_allclose(found.pixel_areas(rows, columns).ravel(), expected)
    assert found.pixel_side(rows, columns) == pytest.approx(math.sqrt(6) * meters)


def test_pixels_beyond_a_pole():
    """A global grid of points, the first of which lies on the pole."""
    found = ground("EPSG:4326", from_origin(-180.5, 90.5, 1, 1), (181, 361))
    areas = found.pixel_areas(slice(0, 181), slice(0, 360))
    assert (areas >= 0).all()
    assert areas.sum() == pytest.approx(510_065_621_724_088, rel=1e-12)  # of the whole Earth
    cap = shapely.box(-180.5, 89.5, -179.5, 90.5)
    assert 0 < found.areas(np.array([cap]))[0] < 1e8


@pytest.mark.parametrize("upwards", [False, True])
@pytest.mark.parametrize("top", [70.0, 0.3, -33.0])
def test_areas_between_parallels(top, upwards):
    """Large pixels: their sides follow parallels, which are no geodesics, so in small steps."""
    step = 0.4
    transform = from_origin(10, top, step, step)
    if upwards:
        transform = Affine(step, 0, 10, 0, step, top - 3 * step)
    t = np.linspace(0, 1, 1001)
    for row, area in enumerate(ground("EPSG:4326", transform, (3, 4)).row_areas()):
        high = top - step * (2 - row if upwards else row)
        longitude = 10 + step * np.concatenate([t, 1 + 0 * t, 1 - t, 0 * t])
        latitude = high - step * np.concatenate([0 * t, t, 1 + 0 * t, 1 - t])
        expected, _ = Geod(ellps="WGS84").polygon_area_perimeter(longitude, latitude)
        assert area == pytest.approx(abs(expected), rel=1e-6)


def test_rows_of_unequal_pixels():
    with pytest.raises(InputError, match="rotated against its degrees"):
        ground("EPSG:4326", TURNED).row_areas()
    turned = Affine.rotation(20) @ Affine.scale(2, -3)
    np.testing.assert_allclose(ground("EPSG:32632", turned).row_areas(), np.full(40, 6.0))


def test_a_projection_that_changes_areas(capsys):
    """At latitude 48, Web Mercator has 1 / cos(48 degrees)^2 times the areas on the ground."""
    ground("EPSG:3035", from_origin(4e6, 3e6, 10, 20)).warn_if_distorted()
    ground("EPSG:4326", NORTH).warn_if_distorted()
    assert capsys.readouterr().err == ""
    ground("EPSG:3857", from_origin(1e6, 6_106_854, 10, 10), (5, 4)).warn_if_distorted()
    factor = 1 / np.cos(np.radians(48)) ** 2
    assert f"areas in WGS 84 / Pseudo-Mercator are {factor:.3g} times" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (None, "does not lie on Earth"),
        (
            Place(CRS.from_epsg(4326), None, (GroundControlPoint(0, 0, 9, 50),)),
            r"control points alone.*gdalwarp",
        ),
        (Place(None, NORTH), "has no reference system"),
        (Place(CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]'), NORTH), "no known unit"),
        (Place(CRS.from_epsg(4978), NORTH), "no known unit"),  # from the middle of the Earth
        (Place(CRS.from_epsg(4326), from_origin(5e5, 5e6, 1, 1)), "its latitudes reach 5000000"),
        (Place(CRS.from_epsg(32632), Affine.scale(0, 1)), "no area"),
    ],
)
def test_places_without_areas(place, words):
    with pytest.raises(UnreadableImage, match=f"a.tif: .*{words}"):
        Ground("a.tif", place, 40, 60)
