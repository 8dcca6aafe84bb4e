"""Maps with polygons: files, refusals, stopped runs, places without areas, the command."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.features import rasterize

from network import extras
from network.errors import InputError
from network.maps import finish
from network.maps.layers import CONFIDENCE
from network.maps.options import PolygonOptions
from network.maps.run import SomeFailed
from network.rasters.source import UnreadableImage
from tests.commands import error_of, run, succeed
from tests.conftest import ROOT
from tests.maps.local import COMMAND, PLACE, SMALL, contents, predict, random_image
from tests.scenes import write_bands

pytestmark = pytest.mark.slow

WITH = replace(SMALL, polygons=PolygonOptions())
SMALLER = replace(SMALL, polygons=PolygonOptions(min_area=0.3, simplify=0.2))


@pytest.fixture
def image(tmp_path) -> Path:
    """An image of four blocks; a corner of it has no data."""
    pixels = np.maximum(random_image(200, 190), 1)
    pixels[:50, :70] = 0
    write_bands(tmp_path / "in/a.tif", pixels, nodata=0, photometric="RGB", **PLACE)
    return tmp_path / "in/a.tif"


def last_record(folder: Path) -> dict:
    return json.loads((folder / "maps.jsonl").read_text().splitlines()[-1])


def test_the_files_of_a_map_with_polygons(predictor, image, tmp_path):
    """The confidence is measured, but has a file of its own only if it is wanted."""
    out = tmp_path / "out"
    predict(predictor, image, out=out, options=WITH)
    assert {p.name for p in out.iterdir()} == {
        "a.gpkg", "a.tif", "a.tif.aux.xml", "a.qml", "maps.jsonl",
    }  # fmt: skip
    found = geopandas.read_file(out / "a.gpkg", layer="a")
    options = replace(WITH, layers=(CONFIDENCE,))
    predict(predictor, image, out=tmp_path / "more", options=options)
    assert (tmp_path / "more/a.gpkg").read_bytes() == (out / "a.gpkg").read_bytes()
    with rasterio.open(out / "a.tif") as file:
        labels, transform = file.read(1), file.transform
        assert found.crs == file.crs
    with rasterio.open(tmp_path / "more/a_confidence.tif") as file:
        confidence = file.read(1) / 250
    shown = zip(found.geometry, found["class"], strict=True)
    drawn = rasterize(shown, labels.shape, fill=255, transform=transform, dtype="uint8")
    np.testing.assert_array_equal(drawn, labels)
    assert found["area_m2"].sum() == pytest.approx((labels != 255).sum() * 0.01)
    weighted = (found["confidence"] * found["area_m2"]).sum() / found["area_m2"].sum()
    assert weighted == pytest.approx(confidence[labels != 255].mean())
    record = last_record(out)
    assert record["polygons"] == len(found)
    assert record["seconds"]["polygons"] > 0


class Stopped(Exception):
    pass


def stop(*_: object) -> None:
    raise Stopped


@pytest.mark.parametrize("options", [WITH, SMALLER])
def test_a_stopped_run_goes_on_to_the_same_bytes(predictor, image, tmp_path, monkeypatch, options):
    """Stopped among its blocks, then before its polygons."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    predict(predictor, image, out=whole, options=options)
    predict(predictor, image, out=out, options=replace(options, shard=(0, 2)))
    with monkeypatch.context() as patch:
        patch.setattr(finish, "write_cog", stop)
        with pytest.raises(Stopped):
            predict(predictor, image, out=out, options=options)
    with monkeypatch.context() as patch:
        patch.setattr("network.rasters.vector_files.Rows.__init__", stop)
        with pytest.raises(Stopped):
            predict(predictor, image, out=out, options=options)
    assert (out / "a.tif").exists()
    assert not list(out.glob("*gpkg*"))
    predictor.model.passes = 0
    predict(predictor, image, out=out, options=options)
    assert predictor.model.passes == 0
    assert contents(out) == contents(whole)
    before = (out / "a.gpkg").stat().st_mtime_ns
    predict(predictor, image, out=out, options=options)
    assert (out / "a.gpkg").stat().st_mtime_ns == before


def test_deleted_polygons_are_made_again(predictor, image, tmp_path):
    out = tmp_path / "out"
    predict(predictor, image, out=out, options=WITH)
    before = contents(out)
    (out / "a.gpkg").unlink()
    assert predict(predictor, image, out=out, options=WITH) == 1
    assert contents(out) == before


