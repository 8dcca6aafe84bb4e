"""tools/compare_runs.py as a process: tables of real folders, and wrong input."""

import csv
import sys

import pytest

from network.commands import compare_runs
from network.errors import InputError
from tests.engine.test_comparison import make_result
from tests.test_commands import error_of, succeed

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
