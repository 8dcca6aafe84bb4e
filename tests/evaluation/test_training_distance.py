"""The distance of tested images to those of the training, by hand, and in the stamp of a test."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
import torch
from affine import Affine

from network import extras
from network.config import load_experiment, settings
from network.datasets.info import VAIHINGEN
from network.datasets.on_earth.files import AreaFile
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, find_samples
from network.evaluation.evaluate import evaluate
from network.evaluation.training_distance import distance_to_training
from network.models.checkpoint import SETTINGS_KEY
from tests.conftest import ROOT
from tests.datasets.checks.test_ground import PATCHES, write_areas, write_patch
from tests.datasets.on_earth.scenes import by_class, dataset, write_regions, write_scene
from tests.rasters.earth import ORIGIN, UTM, blocks
from tests.reporting.test_report import SETTINGS
from tests.scenes import make_dataset

TRAINED = {"data.train": "train", "data.data_set": "patches"}


@pytest.fixture
def patches(tmp_path) -> Path:
    """They lie five meters to the east and twelve to the south of each other."""
    write_patch(tmp_path, "train", "a", ORIGIN)
    write_patch(tmp_path, "train", "far", ORIGIN @ Affine.translation(-1000, 0))
    write_patch(tmp_path, "val", "b", ORIGIN @ Affine.translation(96 + 10, 96 + 24))
    return tmp_path


def distance(root: Path, info: DatasetInfo = PATCHES, **changes) -> float | None:
    samples = find_samples(info, root, "val")
    return distance_to_training(info, root, "val", samples, TRAINED | changes)


def test_patches(patches):
    assert distance(patches) == pytest.approx(13)
    assert distance(patches, **{"data.train": "val"}) == 0


def test_areas_of_scenes(tmp_path):
    labels = blocks(3, 100, 120)
    write_scene(tmp_path / "images/a.tif", labels)
    write_regions(tmp_path / "labels.gpkg", labels)
    write_areas(tmp_path, (slice(0, 100), slice(0, 60)), (slice(0, 100), slice(70, 120)))
    areas = AreaFile(path=Path("areas.gpkg"), attribute="split")
    scenes = {"images": ("images/*.tif",), "labels": (by_class(),)}
    info = dataset(
        **{split: scenes | {"areas": replace(areas, only=(split,))} for split in ("train", "val")}
    )
    assert distance(tmp_path, info, **{"data.data_set": "fields"}) == pytest.approx(5)


def test_what_nobody_knows(patches, monkeypatch):
    assert distance(patches, **{"data.data_set": "another"}) is None
    assert distance(patches, **{"data.train": "all"}) is None
    samples = find_samples(PATCHES, patches, "val")
    assert distance_to_training(PATCHES, patches, "val", samples, None) is None
    no_place = Sample(name="b", image=patches / "val/masks/b.png", size=(96, 96))
    assert distance_to_training(PATCHES, patches, "val", [no_place], TRAINED) is None
    with monkeypatch.context() as patched:
        patched.setattr(extras, "find_spec", lambda module: None)
        assert distance(patches) is None
    shutil.rmtree(patches / "train")
    assert distance(patches) is None


@pytest.mark.slow
def test_in_the_stamp_of_a_test(tmp_path, monkeypatch):
    """Patches of 32 m; between train and test are two columns of half a meter."""
    monkeypatch.chdir(tmp_path)
    root = make_dataset(tmp_path / "data", VAIHINGEN, {"train": 1, "test": 1})
    for split, column in (("train", 0), ("test", 66)):
        (image,) = (root / f"{split}/images_1024").iterdir()
        with rasterio.open(image) as file:
            pixels = file.read()
        place = ORIGIN @ Affine.translation(column, 0)
        options = {"height": 64, "width": 64, "count": 3, "dtype": "uint8", "crs": UTM}
        with rasterio.open(image.with_suffix(".tif"), "w", transform=place, **options) as file:
            file.write(pixels)
        image.unlink()
    config = ROOT / "config/vaihingen/bicor.py"
    experiment = load_experiment(config, [*SETTINGS, f"data.root={root}"])
    weights = experiment.build_model(pretrained=False).state_dict()
    state = {f"model.{name}": value for name, value in weights.items()}
    known = settings(experiment) | {"data.train": "train"}
    torch.save({"state_dict": state, SETTINGS_KEY: known}, "best.ckpt")
    evaluate(
        experiment, checkpoint=Path("best.ckpt"), output=Path("out"), split="test", device="cpu"
    )
    protocol = json.loads(Path("out/scores.json").read_text())["protocol"]
    assert protocol["training_distance"] == pytest.approx(1.0)


def test_splits_of_one_folder(tmp_path):
    """Only the images of a split count, not all that lie in its folder."""
    for name, east in (("a", 0), ("b", 1000)):
        write_patch(tmp_path, "all", name, ORIGIN @ Affine.translation(east, 0))
    (folder,) = PATCHES.splits["train"]
    folder = replace(
        folder, images="all/images", masks=(replace(folder.masks[0], folder="all/masks"),)
    )
    splits = {"train": (replace(folder, only=("a",)),), "val": (replace(folder, only=("b",)),)}
    assert distance(tmp_path, replace(PATCHES, splits=splits)) == pytest.approx((1000 - 96) / 2)
