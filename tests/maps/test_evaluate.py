"""Tests of scenes: the scores of whole images, whatever the windows, and a run that goes on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.evaluation.records import read_records
from network.evaluation.results import read_result
from network.maps.evaluate import evaluate_scenes
from network.maps.run import predict_images
from network.reporting import gallery
from network.reporting.page import write_report
from network.training.train import train
from tests.datasets.on_earth.scenes import write_regions, write_scene
from tests.datasets.test_scene_windows import experiment_of
from tests.rasters.earth import ORIGIN, blocks


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An experiment of scenes and its checkpoint."""
    root = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        experiment = experiment_of(root / "data", held_out=(150, 230))
        return experiment, (root / train(experiment, accelerator="cpu") / "best.ckpt")


def run(trained, output: Path, **options):
    experiment, checkpoint = trained
    summaries = evaluate_scenes(
        experiment, checkpoint=checkpoint, output=output, split="test", device="cpu", **options
    )
    return summaries["full"].scores.overall


@pytest.mark.slow
def test_scores_are_those_of_whole_images(trained, tmp_path):
    experiment, checkpoint = trained
    scores = run(trained, tmp_path / "maps")
    whole = evaluate(
        experiment, checkpoint=checkpoint, output=tmp_path / "masks", split="test", device="cpu"
    )
    counts = [read_records(tmp_path / name)["b"].counts["full"] for name in ("maps", "masks")]
    np.testing.assert_array_equal(counts[0].matrix, counts[1].matrix)
    np.testing.assert_array_equal(counts[0].boundary, counts[1].boundary)
    assert counts[0].matrix.sum() == 150 * 230
    expected = whole["full"].scores.overall
    assert scores.keys() == expected.keys()
    for name, score in scores.items():
        # Maps keep the confidence in steps of 0.004.
        assert score == pytest.approx(expected[name], abs=0.004 * (name == "calibration_error")), (
            name
        )
    stamp = read_result(tmp_path / "maps").protocol
    assert "in windows of 1024 x 1024 with a halo of 128" in stamp.masks["full"].tiling
    assert stamp.trained_on is not None


@pytest.mark.slow
def test_a_scene_of_which_no_pixel_counts(trained, tmp_path, capsys):
    """It has a record, so that results can be compared image by image."""
    experiment, checkpoint = trained
    (scenes,) = experiment.dataset.scenes("test")
    root = tmp_path / "data"
    shutil.copytree(experiment.root, root)
    labels = blocks(5, 64, 64)
    place = ORIGIN @ ORIGIN.translation(600, 0)
    write_scene(root / "c.tif", np.where(np.arange(64) < 32, labels, 255), place)
    write_regions(root / "c.gpkg", labels, place)
    with rasterio.open(root / "c.tif", "r+") as file:
        file.write_mask(np.zeros((64, 64), bool))
    splits = experiment.dataset.splits | {"test": (replace(scenes, images=("b.tif", "c.tif")),)}
    experiment = replace(
        experiment,
        dataset=replace(experiment.dataset, splits=splits),
        data=replace(experiment.data, root=str(root)),
    )
    run((experiment, checkpoint), tmp_path / "out", window=64, halo=0)
    assert "so it does not count" in capsys.readouterr().err
    records = read_records(tmp_path / "out")
    assert records.keys() == {"b", "c"}
    assert records["c"].counts["full"].matrix.sum() == 0


@pytest.mark.slow
def test_pixels_of_another_size_than_in_the_training(trained, tmp_path, capsys):
    """The checkpoint knows their size. A map, a test of scenes and one of whole images tell."""
    experiment, checkpoint = trained
    root, labels = tmp_path / "data", blocks(5, 64, 64)
    place = ORIGIN @ ORIGIN.scale(2)
    root.mkdir()
    write_scene(root / "b.tif", labels, place)
    write_regions(root / "b.gpkg", labels, place)
    coarse = replace(experiment, data=replace(experiment.data, root=str(root)))
    means = {"checkpoint": checkpoint, "device": "cpu"}
    told = f"{root / 'b.tif'} has pixels of 1 m on the ground, and the network was trained on"
    run((coarse, checkpoint), tmp_path / "maps")
    assert capsys.readouterr().err.count(f"{told} pixels of 0.5 m") == 1
    evaluate(coarse, output=tmp_path / "masks", split="test", **means)
    assert capsys.readouterr().err.count(told) == 1
    predict_images(coarse, images=[root / "b.tif"], output=tmp_path / "one", **means)
    assert capsys.readouterr().err.count(told) == 1
    run(trained, tmp_path / "same")
    assert "on the ground" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_test_goes_on_and_notices_other_settings(trained, tmp_path):
    first = run(trained, tmp_path / "out", window=64, halo=0)
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert {"b.tif", "b_confidence.tif", "scores.json", "images.jsonl"} <= set(files)
    written = (tmp_path / "out/b.tif").stat().st_mtime_ns
    (tmp_path / "out/scores.json").unlink()
    assert run(trained, tmp_path / "out", window=64, halo=0) == first
    assert (tmp_path / "out/b.tif").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="window"):
        run(trained, tmp_path / "out", window=96, halo=0)
    run(trained, tmp_path / "out", window=96, halo=0, overwrite=True)


@pytest.mark.slow
def test_areas_without_any_label(trained, tmp_path):
    experiment, checkpoint = trained
    (scenes,) = experiment.dataset.splits["test"]
    info = replace(
        experiment.dataset,
        splits={**experiment.dataset.splits, "test": (replace(scenes, labels=()),)},
    )
    unlabeled = replace(experiment, dataset=info)
    assert (
        evaluate_scenes(
            unlabeled, checkpoint=checkpoint, output=tmp_path / "out", split="test", device="cpu"
        )
        == {}
    )
    assert (tmp_path / "out/b.tif").is_file()


@pytest.mark.slow
def test_the_report_of_scenes(trained, tmp_path, monkeypatch):
    """Its pictures are windows of the scene and of its map; a small scene is one window."""
    experiment, _ = trained
    run(trained, tmp_path / "out")
    for side, groups in ((64, ["Worst windows", "Typical windows", "Best windows"]), (256, [])):
        monkeypatch.setattr(gallery, "SIDE", side)
        page = tmp_path / f"{side}.html"
        write_report(experiment, tmp_path / "out", page, images=6, device="cpu")
        text = page.read_text()
        assert [title for title in groups if f"<h3>{title}</h3>" in text] == groups
        assert text.count('class="stage"') == (6 if groups else 1)
        assert ("<figcaption>b, row " in text) == bool(groups)
        assert '<table class="heat">' in text
    (tmp_path / "out/b.tif").unlink()
    with pytest.raises(InputError, match=r"b\.tif: no prediction of this image"):
        write_report(experiment, tmp_path / "out", tmp_path / "none.html", device="cpu")
    assert not (tmp_path / "none.html").exists()
