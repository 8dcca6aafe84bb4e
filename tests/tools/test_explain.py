"""explain.py as a process: of a finished test, whose report shows the figures, and of a run."""

import json
from pathlib import Path

import pytest

from network.evaluation.results import read_protocol
from network.reporting.explained import Explained, read_explained
from tests.commands import error_of, succeed
from tests.conftest import ROOT
from tests.reporting.test_report import SETTINGS, make_test

pytestmark = pytest.mark.slow

TOOL, CONFIG = "tools/explain.py", str(ROOT / "config/vaihingen/bicor.py")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("explained")
    make_test(cwd)
    return cwd


def test_of_a_test(work):
    out = succeed(TOOL, "out", "--images", "1", "--border", "3", cwd=work).splitlines()
    assert [line.partition(": ")[0] for line in out[:2]] == ["layer 1", "layer 2"]
    assert out[2].endswith("% of the errors are within 3 pixels of a border")
    assert out[3:] == [
        f"out/figures/explain/{name}.png"
        for name in ("heatmaps_test-0-1", "pooled_test-0-1", "embeddings", "confusion")
    ]
    assert all((work / name).is_file() for name in out[3:])
    succeed("tools/make_report.py", "out", "--heatmaps", "0", "-o", "page.html", cwd=work)
    section = (work / "page.html").read_text().partition('<section id="explained">')[2]
    assert section.count('<figure class="explained"><img') == 4
    assert "scatter within the classes / between them" in section
    # A test of other weights does not show them.
    record = work / "out/figures/explain/explanation.json"
    document = json.loads(record.read_text())
    record.write_text(json.dumps(document | {"checkpoint_sha256": "0"}))
    shown = read_explained(work / "out", read_protocol(work / "out"))
    assert shown == Explained(None, {}, "figures/explain")


def test_of_a_run(work):
    args = [".", "-c", CONFIG, "-o", "look", "--images", "0", *SETTINGS, f"data.root={work}/data"]
    out = succeed(TOOL, *args, cwd=work)
    assert out.splitlines()[-2:] == ["look/embeddings.png", "look/confusion.png"]
    assert "over 3 images" in out


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["nothing"], "nothing: is no folder of a test or of a run, and no checkpoint; give"),
        (["best.ckpt"], "-c: is needed, since best.ckpt is not the folder of a test"),
        (["out", "-c", CONFIG], "-c: out is a test, which knows its config; leave -c out"),
        (["out", "--split", "tests"], "--split tests: vaihingen has no such split; did you mean"),
        (["out", "--images", "a"], "--images a: the split has no such image; known: test-0-0,"),
        (["out", "--count", "0"], "--count 0: must be at least 1"),
        (["out", "-o", "data"], "data: holds other files"),
    ],
)
def test_wrong_input(work, args, line):
    assert error_of(TOOL, *args, cwd=work).startswith(f"error: {line}")
