"""Cross-validation: what each fold trains on, and means, deviations and pooled counts by hand."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from network.config import load_experiment
from network.datasets.on_earth.split import all_scenes, fold_scenes, write_division
from network.datasets.segmentation import find_samples
from network.errors import InputError
from network.evaluation.records import read_records
from network.evaluation.scores import compute_scores
from network.studies.cross_validation import claim_output, count_folds, fold_experiment
from tests.commands import error_of, succeed
from tests.datasets.on_earth.scenes import by_class, write_features, write_regions, write_scene
from tests.rasters.earth import blocks
from tests.test_commands import OVERRIDES
from tests.tools.test_split_scenes import CONFIG

SMALL = [*OVERRIDES, "data.workers=0", "optim.lookahead=False", "data.window=64"]


@pytest.fixture
def work(tmp_path) -> Path:
    """A scene with three folds."""
    labels = blocks(3, 128, 96)
    write_scene(tmp_path / "data/images/a.tif", labels)
    write_regions(tmp_path / "data/labels.gpkg", labels)
    (tmp_path / "fields.py").write_text(CONFIG)
    experiment = load_experiment(tmp_path / "fields.py", [f"data.root={tmp_path}/data"])
    scenes = all_scenes(experiment.dataset, experiment.root)
    folds = fold_scenes(scenes, block=8, buffer=1, folds=3)
    write_division(folds, tmp_path / "folds.gpkg")
    return tmp_path


def test_what_a_fold_trains_on(work):
    """The three splits of a fold have other pixels, and the tested ones are all pixels together."""
    base = load_experiment(work / "fields.py", [f"data.root={work}/data"])
    assert count_folds(work / "folds.gpkg") == 3
    tested = np.zeros(3, int)
    names = set()
    for fold in range(3):
        experiment = fold_experiment(base, work / "folds.gpkg", fold)
        names.add(experiment.name)
        assert (experiment.data.train, experiment.data.val) == ("train", "val")
        pixels = {}
        for split in ("train", "val", "test"):
            (sample,) = find_samples(experiment.dataset, experiment.root, split)
            pixels[split] = sample.scene.labels.pixels
        tested += pixels["test"]
        assert sum(map(sum, pixels.values())) < 128 * 96  # there are guard bands
    assert len(names) == 3
    assert tested.sum() == 128 * 96


@pytest.fixture
def two(work) -> Path:
    """A scene with two folds, of which none is a val split."""
    base = load_experiment(work / "fields.py", [f"data.root={work}/data"])
    scenes = all_scenes(base.dataset, base.root)
    write_division(fold_scenes(scenes, block=8, buffer=1, folds=2), work / "two.gpkg")
    return work


def test_two_folds_have_no_val_split(two):
    work, base = two, load_experiment(two / "fields.py", [f"data.root={two}/data"])
    assert fold_experiment(base, work / "two.gpkg", 0).data.val is None


def test_splits_with_other_labels_of_the_same_images(work):
    base = load_experiment(work / "fields.py", [f"data.root={work}/data"])
    (scenes,) = base.dataset.scenes("train")
    other = replace(scenes, labels=(by_class("official.gpkg"),))
    info = replace(base.dataset, splits=base.dataset.splits | {"test": (other,)})
    with pytest.raises(InputError, match=r"split 'test' has other labels for images/\*\.tif"):
        fold_experiment(replace(base, dataset=info), work / "folds.gpkg", 0)


def test_each_split_keeps_its_border(work):
    """A training that ignores borders of classes does not spare the test these pixels."""
    base = load_experiment(work / "fields.py", [f"data.root={work}/data"])
    (scenes,) = base.dataset.scenes("train")
    splits = {
        split: (replace(scenes, border=border),)
        for split, border in (("train", 2), ("val", 1), ("test", 0))
    }
    base = replace(base, dataset=replace(base.dataset, splits=splits))
    info = fold_experiment(base, work / "folds.gpkg", 0).dataset
    assert [info.scenes(split)[0].border for split in splits] == [2, 1, 0]
    # Images of another resolution have another border.
    for name in "bc":
        (work / f"data/images/{name}.tif").write_bytes((work / "data/images/a.tif").read_bytes())
    a, b, c = (replace(scenes, images=(f"images/{name}.tif",)) for name in "abc")
    splits["test"] = (replace(a, border=0), replace(b, border=3))
    splits["train"] = splits["val"] = (replace(a, border=2), replace(b, border=5))
    base = replace(base, dataset=replace(base.dataset, splits=splits))
    info = fold_experiment(base, work / "folds.gpkg", 0).dataset
    found = {split: [one.border for one in info.scenes(split)] for split in splits}
    assert found == {"train": [2, 5], "val": [2, 5], "test": [0, 3]}
    splits["train"] += (c,)
    base = replace(base, dataset=replace(base.dataset, splits=splits))
    with pytest.raises(InputError, match=r"split 'val' has border=2 and .* images/c\.tif"):
        fold_experiment(base, work / "folds.gpkg", 0)


def test_images_that_several_patterns_name(work):
    """Each of them is in the folds once."""
    base = load_experiment(work / "fields.py", [f"data.root={work}/data"])
    (work / "data/images/b.tif").write_bytes((work / "data/images/a.tif").read_bytes())
    (scenes,) = base.dataset.scenes("train")
    named = {"train": ("images/b.tif",), "val": ("images/a.tif", "images/b.tif")}
    splits = {split: (replace(scenes, images=images),) for split, images in named.items()}
    splits["test"] = (scenes,)
    base = replace(base, dataset=replace(base.dataset, splits=splits))
    info = fold_experiment(base, work / "folds.gpkg", 0).dataset
    assert [one.images for one in info.scenes("test")] == [("images/b.tif",), ("images/a.tif",)]
    splits["val"] = (replace(scenes, images=named["val"], bands=(1, 2, 3)),)
    base = replace(base, dataset=replace(base.dataset, splits=splits))
    with pytest.raises(InputError, match=r"a split with b\.tif has other bands for"):
        fold_experiment(base, work / "folds.gpkg", 0)


def test_a_folder_of_another_study_is_refused_before_any_training(work):
    base = load_experiment(work / "fields.py", [f"data.root={work}/data"])
    for _ in range(2):
        claim_output(work / "out", base, work / "folds.gpkg")
    other = replace(base, optim=replace(base.optim, lr=0.5))
    with pytest.raises(InputError, match=r"out: holds another cross validation study \(optim.lr"):
        claim_output(work / "out", other, work / "folds.gpkg")


def test_files_without_folds(work):
    write_features(work / "areas.gpkg", [], split=[])
    with pytest.raises(InputError, match="has no layer"):
        count_folds(work / "areas.gpkg")


@pytest.mark.slow
def test_a_cross_validation(two):
    """Mean, deviation and pooled scores against those of the counts; a second run does nothing."""
    work = two
    args = ["-c", "fields.py", "-a", "two.gpkg", "-o", "out", "--accelerator", "cpu", *SMALL]
    out = succeed("tools/cross_validate.py", *args, cwd=work)
    document = json.loads((work / "out/cross_validation.json").read_text())
    (kind,) = document["scores"]
    found = document["scores"][kind]
    info = load_experiment(work / "fields.py").dataset
    matrices = [
        sum(r.counts[kind].matrix for r in read_records(work / f"out/fold_{fold}").values())
        for fold in range(2)
    ]
    assert sum(matrices).sum() == 128 * 96  # each pixel is tested once
    mious = [compute_scores(matrix, info).overall["mIoU"] for matrix in matrices]
    assert [one["mIoU"] for one in found["folds"]] == pytest.approx(mious)
    assert found["mean"]["mIoU"] == pytest.approx(np.mean(mious))
    assert found["std"]["mIoU"] == pytest.approx(np.std(mious, ddof=1))
    pooled = compute_scores(sum(matrices), info)
    assert found["pooled"]["mIoU"] == pytest.approx(pooled.overall["mIoU"])
    assert found["pooled"]["IoU house"] == pytest.approx(pooled.by_class["IoU"][1])
    assert f"{100 * np.mean(mious):.2f}" in out
    with (work / "out/cross_validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["0", "1", "mean", "std", "pooled"]
    assert float(rows[-1]["mIoU"]) == pytest.approx(pooled.overall["mIoU"])
    checkpoints = {p: p.stat().st_mtime_ns for p in (work / "model_weights").rglob("*.ckpt")}
    assert succeed("tools/cross_validate.py", *args, cwd=work).count("fold ") == out.count("fold ")
    assert {
        p: p.stat().st_mtime_ns for p in (work / "model_weights").rglob("*.ckpt")
    } == checkpoints
    distances = [
        json.loads((work / f"out/fold_{fold}/scores.json").read_text())["protocol"][
            "training_distance"
        ]
        for fold in range(2)
    ]
    assert min(distances) >= 1  # the guard band of one meter
    wrong = error_of("tools/cross_validate.py", *args, "data.val=train", cwd=work)
    assert "each fold sets this itself" in wrong


def test_images_that_splits_leave_out(work):
    """The images of all splits are in the folds, except those that no split has."""
    base = load_experiment(work / "fields.py", [f"data.root={work}/data"])
    (scenes,) = base.dataset.splits["train"]
    left_out = {"train": ("b", "c", "old"), "val": ("a", "c", "old"), "test": ("a", "b", "old")}
    splits = {
        split: (replace(scenes, leave_out=tuple(f"images/{n}.tif" for n in names)),)
        for split, names in left_out.items()
    }
    base = replace(base, dataset=replace(base.dataset, splits=splits))
    info = fold_experiment(base, work / "folds.gpkg", 0).dataset
    for split in ("train", "val", "test"):
        (found,) = info.scenes(split)
        assert found.leave_out == ("images/old.tif",)
