"""Vector files whose paths pyogrio would take for URLs."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import geopandas
import pytest
import shapely

from network.errors import InputError
from network.rasters import vector_paths
from network.rasters.vector_paths import plain
from network.rasters.vectors import bounds_of, layers_of, list_values
from tests.conftest import ROOT
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


def test_parts_that_come_later_are_seen(tmp_path):
    """Such as the reference system of a Shapefile."""
    path = tmp_path / "s;1.shp"
    frame = geopandas.GeoDataFrame({"kind": ["road"]}, geometry=[BOX], crs=UTM.to_wkt())
    frame.to_file(tmp_path / "made.shp")
    for part in tmp_path.glob("made.*"):
        part.rename(tmp_path / f"s;1{part.suffix}")
    system = (tmp_path / "s;1.prj").rename(tmp_path / "later.prj")
    with pytest.raises(InputError, match="does not say in which reference system"):
        bounds_of(path)
    system.rename(tmp_path / "s;1.prj")
    assert bounds_of(path)[1].to_epsg() == UTM.to_epsg()


def test_threads_and_forks(tmp_path):
    """Each process has its own links, and removes no others."""
    script = f"""
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from network.rasters import vector_paths
from network.rasters.vector_paths import plain
paths = [Path({str(tmp_path)!r}) / f"!{{n}}" / "a.gpkg" for n in range(40)]
for path in paths:
    path.parent.mkdir()
    path.write_bytes(b"")
with ThreadPoolExecutor(8) as pool:
    assert all(link.exists() for link in pool.map(plain, paths * 5))
first = plain(paths[0])
if not os.fork():
    assert plain(paths[0]) != first
    sys.exit(0)
os.wait()
assert first.exists()
print(first)
"""
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert not Path(out.strip()).parents[1].exists()


def test_a_folder_of_links_that_is_gone_or_refuses(tmp_path, monkeypatch):
    """Systems remove old temporary files, and a disk may be full, read-only or without links."""
    path = tmp_path / "!" / "a.gpkg"
    path.parent.mkdir()
    path.write_bytes(b"")
    shutil.rmtree(plain(path).parents[2])
    assert plain(path).exists()

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    for owner, name in ((Path, "symlink_to"), (Path, "mkdir")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse)
            with pytest.raises(InputError, match=r"TMPDIR: no link .*No space left"):
                plain(path)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", refuse)
        patch.setattr(vector_paths, "_LINKS", {})
        with pytest.raises(InputError, match=r"TMPDIR: no link .*No space left"):
            plain(path)
