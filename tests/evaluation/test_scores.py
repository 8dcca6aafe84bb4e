"""The table of scores: values by hand, and a new entry that shows in everything that is written."""

import csv
import json
import sys

import numpy as np
import pytest
import torch

from network.commands import compare_runs
from network.errors import InputError
from network.evaluation import scores
from network.evaluation.calibration import BINS
from network.evaluation.evaluate import evaluate
from network.evaluation.records import Counter, ImageRecord
from network.evaluation.results import print_results, read_result
from network.evaluation.scores import (
    MAIN,
    SCORES,
    Pooled,
    Score,
    pooled_scores,
    ratio,
    ratios,
)
from network.evaluation.summary import summarize
from network.reporting.comparison import compare, read_models
from network.reporting.comparison_tables import to_csv, to_markdown
from tests.evaluation.test_metrics import TWO
from tests.reporting.test_comparison import make_result
from tests.reporting.test_report import Finished, make_test


def kappa(counts: Pooled) -> float | None:
    """Agreement beyond chance (Cohen 1960)."""
    total = counts.matrix.sum()
    by_chance = ratio((counts.truth * counts.predicted).sum(), total**2)
    if by_chance in (None, 1):
        return None
    return (counts.hits.sum() / total - by_chance) / (1 - by_chance)


def specificity(counts: Pooled) -> tuple[float | None, ...]:
    """Share of the pixels of other classes that are not called this one."""
    others = counts.matrix.sum() - counts.truth
    return ratios(others - (counts.predicted - counts.hits), others)


def worst_gap(counts: Pooled) -> float | None:
    """Largest gap of confidence and accuracy, of the bins that have pixels."""
    pixels, confidence, correct = counts.calibration
    filled = pixels > 0
    gaps = np.abs(confidence - correct)[filled] / pixels[filled]
    return float(gaps.max()) if filled.any() else None


NEW = (
    Score("agreement", "agreement", kappa),
    Score("specificity", "specificity", specificity, per_class=True, mean="mean_specificity"),
    Score("worst_gap", "MCE", worst_gap, lower_is_better=True, of_matrix=False, in_rows=False),
)


def pooled(matrix, boundary=None, calibration=None) -> Pooled:
    return Pooled(
        info=TWO,
        kind="full",
        matrix=np.array(matrix, float),
        boundary=np.zeros((6, 2)) if boundary is None else np.array(boundary),
        calibration=np.zeros((3, BINS)) if calibration is None else calibration,
    )


def test_every_score_by_hand():
    """Of class a 6 pixels are right, 2 called b; of b 1 is called a, 3 are right."""
    calibration = np.zeros((3, BINS))
    calibration[:, 7], calibration[:, 14] = (2, 1.0, 2), (10, 9.5, 7)
    boundary = [[4, 1], [8, 3], [5, 2], [4, 1], [8, 0], [6, 0]]
    found = pooled_scores(pooled([[6, 2], [1, 3]], boundary, calibration))
    by_class = {
        "IoU": pytest.approx((6 / 9, 3 / 6)),
        "F1": pytest.approx((12 / 15, 6 / 9)),
        "precision": pytest.approx((6 / 7, 3 / 5)),
        "recall": pytest.approx((6 / 8, 3 / 4)),
        "boundary_IoU": pytest.approx((4 / 8, 1 / 3)),
        "boundary_F1": pytest.approx((2 * 0.8 * 0.75 / 1.55, 0)),
    }
    assert {name: found.by_class[name] for name in by_class} == by_class
    overall = {
        "mIoU": (6 / 9 + 3 / 6) / 2,
        "mF1": (12 / 15 + 6 / 9) / 2,
        "OA": 9 / 12,
        "mIoU_all_classes": (6 / 9 + 3 / 6) / 2,
        "mF1_all_classes": (12 / 15 + 6 / 9) / 2,
        "mean_boundary_IoU": (4 / 8 + 1 / 3) / 2,
        "mean_boundary_F1": 0.8 * 0.75 / 1.55,
        "calibration_error": (1 + 2.5) / 12,
    }
    assert {name: found.overall[name] for name in overall} == pytest.approx(overall)
    assert found.absent == ()


