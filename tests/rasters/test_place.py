"""How long a pixel is on the ground, against known lengths."""

import math

import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.rasters.place import Place, ground_resolution


@pytest.mark.parametrize(
    ("epsg", "transform", "meters"),
    [
        (32632, from_origin(500000, 5400000, 0.09, 0.09), 0.09),
        (32632, from_origin(500000, 5400000, 0.1, 0.4), 0.2),  # the geometric mean
        (32632, Affine.rotation(30) @ Affine.scale(0.5, -0.5), 0.5),
        (2263, from_origin(980000, 200000, 1, 1), 0.3048006),  # New York, in feet
        (4326, from_origin(0, 0.0005, 1e-5, 1e-5), 1.112),  # at the equator
        (4326, from_origin(10, 60.0005, 1e-5, 1e-5), 1.112 / math.sqrt(2)),  # cos(60 deg) = 1 / 2
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
