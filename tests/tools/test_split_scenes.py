"""split_scenes.py as a process: what it writes is what a config reads."""

from pathlib import Path

import geopandas
import numpy as np
import pytest
from PIL import Image

from tests import commands
from tests.conftest import ROOT
from tests.datasets.on_earth.scenes import write_regions, write_scene
from tests.rasters.earth import blocks

pytestmark = pytest.mark.slow

CONFIG = """
from dataclasses import replace
from functools import partial
from config.demo.scenes import DEMO_SCENES, experiment, scenes
SPLITS = {split: (scenes(split),) for split in ("train", "val", "test")}
DATA = replace(DEMO_SCENES, splits=SPLITS, classes=("road", "house", "field"),
    palette=((200, 200, 200), (200, 0, 0), (240, 220, 80)), scored=(), ignore_index=255)
model, loss = experiment.model, experiment.loss
experiment = replace(experiment, dataset=DATA, model=partial(model.func, 3, **model.keywords),
    loss=partial(loss.func, 255, **loss.keywords))
"""
TOOL = "tools/split_scenes.py"


@pytest.fixture
def work(tmp_path) -> Path:
    labels = blocks(3, 160, 120)
    write_scene(tmp_path / "data/images/a.tif", labels)
    write_regions(tmp_path / "data/labels.gpkg", labels)
    (tmp_path / "fields.py").write_text(CONFIG)
    return tmp_path


def test_a_split_that_a_config_reads(work):
    args = ["-c", "fields.py", "data.root=data", "--block", "8", "--buffer", "1.5"]
    out = commands.succeed(TOOL, *args, "-o", "data/areas.gpkg", cwd=work)
    assert "guard band" in out
    assert out.splitlines()[-2:] == ["data/areas.gpkg", "data/areas.png"]
    frame = geopandas.read_file(work / "data/areas.gpkg")
    assert set(frame["split"]) == {"train", "val", "test"}
    with Image.open(work / "data/areas.png") as picture:
        assert picture.size[0] == 1440
    before = (work / "data/areas.gpkg").read_bytes()
    refused = commands.error_of(TOOL, *args, "-o", "data/areas.gpkg", cwd=work)
    assert refused == "error: data/areas.gpkg: exists already; give --overwrite, or another -o"
    commands.succeed(TOOL, *args, "-o", "data/areas.gpkg", "--overwrite", cwd=work)
    assert (work / "data/areas.gpkg").read_bytes() == before
    checked = commands.run("tools/check_data.py", *args[:3], "--workers", "1", cwd=work)
    assert (checked.returncode, checked.stderr.count("error")) == (0, 0), checked.stdout
    # The guard band is a little wider than asked, by 1.25 diagonals of a pixel of half a meter.
    assert "train and test: 2.38 m apart on Earth" in checked.stdout


def test_folds_and_images_alone(work):
    args = ["--block", "8", "--buffer", "1"]
    folds = ["-c", "fields.py", "data.root=data", "--folds", "3", "-o", "folds.gpkg"]
    commands.succeed(TOOL, *folds, *args, cwd=work)
    assert np.unique(geopandas.read_file(work / "folds.gpkg", layer="folds")["fold"]).size == 3
    out = commands.succeed(TOOL, "-i", "data/images/a.tif", *args, "-o", "own.gpkg", cwd=work)
    assert "km²" in out
    assert geopandas.read_file(work / "own.gpkg").crs.to_epsg() == 32632


def test_refused_words(work):
    args = ["-c", "fields.py", "data.root=data", "--block", "8", "--buffer", "1"]
    for words, line in (
        (["-o", "areas.geojson"], "areas.geojson: is no name of a GeoPackage"),
        (["-o", "a.gpkg", "--shares", "1", "0", "0"], "--shares 1 0 0: at least two splits"),
        (["-o", "a.gpkg", "--folds", "1"], "--folds 1: a cross-validation has at least 2 folds"),
        (["-o", "a.gpkg", "--buffer", "90"], "--buffer 90: the guard bands leave no labeled"),
    ):
        assert line in commands.error_of(TOOL, *args, *words, cwd=work)


def test_help_shows_the_commands():
    assert "--block METERS" in commands.succeed(TOOL, "--help", cwd=ROOT)
