"""Runs side by side: what is grouped, what is refused, and the numbers by statistics and hand."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from network.datasets.info import VAIHINGEN
from network.engine.comparison import common_kinds, compare, paired_differences, read_models
from network.engine.comparison_tables import to_csv, to_latex, to_markdown
from network.engine.records import Counter, ImageRecord, add_record
from network.engine.results import write_results
from network.engine.summary import summarize
from network.errors import InputError

STAMP = {
    "data_set": "vaihingen",
    "split": "test",
    "trained_on": False,
    "chosen_on": False,
    "images": 6,
    "masks": {kind: {"padding_policy": "ignore", "tiling": "all"} for kind in ("eroded", "full")},
    "classes": list(VAIHINGEN.classes),
    "classes_in_mean": list(VAIHINGEN.classes[:5]),
    "tta": "none",
    "views": 1,
    "boundary_tolerance": 3,
}


def make_result(folder: Path, seed: int = 1, skill: float = 0.5, truth: int = 0, **changes) -> Path:
    """A folder as a test script leaves it, of a model that is right on ``skill`` of the pixels."""
    training = {"data.train": "train", "optim.lr": 1.0, "seed": seed}
    protocol = STAMP | {
        "checkpoint_sha256": f"{seed}/{skill}",
        "seed": seed,
        "settings": {"name": "ours"},
        "training": training,
    }
    protocol |= changes
    folder.mkdir(parents=True)
    records = []
    for index in range(protocol["images"]):
        labels = torch.from_numpy(np.random.default_rng([truth, index]).integers(0, 7, (16, 20)))
        rng = np.random.default_rng([seed, index])
        noise = torch.from_numpy(rng.integers(0, 6, labels.shape))
        is_right = torch.from_numpy(rng.random(labels.shape) < skill) & (labels < 6)
        prediction = torch.where(is_right, labels, noise)
        sure = torch.full(labels.shape, skill)
        counts = Counter(VAIHINGEN, 3).count(sure, prediction, labels.byte(), (0, 0))
        records.append(ImageRecord(str(index), dict.fromkeys(protocol["masks"], counts)))
        add_record(folder, records[-1])
    summaries = {kind: summarize(records, kind, VAIHINGEN) for kind in protocol["masks"]}
    write_results(folder, protocol, summaries)
    return folder


@pytest.fixture
def three(tmp_path) -> list[str]:
    return [str(make_result(tmp_path / f"run{seed}", seed)) for seed in (1, 2, 3)]


def test_seeds_are_one_row(three):
    (model,) = read_models(three)
    assert (model.name, model.seeds) == ("ours", [1, 2, 3])
    comparison = compare([model], "full", per_class="IoU")
    scores = [json.loads((Path(f) / "scores.json").read_text())["scores"]["full"] for f in three]
    for column, cell in zip(comparison.columns, comparison.cells[0], strict=True):
        name = column.removeprefix("IoU ")
        values = [s["classes"][name]["IoU"] if name != column else s[column] for s in scores]
        assert cell.mean == pytest.approx(statistics.mean(values))
        assert cell.std == pytest.approx(statistics.stdev(values))
    assert "IoU Clutter" in comparison.columns
    assert comparison.protocol["masks"] == "full"
    assert comparison.best == [None] * len(comparison.columns)  # one row is no contest


def test_one_run_has_no_deviation(tmp_path, three):
    better = make_result(tmp_path / "better", seed=9, skill=0.8)
    models = read_models([*three, f"better={better}"])
    comparison = compare(models, "eroded")
    cells = dict(zip(comparison.columns, comparison.cells[1], strict=True))
    assert cells["mIoU"].std is None
    assert dict(zip(comparison.columns, comparison.best, strict=True))["mIoU"] == 1
    assert "mean_boundary_IoU" not in comparison.columns  # eroded masks have no boundaries
    markdown = to_markdown(comparison)
    assert f"**{100 * cells['mIoU'].mean:.2f}**" in markdown
    assert "ours" in markdown
    assert "±" in markdown
    assert "NOT COMPARABLE" not in markdown


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"tta": "d4", "views": 40}, "TTA"),
        ({"split": "val"}, "split"),
        ({"trained_on": True}, "split"),
        ({"chosen_on": None}, "split"),
        ({"classes_in_mean": list(VAIHINGEN.classes)}, "mean over"),
        ({"training": {"data.train": "train_val", "seed": 1}}, "trained on"),
        ({"training": None}, "trained on"),
        ({"boundary_tolerance": 5}, "boundary tolerance"),
        ({"masks": {"full": {"padding_policy": "geoseg", "tiling": "all"}}}, "padding"),
    ],
)
def test_other_protocols_are_refused_or_named(tmp_path, change, name):
    one = make_result(tmp_path / "one")
    other = make_result(tmp_path / "other", skill=0.7, **change)
    models = read_models([str(one), f"100% & more={other}"])
    assert common_kinds(models)[-1] == "full"
    with pytest.raises(InputError, match=f"different protocols.*{name} .*--mix-protocols"):
        compare(models, "full")
    comparison = compare(models, "full", mixed=True)
    assert list(comparison.differences) == [name]
    assert set(comparison.best) == {None}  # nothing is best among what cannot be compared
    for text in (to_markdown(comparison), to_latex(comparison)):
        assert "ROWS ARE NOT COMPARABLE" in text
        assert name in text
    assert "100\\% \\& more" in to_latex(comparison)
    assert ",False,mIoU," in to_csv([comparison])


def test_runs_of_one_model_must_be(tmp_path):
    one = make_result(tmp_path / "one")
    training = {"data.train": "train", "optim.lr": 2.0, "seed": 2}
    other = make_result(tmp_path / "other", seed=2, training=training)
    with pytest.raises(InputError, match=r"other: optim.lr is 2.0, in .*one 1.0.*name them apart"):
        read_models([str(one), str(other)])
    assert len(read_models([str(one), f"fast={other}"])) == 2
    tta = make_result(tmp_path / "tta", seed=3, tta="d4")
    with pytest.raises(InputError, match="tta: TTA"):
        read_models([str(one), str(tta)])
    with pytest.raises(InputError, match="same checkpoint"):
        read_models([str(one), str(one)])


def test_results_without_a_stamp(tmp_path):
    with pytest.raises(InputError, match=r"scores.json: no such file"):
        read_models([str(tmp_path)])
    for text in ("{", "[]", '{"scores": {"full": {}}}', '{"protocol": {}, "scores": {"full": {}}}'):
        (tmp_path / "scores.json").write_text(text)
        with pytest.raises(InputError, match="no complete protocol stamp"):
            read_models([str(tmp_path)])


def test_no_common_masks(tmp_path):
    masks = {kind: STAMP["masks"][kind] for kind in ("eroded",)}
    one = make_result(tmp_path / "one", masks=masks)
    other = make_result(tmp_path / "b", seed=2, masks={"full": STAMP["masks"]["full"]})
    with pytest.raises(InputError, match="no kind of labels"):
        common_kinds(read_models([f"a={one}", f"b={other}"]))


def test_paired_differences(tmp_path, three):
    better = make_result(tmp_path / "better", seed=9, skill=0.6)
    same = make_result(tmp_path / "same", seed=1, skill=0.5, checkpoint_sha256="copy")
    models = read_models([f"ours={three[0]}", f"better={better}", f"same={same}"])
    found = {(d.other, d.score): d for d in paired_differences(models, "full")}
    scores = [json.loads((Path(f) / "scores.json").read_text()) for f in (three[0], better)]
    for score in ("mIoU", "OA"):
        d = found["better", score]
        expected = scores[1]["scores"]["full"][score] - scores[0]["scores"]["full"][score]
        assert d.difference == pytest.approx(expected)
        assert d.low < d.difference < d.high
        assert d.is_clear
        d = found["same", score]
        assert (d.difference, d.low, d.high) == (0, 0, 0)
        assert not d.is_clear


def test_pairs_need_the_same_truth(tmp_path):
    one = make_result(tmp_path / "one")
    other = make_result(tmp_path / "other", skill=0.7, truth=1)
    with pytest.raises(InputError, match="other full masks"):
        paired_differences(read_models([f"a={one}", f"b={other}"]), "full")
    fewer = make_result(tmp_path / "fewer", skill=0.7)
    lines = (fewer / "images.jsonl").read_text().splitlines(keepends=True)
    (fewer / "images.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match="counts of 5 images, the result is of 6"):
        paired_differences(read_models([f"a={one}", f"b={fewer}"]), "full")
    (fewer / "images.jsonl").write_text("".join([*lines[:-1], lines[-1].replace('"5"', '"x"')]))
    with pytest.raises(InputError, match="other images"):
        paired_differences(read_models([f"a={one}", f"b={fewer}"]), "full")