@pytest.mark.parametrize(
    ("polygons", "words"),
    [
        (None, 'its polygons is "gpkg", not none, and 2 more'),
        (PolygonOptions("parquet"), 'its polygons is "gpkg", not "parquet"'),
        (PolygonOptions(file=Path("b.gpkg")), 'its polygons is "gpkg", not ".*b.gpkg"'),
        (PolygonOptions(min_area=1), "its min_area is 0.0, not 1.0"),
        (PolygonOptions(simplify=1), "its simplify is 0.0, not 1.0"),
    ],
)
def test_other_polygons_are_refused(predictor, image, tmp_path, monkeypatch, polygons, words):
    """Until told to delete the old ones, which are then gone with the map."""
    monkeypatch.chdir(tmp_path)
    out, other = tmp_path / "out", replace(SMALL, polygons=polygons)
    predict(predictor, image, out=out, options=WITH)
    before = contents(out)
    with pytest.raises(InputError, match=rf"a\.tif: was made with other settings .{words}"):
        predict(predictor, image, out=out, options=other)
    assert contents(out) == before
    predict(predictor, image, out=out, options=replace(other, overwrite=True))
    predict(predictor, image, out=tmp_path / "new", options=other)
    assert {p.name for p in out.iterdir()} == {p.name for p in (tmp_path / "new").iterdir()}


def test_a_finished_map_without_polygons(predictor, image, tmp_path):
    """Its confidence was not kept, so it is made anew, if told to."""
    out = tmp_path / "out"
    predict(predictor, image, out=out)
    with pytest.raises(InputError, match=r'its polygons is none, not "gpkg", and 2 more'):
        predict(predictor, image, out=out, options=WITH)
    predict(predictor, image, out=out, options=replace(WITH, overwrite=True))
    assert (out / "a.gpkg").is_file()


def test_a_file_elsewhere(predictor, image, tmp_path):
    """It belongs to the map: it is not made twice, and it is deleted with the map."""
    file, out = tmp_path / "deep/b.parquet", tmp_path / "out"
    options = replace(SMALL, polygons=PolygonOptions("parquet", file))
    predict(predictor, image, out=out, options=options)
    assert not (out / "a.parquet").exists()
    written = file.stat().st_mtime_ns
    predict(predictor, image, out=out, options=options)
    assert file.stat().st_mtime_ns == written
    predict(predictor, image, out=out, options=replace(SMALL, overwrite=True))
    assert not file.exists()
    beside = replace(WITH, polygons=PolygonOptions(file=out / "a.gpkg"), overwrite=True)
    predict(predictor, image, out=out, options=beside)
    predict(predictor, image, out=out, options=WITH)  # the same by another name


def test_files_of_the_user_are_kept(predictor, image, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.gpkg").write_text("mine")
    with pytest.raises(InputError, match=r"a\.gpkg: is there already"):
        predict(predictor, image, out=tmp_path / "out", options=replace(WITH, overwrite=True))
    assert (tmp_path / "out/a.gpkg").read_text() == "mine"


def test_a_refusal_deletes_nothing(predictor, image, tmp_path):
    """Neither the map of other settings nor its blocks, if a file of the user is in the way."""
    out, mine = tmp_path / "out", tmp_path / "truth.gpkg"
    mine.write_text("mine")
    predict(predictor, image, out=out)
    (out / "a.tif.parts/0").mkdir(parents=True)
    (out / "a.tif.parts/0/block").write_text("a block of other settings")
    before = contents(out)
    options = replace(SMALL, polygons=PolygonOptions(file=mine), overwrite=True)
    with pytest.raises(InputError, match=r"truth\.gpkg: is there already, and no record"):
        predict(predictor, image, out=out, options=options)
    assert contents(out) == before
    assert mine.read_text() == "mine"
    mine.unlink()
    assert predict(predictor, image, out=out, options=options) == 1
    assert predict(predictor, image, out=out, options=replace(SMALL, overwrite=True)) == 1
    assert not mine.exists()  # this one was made with the map


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("(1)", "map_(1)"),
        ("gpkg_a", "map_gpkg_a"),
        ("Sqlite_a", "map_Sqlite_a"),
        ("-5%", "map_-5%"),
        ("tile 1-b", "tile 1-b"),
        ("Äcker", "Äcker"),
        ("_a", "_a"),
        ("a;b", "a;b"),
        ("a!b", "a!b"),
    ],
)
def test_names_that_geopackages_keep_for_themselves(predictor, tmp_path, name, table):
    write_bands(tmp_path / f"in/{name}.tif", random_image(40, 40), photometric="RGB", **PLACE)
    assert predict(predictor, tmp_path / f"in/{name}.tif", out=tmp_path / "!out", options=WITH) == 1
    with sqlite3.connect(tmp_path / f"!out/{name}.gpkg") as file:
        assert file.execute("SELECT table_name FROM gpkg_contents").fetchall() == [(table,)]
        assert file.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] > 1


