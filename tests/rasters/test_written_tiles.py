"""Files that are made from tiles leave nothing in the memory."""

import ctypes

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.rasters.place import Place
from network.rasters.tiles import Grid, Legend, can_keep, write_cog, write_mosaic, write_tile

NAMES, COLORS = ("road", "tree"), ((1, 2, 3), (4, 5, 6))


class Heap(ctypes.Structure):
    """The result of the function ``mallinfo2`` of the C library, ten numbers of bytes or blocks."""

    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]


def used_bytes() -> int:
    """Bytes that C code, such as GDAL, has reserved in this process."""
    tell = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if tell is None:
        pytest.skip("needs glibc 2.33")
    tell.restype = Heap
    heap = tell()
    return heap.e + heap.h  # mapped, and taken from the heap


def test_many_files_take_no_more_memory_than_few(tmp_path):
    values = np.random.default_rng(0).integers(0, 2, (1, 40, 50), dtype=np.uint8)
    legend = Legend(["class"], NAMES, COLORS)

    def write(number: int) -> None:
        tile, mosaic = tmp_path / f"{number}/tile.tif", tmp_path / f"{number}/mosaic.vrt"
        write_tile(tile, values, no_data=255)
        places = {tile: (slice(0, 40), slice(0, 50))}
        write_mosaic(mosaic, Grid(40, 50, bands=1, no_data=255), legend, places)
        write_cog(tmp_path / f"{number}.tif", mosaic, legend)

    for number in range(4):  # what is made once
        write(number)
    before = used_bytes()
    for number in range(4, 24):
        write(number)
    # The text of a mosaic has 13 kB, for its colors.
    assert used_bytes() - before < 20 * 4000
    with rasterio.open(tmp_path / "23.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.tags(1)["STATISTICS_MAXIMUM"] == "1"


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("EPSG:32632", True),
        ("+proj=aeqd +lat_0=50 +lon_0=9", True),  # without a code
        ("OGC:CRS84", True),  # another order of the axes
        ("+proj=longlat +R=6371229", True),
        ('LOCAL_CS["site",UNIT["metre",1]]', True),
        ("+proj=eqearth +lon_0=10", False),
        ("+proj=ob_tran +o_proj=longlat +o_lat_p=39 +lon_0=18 +o_lon_p=0", False),
    ],
)
def test_systems_that_a_file_keeps(system, expected):
    place = Place(CRS.from_user_input(system), from_origin(9, 40, 1, 1))
    assert can_keep(place) is expected
