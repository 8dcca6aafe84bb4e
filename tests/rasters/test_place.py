"""How long a pixel is on the ground, against known lengths."""

import math

import pyproj
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.rasters.place import Place, distance, ground_at_middle, ground_resolution


@pytest.mark.parametrize(
    ("epsg", "transform", "meters"),
    [
        (32632, from_origin(500000, 5400000, 0.09, 0.09), 0.09),
        (32632, from_origin(500000, 5400000, 0.1, 0.4), 0.2),  # the geometric mean
        (32632, Affine.rotation(30) @ Affine.scale(0.5, -0.5), 0.5),
        (2263, from_origin(980000, 200000, 1, 1), 0.3048006),  # New York, in feet
        (4326, from_origin(0, 0.0005, 1e-5, 1e-5), 1.109),  # at the equator, 1.113 by 1.106
        (4326, from_origin(10, 60.0005, 1e-5, 1e-5), 0.7885),  # 0.558 by 1.114
        # Web Mercator stretches the ground by about 1 / cos(60 deg) = 2.
        (3857, from_origin(1e6, 8_399_738, 1, 1), 0.5009),
    ],
)
def test_ground_resolution(epsg, transform, meters):
    place = Place(CRS.from_epsg(epsg), transform)
    assert ground_resolution(place, 100, 100) == pytest.approx(meters, rel=1e-3)


@pytest.mark.parametrize(
    "place",
    [
        None,
        Place(None, from_origin(0, 0, 1, 1)),
        Place(CRS.from_epsg(32632), None),
        *(
            Place(CRS.from_epsg(epsg), Affine(number, 0, number, 0, -number, number))
            for epsg in (4326, 32632)
            for number in (math.nan, math.inf, 0.0)
        ),
    ],
)
def test_what_nobody_can_tell(place):
    """A training must not end by it, when its first checkpoint is written."""
    assert ground_resolution(place, 100, 100) is None


GRIDS = {
    "utm": (32632, from_origin(500_000, 5_400_000, 0.09, 0.09)),
    "feet": (2263, from_origin(980_000, 200_000, 1, 1)),
    "degrees": (4326, from_origin(10, 60, 1e-5, 2e-5)),
    "mercator": (3857, from_origin(1_000_000, 8_000_000, 1, 1)),  # stretches by 2 there
    "rotated": (32632, Affine.translation(5e5, 5.4e6) @ Affine.rotation(30) @ Affine.scale(1, -1)),
    "polar": (3413, from_origin(1_000_000, -1_000_000, 10, 10)),
    "south up": (32632, from_origin(500_000, 5_400_000, 0.5, -0.5)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_ground_at_middle(name):
    """Against geodesics of pyproj: along a row, and back to a point that lies north."""
    epsg, transform = GRIDS[name]
    ground = ground_at_middle(Place(CRS.from_epsg(epsg), transform), 300, 500)
    to_degrees = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    geod = pyproj.Geod(ellps="WGS84")
    middle, right = (to_degrees.transform(*(transform @ at)) for at in ((250, 150), (290, 150)))
    assert ground.meters == pytest.approx(geod.inv(*middle, *right)[2] / 40, rel=1e-5)
    below = to_degrees.transform(*(transform @ (250, 190)))
    assert ground.down == pytest.approx(geod.inv(*middle, *below)[2] / 40, rel=1e-5)
    longitude, latitude, _ = geod.fwd(*middle, 0, 20 * ground.meters)
    x, y = to_degrees.transform(longitude, latitude, direction="INVERSE")
    column, row = ~transform @ (x, y)
    angle = math.degrees(math.atan2(column - 250, 150 - row))
    assert (ground.north - angle + 180) % 360 - 180 == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    "place",
    [
        None,
        Place(None, from_origin(0, 0, 1, 1)),
        Place(CRS.from_epsg(32632), None),
        Place(CRS.from_wkt('LOCAL_CS["a hall", UNIT["metre", 1]]'), from_origin(0, 0, 1, 1)),
        Place(CRS.from_epsg(32632), Affine(0, 0, 5e5, 0, 0, 5e6)),
        Place(CRS.from_epsg(32632), Affine(math.nan, 0, 0, 0, 1, 0)),
    ],
)
def test_no_ground(place):
    assert ground_at_middle(place, 100, 100) is None


UTM, LONGITUDES = CRS.from_epsg(32632), CRS.from_epsg(4326)
METERS = from_origin(500_000, 5_400_000, 1, 1)


def control_points(transform, bend=0.0, count=4):
    """Points at the corners of 64 x 64 pixels, and one in the middle that lies elsewhere."""
    places = [(0, 0), (64, 0), (0, 64), (64, 64), (32, 32)][: count + bool(bend)]
    found = []
    for column, row in places:
        x, y = transform @ (column + bend * (column == 32), row)
        found.append(GroundControlPoint(row, column, x, y))
    return tuple(found)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (METERS, METERS @ Affine.translation(3, 4), 5),
        (METERS, METERS @ Affine.scale(2), 64 * math.sqrt(2)),
        (METERS, METERS @ Affine(1, 0, 0, 0, -1, 64), 64),  # counted upwards
        (control_points(METERS), control_points(METERS), 0),
        (control_points(METERS), control_points(METERS @ Affine.translation(3, 4)), 5),
        (METERS, control_points(METERS @ Affine.translation(3, 4)), 5),
        (control_points(METERS), METERS, 0),
        # The transform may be wrong by 1.6 pixels in the middle, since the point there is by 2.
        (METERS, control_points(METERS, bend=2), 0),
        (METERS, control_points(METERS @ Affine.translation(30, 0), bend=2), 28.8),
        (METERS, control_points(METERS, count=2), None),
        (Affine(0, 0, 5, 0, 0, 5), METERS, math.inf),
    ],
)
def test_distance(one, other, expected):
    places = [
        Place(UTM, one) if isinstance(one, Affine) else Place(UTM, None, one)
        for one in (one, other)
    ]
    found = distance(*places, 64, 64)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_distance_in_other_systems():
    """Longitudes may differ by a full turn; no transform leads to a local system."""
    west, east = (Place(LONGITUDES, from_origin(x, 5, 1e-5, 1e-5)) for x in (-180.0001, 179.9999))
    assert distance(west, east, 64, 64) == pytest.approx(0, abs=1e-3)
    local = CRS.from_wkt('LOCAL_CS["Site",UNIT["metre",1],AXIS["E",EAST],AXIS["N",NORTH]]')
    assert distance(Place(UTM, METERS), Place(local, METERS), 64, 64) == math.inf
