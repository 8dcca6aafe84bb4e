"""tools/compare_runs.py as a process: tables of real folders, and wrong input."""

import csv
import json
import sys

import pytest

from network.commands import compare_runs
from network.errors import InputError
from tests.commands import error_of, succeed
from tests.reporting.test_comparison import make_result

pytestmark = pytest.mark.slow

TOOL = "tools/compare_runs.py"


def test_tables(tmp_path):
    for seed in (1, 2):
        make_result(tmp_path / f"ours{seed}", seed)
    make_result(tmp_path / "theirs", 3, skill=0.7)
    outputs = [word for end in ("md", "tex", "csv") for word in ("-o", f"tables/all.{end}")]
    runs = ["ours1", "ours2", "theirs=theirs"]
    out = succeed(TOOL, *runs, *outputs, "--paired", "--per-class", "F1", cwd=tmp_path)
    assert "theirs - ours: mIoU" in out
    assert "masks: eroded" in out
    assert "masks: full" in out
    markdown = (tmp_path / "tables/all.md").read_text()
    assert markdown.count("| ours | 2 |") == 2  # eroded and full
    assert "95 % interval over 6 images" in markdown
    assert (tmp_path / "tables/all.tex").read_text().count("\\end{table}") == 2
    with (tmp_path / "tables/all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["model"], row["runs"], row["seeds"]) for row in rows} == {
        ("ours", "2", "1 2"),
        ("theirs", "1", "3"),
    }
    assert {row["comparable"] for row in rows} == {"True"}


def test_results_without_a_stamp(tmp_path):
    make_result(tmp_path / "one")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/scores.json").write_text('{"mIoU": 0.9}')
    args = ["one", "bare", "-o", "table.md"]
    assert "no complete protocol stamp" in error_of(TOOL, *args, cwd=tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["scores"]["full"].pop("mF1"), "scores.full.mF1: Field required"),
        (lambda d: d["scores"]["full"].update(mIoU="high"), "scores.full.mIoU: Input should be"),
        (lambda d: d["scores"]["full"].update(classes=[]), "scores.full.classes: Input should be"),
        (lambda d: d["scores"]["full"].pop("absent"), "scores.full.absent: Field required"),
        (lambda d: d["scores"].update(drawn=d["scores"]["full"]), "'drawn'"),
        (lambda d: d["protocol"].update(settings={}), "protocol.settings.name: Field required"),
        (lambda d: d["protocol"].update(training=[]), "protocol.training: Input should be"),
        (lambda d: d.clear(), "protocol: Field required"),
    ],
)
def test_damaged_results(tmp_path, monkeypatch, change, words):
    make_result(tmp_path / "one")
    path = tmp_path / "one/scores.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [TOOL, "one"])
    with pytest.raises(InputError, match=rf"scores\.json: no complete protocol stamp \({words}"):
        compare_runs.main("")


def test_damaged_records(tmp_path, monkeypatch):
    """Of the pairs that are drawn, one has other classes than its result says."""
    for name, seed in (("one", 1), ("two", 2)):
        make_result(tmp_path / name, seed)
    path = tmp_path / "two/images.jsonl"
    first, *rest = path.read_text().splitlines()
    record = json.loads(first)
    del record["counts"]["full"]
    path.write_text("\n".join([json.dumps(record), *rest]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [TOOL, "a=one", "b=two", "--paired"])
    with pytest.raises(InputError, match=r"images\.jsonl: no counts of .* of full masks"):
        compare_runs.main("")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["a=one", "b=other", "-o", "table.md"], "different protocols"),
        (["one", "-o", "table.doc"], "end the name in"),
        (["one", "--labels", "ful"], "--labels ful: not in all runs; did you mean 'full'"),
        (["one", "--paired"], "name two models"),
    ],
)
def test_wrong_input(tmp_path, monkeypatch, args, words):
    make_result(tmp_path / "one")
    make_result(tmp_path / "other", 2, tta="d4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [TOOL, *args])
    with pytest.raises(InputError, match=words):
        compare_runs.main("")
    assert not (tmp_path / "table.md").exists()
