"""Vector files whose paths pyogrio would take for URLs."""

import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas
import pytest
import shapely

from network.rasters.vector_paths import plain
from network.rasters.vectors import layers_of, list_values
from tests.rasters.earth import UTM

BOX = shapely.box(500_000, 5_399_990, 500_010, 5_400_000)


@pytest.mark.parametrize("folder", ["a", "a!b", "!", "a.zip!b", "c;d", "e?f", "100%", "zip"])
@pytest.mark.parametrize("name", ["g", "g!h", "g;h", "g?h", "g#h"])
@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".shp", ".parquet"])
def test_layers_are_found_and_read(tmp_path, folder, name, ending):
    frame = geopandas.GeoDataFrame({"kind": ["road"]}, geometry=[BOX], crs=UTM.to_wkt())
    made = tmp_path / f"made{ending}"
    if ending == ".parquet":
        frame.to_parquet(made)
    else:
        frame.to_file(made)
    for part in tmp_path.glob("made.*"):  # as a file manager renames them
        (tmp_path / folder).mkdir(exist_ok=True)
        part.rename(tmp_path / folder / f"{name}{part.suffix}")
    path = tmp_path / folder / f"{name}{ending}"
    ((_, kind),) = layers_of(path)
    assert kind == "Polygon"
    assert list_values(path, "kind") == {"road": 1}


def test_what_another_program_writes_meanwhile_is_seen(tmp_path):
    path = tmp_path / "!open" / "a;b.gpkg"
    path.parent.mkdir()
    frame = geopandas.GeoDataFrame({"kind": ["road"]}, geometry=[BOX], crs=UTM.to_wkt())
    frame.to_file(tmp_path / "a.gpkg", layer="a", SPATIAL_INDEX="NO")
    (tmp_path / "a.gpkg").rename(path)
    assert list_values(path, "kind") == {"road": 1}
    with closing(sqlite3.connect(path, isolation_level=None)) as program:  # as QGIS does
        program.execute("PRAGMA journal_mode=WAL")
        program.execute("UPDATE a SET kind='path'")
        assert Path(f"{path}-wal").exists()
        assert list_values(path, "kind") == {"path": 1}


def test_other_paths_stay_as_they_are(tmp_path):
    assert plain(tmp_path / "a.gpkg") == tmp_path / "a.gpkg"
    assert plain(Path("/vsizip/a.zip/b!c.gpkg")) == Path("/vsizip/a.zip/b!c.gpkg")