def test_one_file_for_several_images(predictor, image, tmp_path):
    options = replace(SMALL, polygons=PolygonOptions(file=tmp_path / "b.gpkg"))
    with pytest.raises(InputError, match=r"is one file for 2 images; .* polygons=gpkg"):
        predict(predictor, image, image, out=tmp_path / "out", options=options)
    options = replace(SMALL, polygons=PolygonOptions(file=tmp_path))
    with pytest.raises(InputError, match="is a folder"):
        predict(predictor, image, out=tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_images_whose_place_gives_no_areas(predictor, image, tmp_path):
    """They are left out before anything is predicted, and the others are done."""
    pixels = random_image(100, 100)
    corners = ((0, 0), (0, 100), (100, 0), (100, 100))
    points = [GroundControlPoint(r, c, 9 + c / 1e5, 50 - r / 1e5, 0) for r, c in corners]
    site = 'LOCAL_CS["site",UNIT["unknown",0]]'
    places = {
        "nowhere": {},
        "points": {"gcps": points, "crs": "EPSG:4326"},
        "bare": {"transform": PLACE["transform"]},
        "site": {"transform": PLACE["transform"], "crs": rasterio.crs.CRS.from_wkt(site)},
    }
    images = [tmp_path / f"in/{name}.tif" for name in places]
    for path, place in zip(images, places.values(), strict=True):
        write_bands(path, pixels, photometric="RGB", **place)
    predictor.model.passes = 0
    with pytest.raises(UnreadableImage, match=r"nowhere.tif: does not lie on Earth.*3 more"):
        predict(predictor, *images, out=tmp_path / "out", options=WITH)
    assert predictor.model.passes == 0
    assert not (tmp_path / "out").exists()
    with pytest.raises(SomeFailed, match="4 of 5 images"):
        predict(predictor, *images, image, out=tmp_path / "out", options=WITH)
    failed = (tmp_path / "out/failed.jsonl").read_text()
    for words in ("does not lie", "gdalwarp", "has no reference system", "no known unit"):
        assert words in failed
    assert {p.stem for p in (tmp_path / "out").glob("*.gpkg")} == {"a"}


def test_a_mask_with_a_place(predictor, image, tmp_path):
    """Polygons do not need a GeoTIFF beside them, and pixels may be turned."""
    turned = PLACE["transform"] @ Affine.rotation(30)
    path = tmp_path / "in/t.tif"
    write_bands(path, random_image(120, 90), crs=PLACE["crs"], transform=turned, photometric="RGB")
    predict(predictor, path, out=tmp_path / "out", options=replace(WITH, format="png"))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "t.gpkg", "t.png", "t.png.aux.xml", "maps.jsonl",
    }  # fmt: skip
    found = geopandas.read_file(tmp_path / "out/t.gpkg")
    assert found["area_m2"].sum() == pytest.approx(120 * 90 * 0.01)


def test_a_missing_library(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=r"polygons: needs the library .*pip install -e '.\[vec"):
        PolygonOptions()


def test_the_command(project):
    argv = [*COMMAND, "-i", "in", "-o", "out", "--polygons", "--min-area", "0.1"]
    succeed(*argv, "--simplify", "0.15", cwd=project)
    found = geopandas.read_file(project / "out/a.gpkg")
    assert found["area_m2"].sum() == pytest.approx(63)
    assert (
        len(found)
        == json.loads((project / "out/maps.jsonl").read_text().splitlines()[1])["polygons"]
    )
    succeed(
        *COMMAND, "-i", "in/a.tif", "-o", "out2", "--polygons", "x/y.parquet", "--min-area", "0.1",
        cwd=project,
    )  # fmt: skip
    table = geopandas.read_parquet(project / "x/y.parquet")
    assert (len(table), list(table["class"])) == (len(found), list(found["class"]))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--polygons", "a.shp"], "--polygons a.shp: must be gpkg or parquet, or a file"),
        (["--polygons", "a.gpkg"], "--polygons a.gpkg: is one file for 2 images; give the format"),
        (["--polygons", "--min-area", "-3"], "--min-area -3: must be at least 0"),
        (["--simplify", "2"], "--simplify 2: is for polygons alone; give --polygons too"),
    ],
)
def test_what_the_command_refuses(project, words, line):
    assert line in error_of(*COMMAND, "-i", "in", "-o", "none", *words, cwd=project)


def test_maps_without_polygons_need_no_extra(project):
    """A run in a Python that has none of these libraries."""
    names = ", ".join(repr(name) for name in extras.EXTRAS["vectors"])
    script = project / "without.py"
    script.write_text(
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"for name in ({names}):\n    sys.modules[name] = None\n"
        f"sys.argv[0] = {str(ROOT / 'predict.py')!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    argv = [*COMMAND[1:], "-i", "in/b.tif", "-o", "plain"]
    done = run(script, *argv, cwd=project)
    assert done.returncode == 0, done.stderr[-2000:]
