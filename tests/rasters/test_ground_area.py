"""Areas of pixels, against pyproj's geodesics and the known area of Earth."""

import numpy as np
import pyproj
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.errors import InputError
from network.rasters.earth_grid import EarthGrid
from network.rasters.ground_area import pixel_areas

DEGREES = CRS.from_epsg(4326)


def test_all_of_earth(tmp_path):
    areas = pixel_areas(EarthGrid(180, 360, DEGREES, from_origin(-180, 90, 1, 1)), tmp_path)
    assert areas.sum() * 360 == pytest.approx(510_065_621_724_088, rel=1e-12)
    np.testing.assert_allclose(areas, areas[::-1])


@pytest.mark.parametrize("upwards", [False, True])
@pytest.mark.parametrize("top", [70.0, 0.3, -33.0])
def test_geodesics(tmp_path, top, upwards):
    """A cell whose sides follow parallels and meridians, in small steps."""
    step = 0.4
    transform = from_origin(10, top, step, step)
    if upwards:
        transform = Affine(step, 0, 10, 0, step, top - 3 * step)
    areas = pixel_areas(EarthGrid(3, 4, DEGREES, transform), tmp_path)
    t = np.linspace(0, 1, 1001)
    for row, area in enumerate(areas):
        high = top - step * (2 - row if upwards else row)
        longitude = 10 + step * np.concatenate([t, 1 + 0 * t, 1 - t, 0 * t])
        latitude = high - step * np.concatenate([0 * t, t, 1 + 0 * t, 1 - t])
        expected, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(longitude, latitude)
        assert area == pytest.approx(abs(expected), rel=1e-6)


@pytest.mark.parametrize(("epsg", "area"), [(3035, 200.0), (2263, 200 * 0.3048006096**2)])
def test_projections(tmp_path, epsg, area, capsys):
    """Meters in Europe, feet in New York."""
    place = from_origin(984_000, 200_000, 10, 20) if epsg == 2263 else from_origin(4e6, 3e6, 10, 20)
    areas = pixel_areas(EarthGrid(5, 4, CRS.from_epsg(epsg), place), tmp_path)
    np.testing.assert_allclose(areas, np.full(5, area))
    assert capsys.readouterr().err == ""


def test_web_mercator_is_warned_of(tmp_path, capsys):
    """At latitude 48, its areas are 1 / cos(48 degrees)^2 times those on the ground."""
    grid = EarthGrid(5, 4, CRS.from_epsg(3857), from_origin(1e6, 6_106_854, 10, 10))
    pixel_areas(grid, tmp_path / "map.tif")
    factor = 1 / np.cos(np.radians(48)) ** 2
    assert f"areas in EPSG:3857 are {factor:.3g} times" in capsys.readouterr().err


def test_no_areas(tmp_path):
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(InputError, match="areas are not known in its reference system site"):
        pixel_areas(EarthGrid(5, 4, local, from_origin(0, 0, 1, 1)), tmp_path)
    turned = from_origin(10, 50, 1, 1) @ Affine.rotation(20)
    with pytest.raises(InputError, match="rotated against its degrees"):
        pixel_areas(EarthGrid(5, 4, DEGREES, turned), tmp_path)
