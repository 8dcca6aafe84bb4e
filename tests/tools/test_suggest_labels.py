"""suggest_labels.py as a process: round by round, nothing is suggested twice."""

from pathlib import Path

import geopandas
import pytest
import shapely

from tests import commands
from tests.datasets.on_earth.scenes import box, write_features
from tests.maps.test_suggest import noise, write_layers

pytestmark = pytest.mark.slow

TOOL = "tools/suggest_labels.py"
ARGS = ["maps", "--size", "6", "--number", "4"]


@pytest.fixture
def work(tmp_path) -> Path:
    write_layers(tmp_path / "maps", "a", entropy=noise(0, 60, 80))
    write_features(
        tmp_path / "areas.gpkg",
        [box(slice(0, 60), slice(0, 50)), box(slice(0, 60), slice(50, 80))],
        split=["train", "test"],
    )
    return tmp_path


def test_two_rounds(work):
    args = [*ARGS, "--areas", "areas.gpkg", "--split", "train", "--corrections", "corrections.gpkg"]
    out = commands.succeed(TOOL, *args, "-o", "next.gpkg", cwd=work)
    assert out.splitlines() == [
        "next.gpkg: 4 windows",
        "next.png",
        "corrections.gpkg: empty, to draw into",
    ]
    first = geopandas.read_file(work / "next.gpkg")
    train = geopandas.read_file(work / "areas.gpkg").geometry[0]
    assert all(train.buffer(1e-6).contains(window) for window in first.geometry)
    drawn = geopandas.GeoDataFrame(
        {"class": ["house"] * 4}, geometry=first.geometry.centroid.buffer(1), crs=first.crs
    )
    drawn.to_file(work / "corrections.gpkg", mode="a")
    before = (work / "next.gpkg").read_bytes()
    refused = commands.error_of(TOOL, *args, "-o", "next.gpkg", cwd=work)
    assert refused == "error: next.gpkg: exists already; give --overwrite, or another -o"
    assert (work / "next.gpkg").read_bytes() == before
    out = commands.succeed(TOOL, *args, "-o", "next.gpkg", "--overwrite", cwd=work)
    assert out.splitlines()[-1] == "corrections.gpkg: kept as it is"
    second = geopandas.read_file(work / "next.gpkg")
    assert len(geopandas.read_file(work / "corrections.gpkg")) == 4
    drawn = shapely.union_all(drawn.geometry)
    # A pixel of half a meter counts as labeled if its center is in a polygon.
    assert all(window.intersection(drawn).area < 0.5 for window in second.geometry)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["-o", "next.shp"], "next.shp: is no name of a GeoPackage; give a name with .gpkg"),
        (
            ["-o", "n.gpkg", "--corrections", "n.gpkg"],
            "n.gpkg: is also --corrections; give two files",
        ),
        (["-o", "n.gpkg", "--split", "train"], "--split: needs --areas FILE"),
        (
            ["-o", "n.gpkg", "--areas", "areas.gpkg", "--attribute", "split"],
            "--attribute: needs --split NAME",
        ),
        (["-o", "n.gpkg", "--number", "0"], "--number 0: must be at least 1"),
        (
            ["-o", "n.gpkg", "--by", "disagreement"],
            "maps/a.tif: has no layer disagreement; predict it again with this layer",
        ),
        (
            ["-o", "n.gpkg", "--areas", "areas.gpkg", "--split", "trian"],
            "areas.gpkg: has no area 'trian' in 'split'; did you mean 'train'?",
        ),
    ],
)
def test_wrong_arguments(work, args, line):
    assert commands.error_of(TOOL, *ARGS, *args, cwd=work) == f"error: {line}"
