"""Files of polygons: whole, the same bytes again, and as other programs read them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS

from network.errors import InputError
from network.rasters.vector_files import DATE, Layer, Rows, write_geopackage, write_geoparquet
from tests.disks import mounted

LAYER = Layer("fields", CRS(32632), {"class": int, "name": str, "area_m2": float})
WRITERS = {"gpkg": write_geopackage, "parquet": write_geoparquet}
both = pytest.mark.parametrize("ending", WRITERS)


def batches(count: int, size: int = 50) -> Iterator[Rows]:
    for number in range(count):
        x = np.arange(size) * 10.0 + 1000 * number
        values = {"class": np.arange(size) % 3, "name": ["ä"] * size, "area_m2": x / 7}
        yield Rows(shapely.box(x, 5, x + 5, 8), values)


def read(path: Path, **options) -> geopandas.GeoDataFrame:
    reader = geopandas.read_parquet if path.suffix == ".parquet" else geopandas.read_file
    return reader(path, **options)


@both
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.filterwarnings("error")
def test_what_other_programs_read(tmp_path, ending, count):
    path = tmp_path / f"deep/a.{ending}"
    WRITERS[ending](path, LAYER, batches(count))
    found = read(path)
    assert found.crs == LAYER.crs
    assert list(found.columns) == ["class", "name", "area_m2", "geometry"]
    assert len(found) == 50 * count
    for part, rows in enumerate(batches(count)):
        own = found[50 * part : 50 * part + 50]
        assert (own.geometry.values == rows.polygons).all()
        for name, values in rows.values.items():
            assert (own[name] == values).all()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    if count:
        assert len(read(path, bbox=(0, 0, 101, 10))) == 11


def test_the_table_of_a_geopackage(tmp_path):
    write_geopackage(tmp_path / "a.gpkg", LAYER, batches(1))
    about = pyogrio.read_info(tmp_path / "a.gpkg")
    assert (about["layer_name"], about["geometry_type"]) == ("fields", "Polygon")
    assert about["dtypes"].tolist() == ["int32", "object", "float64"]
    assert about["capabilities"]["fast_spatial_filter"]


@both
def test_the_same_bytes_again(tmp_path, ending):
    """The time does not stand in the file, and GDAL's setting of it is as before."""
    one, other = (tmp_path / f"{name}.{ending}" for name in "ab")
    WRITERS[ending](one, LAYER, batches(2))
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1999-01-01T00:00:00Z"})
    try:
        WRITERS[ending](other, LAYER, batches(2))
        assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") == "1999-01-01T00:00:00Z"
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    assert one.read_bytes() == other.read_bytes()
    if ending == "gpkg":
        with sqlite3.connect(one) as file:
            assert file.execute("SELECT last_change FROM gpkg_contents").fetchall() == [(DATE,)]


@both
@pytest.mark.parametrize("error", [InputError("a", "b"), KeyboardInterrupt()])
def test_an_error_of_the_rows(tmp_path, ending, error):
    """It comes out as it is; an older file stays, and nothing else."""

    def rows() -> Iterator[Rows]:
        yield from batches(1)
        raise error

    path = tmp_path / f"a.{ending}"
    WRITERS[ending](path, LAYER, batches(1))
    before = path.read_bytes()
    with pytest.raises(type(error)) as found:
        WRITERS[ending](path, LAYER, rows())
    assert found.value is error
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


@both
@pytest.mark.parametrize("size", ["16k", "96k", "160k", "1m"])
def test_a_full_disk(tmp_path, ending, size):
    with mounted(tmp_path / "disk", size) as disk:
        with pytest.raises(InputError, match=rf"a\.{ending}: cannot be written"):
            WRITERS[ending](disk / f"a.{ending}", LAYER, batches(1000))
        assert not list(disk.iterdir())