def test_new_scores_by_hand():
    """Chance alone would be right on (8 * 7 + 4 * 5) of 144 pairs."""
    found = pooled_scores(pooled([[6, 2], [1, 3]]), NEW)
    assert found.overall["agreement"] == pytest.approx((9 / 12 - 76 / 144) / (1 - 76 / 144))
    assert found.by_class["specificity"] == pytest.approx((3 / 4, 6 / 8))
    assert found.overall["worst_gap"] is None


def test_nothing_counted():
    found = pooled_scores(pooled([[0, 0], [0, 0]]))
    assert set(found.overall.values()) == {None}
    assert {value for values in found.by_class.values() for value in values} == {None}
    assert found.absent == ("a", "b")


def test_the_table():
    names = [score.name for score in SCORES]
    keys = [key for key in (s.overall for s in SCORES) if key]
    assert len({*names, *keys}) == len(names) + len([s for s in SCORES if s.mean])
    assert set(MAIN) <= set(keys)
    assert set(scores.drawn_scores((0, 1))) == {"mIoU", "OA"}
    with pytest.raises(ValueError, match="mean_agreement cannot be its mean"):
        Score("agreement", "agreement", kappa, mean="mean_agreement")


def test_order_of_old_files_stays(tmp_path):
    """What other programs read by position; new scores may stand between."""
    finished = make_test(tmp_path)
    found = json.loads((finished.folder / "scores.json").read_text())["scores"]["full"]
    keys = [
        *("mIoU", "mF1", "OA", "mIoU_all_classes", "mF1_all_classes"),
        *("mean_boundary_IoU", "mean_boundary_F1", "calibration_error"),
        *("intervals_95", "classes", "absent"),
        *("padding_is_labeled", "other_padding", "worst_images"),
    ]
    assert [key for key in found if key in keys] == keys
    columns = ["IoU", "F1", "precision", "recall", "boundary_IoU", "boundary_F1"]
    for values in found["classes"].values():
        assert list(values)[: len(columns)] == columns
    with (finished.folder / "scores.csv").open() as file:
        head = next(csv.reader(file))
    assert [name for name in head if name in (*columns, "OA")] == [*columns, "OA"]


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Finished:
    """A test from before the new scores."""
    return make_test(tmp_path_factory.mktemp("old"))


@pytest.fixture
def more(monkeypatch) -> None:
    monkeypatch.setattr(scores, "SCORES", (*SCORES, *NEW))


