"""What a training prints: lines in a log file, nothing of Lightning's own."""

import re
from dataclasses import replace

import pytest

from network.settings import Optim
from network.training import console
from network.training.train import train


@pytest.mark.slow
def test_lines_of_a_log_file(tiny, capfd):
    train(replace(tiny, optim=Optim(epochs=2)), accelerator="cpu")
    out, err = capfd.readouterr()
    number = r"[\d.e+-]+"
    scores = ", ".join(f"val/{name} {number}" for name in ("OA", "loss", "mF1", "mIoU"))
    expected = rf"epoch (\d) of 2 done in \d+ s, last loss {number}, {scores}"
    lines = [line for line in err.splitlines() if not re.match("Checking|Predicting", line)]
    assert [re.fullmatch(expected, line)[1] for line in lines] == ["1", "2"]
    assert len(out.splitlines()) == 1
    assert out.startswith("checkpoints in model_weights/tiny/version_0")


@pytest.mark.slow
def test_lines_within_an_epoch(tiny, capfd, monkeypatch):
    """Here after every step; a time of nothing has always passed."""
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)
    train(replace(tiny, data=replace(tiny.data, repeat=3)), accelerator="cpu")
    err = capfd.readouterr().err
    steps = re.findall(r"^epoch 1 of 1, step (\d) of 3, loss [\d.]+$", err, re.MULTILINE)
    assert steps == ["1", "2", "3"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_on_a_terminal(monkeypatch, is_terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    assert console.console_options()["enable_progress_bar"] is is_terminal
    assert len(console.console_callbacks()) == (not is_terminal)
