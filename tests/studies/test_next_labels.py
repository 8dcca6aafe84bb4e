"""The study of what to label next: rounds that grow, are not repeated, and know no other labels."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from network.config import Experiment
from network.datasets.segmentation import find_samples
from network.errors import InputError
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.models.checkpoint import SETTINGS_KEY, read_checkpoint
from network.settings import Data, Optim, Teacher
from network.studies import next_labels
from network.studies.next_labels import FIGURE, TABLE, Curve, Rounds, run_study, write_curves
from tests.commands import error_of
from tests.datasets.on_earth.scenes import by_class, dataset, write_regions, write_scene
from tests.rasters.earth import ORIGIN, blocks

ROUNDS = Rounds(size=16, start=2, step=1, count=2, head_start=2)


@pytest.fixture
def base(tmp_path) -> Experiment:
    """Two scenes for training, one for the test; a window has 32 x 32 pixels."""
    for number, name in enumerate("abc"):
        labels, place = blocks(number, 96, 128), ORIGIN @ ORIGIN.translation(200 * number, 0)
        write_scene(tmp_path / f"data/{name}.tif", labels, place)
        write_regions(tmp_path / f"data/{name}.gpkg", labels, place)
    own = {"labels": (by_class("*.gpkg"),)}
    info = dataset(train={"images": ("[ab].tif",), **own}, test={"images": ("c.tif",), **own})
    return Experiment(
        dataset=info,
        model=partial(BiCoRSeg, 3, "test_convnext", weights=None, dim=32),
        loss=partial(BiCoRLoss, 255),
        data=Data(
            root=str(tmp_path / "data"),
            crop=32,
            window=32,
            repeat=6,
            batch_size=2,
            val=None,
            workers=0,
        ),
        optim=Optim(lr=1e-3, epochs=1),
        name="study",
        config="config/study.py",
    )


def test_all_ground_without_labels(base, tmp_path):
    """A teacher sees the ground outside the labeled windows."""
    base = replace(
        base,
        data=replace(base.data, unlabeled="train"),
        teacher=Teacher(weight=1.0),
        optim=replace(base.optim, ema=0.9),
    )
    found = next_labels._Round(base, ROUNDS, "random", 1, 1, tmp_path / "a/b/c", None).experiment
    (windows,) = found.dataset.scenes("train")
    (ground,) = found.dataset.scenes(found.data.unlabeled)
    assert windows.areas is not None
    assert (ground,) == base.dataset.scenes("train")


@pytest.mark.slow
def test_rounds(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "out"
    ways = ["disagreement", "random"]
    curves = run_study(base, ROUNDS, ways, [1], output, "cpu")
    assert [curve.way for curve in curves] == ways
    assert all(curve.scores.shape == (1, 2) for curve in curves)
    first = geopandas.read_file(output / "seed1/first/round1/windows.gpkg")
    assert curves[0].scores[0, 0] == curves[1].scores[0, 0]
    samples = find_samples(base.dataset, base.root, "train")
    for way in ways:
        grown = geopandas.read_file(output / f"seed1/{way}/round2/windows.gpkg")
        assert grown["round"].tolist() == [1, 1, 2]
        assert all(a.equals(b) for a, b in zip(grown.geometry, first.geometry, strict=False))
        shapes = grown.geometry.to_numpy()
        assert shapely.union_all(shapes).area == pytest.approx(3 * 16**2)
        # The labels of the round are those of its windows alone.
        previous = next_labels._Round(base, ROUNDS, way, 1, 1, output / "seed1/first/round1", None)
        folder = output / f"seed1/{way}/round2"
        one = next_labels._Round(base, ROUNDS, way, 1, 2, folder, previous)
        info = one.experiment.dataset
        used = find_samples(info, base.root, "train")
        assert sum(int(s.scene.labels.pixels.sum()) for s in used) == 3 * 32**2
        assert len(used) <= len(samples)
        assert info.splits["test"] == base.dataset.splits["test"]
        # 6 passes over 2 windows, then 4 over 3; and twice as many epochs in the first round.
        assert (previous.experiment.data.repeat, one.experiment.data.repeat) == (6, 4)
        assert (previous.experiment.optim.epochs, one.experiment.optim.epochs) == (2, 1)
        known = read_checkpoint(one.checkpoint)[SETTINGS_KEY]
        assert any("first" in str(value) for value in known.values())  # it began with its weights
    monkeypatch.setattr(next_labels, "train", None)
    monkeypatch.setattr(next_labels, "evaluate_scenes", None)
    again = run_study(base, ROUNDS, ways, [1], output, "cpu")
    for one, other in zip(curves, again, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)

    # Its rounds are scored on the same labels.
    scores = output / "seed1/random/round2/test/scores.json"
    text = scores.read_text()
    digest = next(iter(json.loads(text)["protocol"]["labels_sha256"].values()))
    scores.write_text(text.replace(digest, "0" * 64))
    with pytest.raises(InputError, match="random/round2/test: was tested on other labels than"):
        run_study(base, ROUNDS, ways, [1], output, "cpu")
    scores.write_text(text)

    # Its files belong to this study alone.
    for changed, rounds, words in (
        (base, replace(ROUNDS, size=8), "size 16, not 8"),
        (base, replace(ROUNDS, head_start=1), "head_start 2, not 1"),
        (replace(base, optim=Optim(lr=1e-3, epochs=2)), ROUNDS, r"optim\.epochs 1, not 2"),
    ):
        with pytest.raises(InputError, match=f"out: holds another label study .{words}"):
            run_study(changed, rounds, ways, [1], output, "cpu")


def test_tables(tmp_path):
    """Mean and deviation of each round over the seeds."""
    scores = np.array([[0.2, 0.5], [0.4, 0.5], [0.3, 0.8]])
    curves = [Curve("entropy", scores), Curve("random", scores[:1])]
    write_curves(curves, ROUNDS, tmp_path)
    with (tmp_path / TABLE).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["way"], row["round"], row["windows"], row["seeds"]) for row in rows] == [
        ("entropy", "1", "2", "3"),
        ("entropy", "2", "3", "3"),
        ("random", "1", "2", "1"),
        ("random", "2", "3", "1"),
    ]
    means = [float(row["mean_miou"]) for row in rows]
    np.testing.assert_allclose(means, [0.3, 0.6, 0.2, 0.5])
    deviations = [float(row["std_miou"]) for row in rows]
    np.testing.assert_allclose(deviations, [0.1, np.sqrt(0.03), 0, 0], atol=1e-4)
    assert (tmp_path / FIGURE).is_file()


def test_more_windows_than_there_is_ground(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"size=\S+: round \d+ needs \d+ windows, only \d+ are left"
    ):
        run_study(base, Rounds(size=16, start=40, count=2), ["random"], [1], tmp_path / "out")


def test_folders_have_no_windows(base, tmp_path):
    info = replace(base.dataset, splits={"train": (), "test": ()})
    with pytest.raises(InputError, match="has folders of images and masks, not scenes on Earth"):
        run_study(replace(base, dataset=info), ROUNDS, ["random"], [1], tmp_path)
    with pytest.raises(InputError, match="count=1: must be at least 2"):
        replace(ROUNDS, count=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--seeds", "1", "1"], "--seeds 1 1: give each once"),
        (["--start", "0"], "--start 0: must be at least 1"),
        (["name=a"], "override 'name=a': each run sets this itself"),
    ],
)
def test_wrong_arguments(tmp_path, args, line):
    config = Path(__file__).parents[2] / "config/demo/next_labels.py"
    command = ["-c", str(config), "--size", "20", "-o", "out", *args]
    assert error_of("tools/label_study.py", *command, cwd=tmp_path) == f"error: {line}"