@pytest.mark.usefixtures("more")
def test_one_entry_shows_everywhere(old, tmp_path, monkeypatch, capsys):
    evaluate(
        old.experiment,
        checkpoint=old.folder.parent / "best.ckpt",
        output=tmp_path / "out",
        split="test",
        device="cpu",
    )
    printed = capsys.readouterr().out
    # 1: scores.json
    found = json.loads((tmp_path / "out/scores.json").read_text())["scores"]["full"]
    assert -1 < found["agreement"] < 1
    assert 0 < found["mean_specificity"] < 1
    assert found["classes"]["Car"].keys() > {"specificity"}
    kappa, gap, mean = (
        f"{100 * found[key]:.2f}" for key in ("agreement", "worst_gap", "mean_specificity")
    )
    # 2: scores.csv
    with (tmp_path / "out/scores.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file) if row["labels"] == "full"}
    assert float(rows["mean of 5"]["agreement"]) == found["agreement"]
    assert float(rows["mean of 5"]["specificity"]) == found["mean_specificity"]
    assert float(rows["Car"]["specificity"]) == found["classes"]["Car"]["specificity"]
    # 3: the printed table
    head = next(line for line in printed.splitlines() if "┃ class" in line)
    assert "specificity" in head
    (line,) = {line for line in printed.splitlines() if "│ agreement" in line}
    assert kappa in line
    assert any(mean in line for line in printed.splitlines() if "mean of 5" in line)
    assert f"worst gap {gap}; boundary F1 within 3 pixels" in printed
    # 4: the comparison of runs, one of which is older
    runs = [f"old={old.folder}", f"new={tmp_path / 'out'}"]
    comparison = compare(read_models(runs), "full", per_class="specificity", mixed=True)
    assert {"agreement", "mean_specificity", "worst_gap", "specificity Car"} < {*comparison.columns}
    column = comparison.columns.index("agreement")
    assert [row[column].mean for row in comparison.cells] == [None, found["agreement"]]
    text = to_markdown(comparison)
    assert "| agreement | specificity |" in text.replace("ECE | ", "")
    assert "| MCE |" in text
    assert f"| {kappa} |" in text
    assert ",worst_gap," in to_csv([comparison])
    monkeypatch.setattr(sys, "argv", ["compare_runs.py", *runs, "--per-class", "specificity"])
    assert compare_runs.make_parser("").parse_args().per_class == "specificity"
    # 5: the report
    page = Finished(old.experiment, tmp_path / "out").write(tmp_path / "report.html").read_text()
    assert f"<dt>agreement</dt><dd>{kappa}" in page
    assert f"<dt>Worst gap</dt><dd>{gap}" in page
    assert ">specificity</button>" in page
    assert f'<th scope="row">agreement</th><td>{kappa}</td>' in page


@pytest.mark.usefixtures("more")
def test_best_is_lowest_where_errors_are_compared(tmp_path):
    """Of two models under one protocol, the surer one is wrong more often."""
    runs = [f"{skill}={make_result(tmp_path / str(skill), skill=skill)}" for skill in (0.9, 0.3)]
    comparison = compare(read_models(runs), "full")
    best = dict(zip(comparison.columns, comparison.best, strict=True))
    by_column = dict(zip(comparison.columns, zip(*comparison.cells, strict=True), strict=True))
    for key in ("agreement", "worst_gap", "calibration_error"):
        means = [cell.mean for cell in by_column[key]]
        assert best[key] == means.index((max if key == "agreement" else min)(means))


@pytest.mark.usefixtures("more")
def test_a_file_from_before_reads_as_none(old):
    found = read_result(old.folder).scores["full"]
    assert found.overall["agreement"] is None
    assert found.by_class["specificity"] == (None,) * 6
    assert None not in found.by_class["IoU"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("mIoU"), r"scores.full.mIoU: Field required"),
        (lambda s: s["classes"]["Car"].pop("IoU"), r"scores.full.classes.Car.IoU: Field required"),
        (lambda s: s.update(mean_boundary_F1="1"), r".*boundary_F1: Input should be a valid numb"),
        (lambda s: s["classes"]["Car"].update(recall=[]), r".*Car.recall: Input should be"),
        (lambda s: s.pop("mean_boundary_F1"), None),
    ],
)
def test_damaged_scores(old, tmp_path, change, words):
    document = json.loads((old.folder / "scores.json").read_text())
    change(document["scores"]["full"])
    (tmp_path / "scores.json").write_text(json.dumps(document))
    if words is None:
        assert read_result(tmp_path).scores["full"].overall["mean_boundary_F1"] is None
        return
    with pytest.raises(InputError, match=rf"no complete protocol stamp \({words}"):
        read_result(tmp_path)


def test_means_without_all_classes(old, capsys):
    """A row for the scored classes, and one for all of them where these are more."""
    counts = Counter(TWO, 1).count(
        None, torch.zeros(4, 4, dtype=torch.int64), torch.zeros(4, 4).byte(), (0, 0)
    )
    summary = summarize([ImageRecord("a", {"full": counts})], "full", TWO)
    assert [name for name, _ in summary.scores.mean_rows()] == ["mean of 1, 1 absent"]
    protocol = read_result(old.folder).protocol
    print_results(protocol, {"full": summary})
    out = capsys.readouterr().out
    assert "mean of all" not in out
    assert "left out, neither in truth nor in prediction: b" in out
