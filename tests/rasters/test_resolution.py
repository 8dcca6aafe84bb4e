"""Warnings for pixels of other sizes on the ground."""

from pathlib import Path

import pytest
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.rasters.place import Place
from network.rasters.resolution import compare_resolutions, compare_with_training

SIZE = (100, 100)


def place_of(side: float, epsg: int = 32632) -> Place:
    """A place at a latitude of 60 degrees, where Web Mercator stretches the ground by 2."""
    corner = (500_000, 6_651_411) if epsg == 32632 else (1_001_875, 8_399_738)
    return Place(CRS.from_epsg(epsg), from_origin(*corner, side, side))


@pytest.mark.parametrize(
    ("place", "trained", "is_told"),
    [
        (place_of(0.5), 0.1, True),
        (place_of(0.1), 0.5, True),
        (place_of(0.5), 0.42, False),
        (place_of(0.5), None, False),
        (None, 0.1, False),
        (place_of(1.0, 3857), 0.5, False),
        (place_of(1.0, 3857), 2.0, True),
        # An older checkpoint of such images knows the side in the plane.
        (place_of(1.0, 3857), 1.0, False),
    ],
)
def test_pixels_of_another_size_than_in_the_training(place, trained, is_told):
    told = compare_with_training("a.tif", place, SIZE, trained)
    assert (told is not None) == is_told
    if told:
        assert told.startswith("a.tif has pixels of 0.")
        assert f"trained on pixels of {trained:g} m" in told


def test_images_of_one_training(capsys):
    images = [(0.2, Path("a.tif")), (None, Path("b.tif")), (0.1, Path("c.tif"))]
    compare_resolutions(images[:2])
    compare_resolutions([(None, Path("b.tif"))])
    assert not capsys.readouterr().err
    compare_resolutions(images)
    assert "c.tif has pixels of 0.1 m and a.tif of 0.2 m" in capsys.readouterr().err
