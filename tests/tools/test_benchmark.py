"""The benchmark as a process, on a tiny model."""

import json
import subprocess

import pytest

from tests import commands
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TINY = ["model.encoder=test_convnext", "model.dim=32", "--size", "64", "--repeats", "1"]
KEYS = {
    "params_m",
    "gmacs",
    "forward_ratio",
    "train_ratio",
    "train_ratio_with_loss",
    "decoder_saved_mb",
    "decoder_peak_mb",
    "images_per_s",
    "naive",
}


def run(*args: str, cwd) -> subprocess.CompletedProcess:
    config = () if "-c" in args else ("-c", ROOT / "config/loveda/bicor.py")
    return commands.run("tools/benchmark.py", *args, *config, cwd=cwd)


def test_model(tmp_path):
    """One command, one table; every combination is a row, the first one's figures on top."""
    done = run(*TINY, "--batch", "1", "2", "--json", "out/rows.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out/rows.json").read_text())
    assert document.keys() > KEYS
    assert [row["batch"] for row in document["rows"]] == [1, 2]
    for row in document["rows"]:
        assert row["naive"].keys() > KEYS - {"naive", "train_ratio_with_loss"}
        # The cheap order keeps and computes less, whatever the clock says.
        for key in ("gmacs", "decoder_saved_mb", "decoder_peak_mb"):
            assert row[key] < row["naive"][key]
        assert row["decoder_saved_mb_checkpointed"] < row["decoder_saved_mb"]
        assert min(row[key] for key in KEYS - {"naive"}) > 0
    assert "loveda/bicor" in done.stdout
    assert "naive order" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["modle"], ["modle", "known: model, models, gpu, parts"]),
        (["--size", "0"], ["--size 0", "at least 1"]),
        (["--repeats", "0"], ["--repeats 0", "at least 1"]),
        (["model.layrs=2"], ["model.layrs", "model.layers"]),
        (["loading", "data.root=nowhere"], ["nowhere", "data.root=PATH"]),
    ],
)
def test_wrong_input(tmp_path, args, words):
    done = run(*args, cwd=tmp_path)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert all(word in line for word in words), line


def test_models(tmp_path):
    """Every network in one table, the first one's time being the unit."""
    args = ["models", "model.encoder=test_resnet", "--size", "64", "--repeats", "1"]
    done = run(*args, "--json", "rows.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    names = [row["model"] for row in rows]
    assert len(set(names)) == len(names) == 15
    assert {"loveda/bicor L=2", "loveda/d2ls L=3", "loveda/unetformer"} < set(names)
    assert "baselines/loveda/upernet" in names
    assert rows[0]["time / first"] == 1
    assert all(row["params M"] > 0 and row["images/s"] > 0 for row in rows)


def test_encoders(tmp_path):
    """A network with a CNN and with a plain transformer."""
    config = ["-c", str(ROOT / "config/uuad/bicor.py"), "--encoders", "test_resnet", "test_vit"]
    few = ["--size", "64", "--repeats", "1", "--json", "rows.json"]
    done = run("models", *config, *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["encoder"] for row in rows] == ["test_resnet", "test_vit"]
    # Six blocks, 4 x 4 patches and a class token; see test_cost_by_hand of the transformer.
    assert rows[1]["GMACs"] > 6 * 10 * 17 * 64**2 / 1e9


def test_engines(tmp_path):
    """The bare encoder is the unit; without files, there are the rows of torch."""
    args = ["engines", "model.encoder=test_resnet", "--size", "64", "--repeats", "1"]
    done = run(*args, "--json", "rows.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["what"] for row in rows] == ["bare encoder", "network", "network"]
    assert rows[0]["/ encoder"] == 1.0
    done = run(*args, "--files", "nothing.onnx", cwd=tmp_path)
    assert "nothing.onnx: no such file" in done.stderr
