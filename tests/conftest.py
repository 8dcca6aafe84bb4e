"""Fixtures shared by all tests. Importing the models first repairs torchvision where needed."""

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import network.models  # noqa: F401
from network.config import Experiment
from network.datasets.info import VAIHINGEN
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.settings import Data, Optim
from network.training.train import train
from tests.scenes import make_dataset

ROOT = Path(__file__).resolve().parents[1]


def heed_interrupts() -> None:
    """For ``Popen(preexec_fn=...)``: a shell's background jobs inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden():
    """Arrays of a golden file, by name: ``golden("losses")["out/..."]``."""

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(ROOT / "tests" / "golden" / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    return load


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Experiment:
    """Two images, one step; results go to a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tiny_experiment(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder with the results of :func:`tiny`'s training, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(tiny_experiment(folder), accelerator="cpu")
    return folder


def tiny_experiment(folder: Path) -> Experiment:
    """Two images, one step."""
    root = make_dataset(folder / "data", VAIHINGEN, {"train": 2, "val": 1})
    return Experiment(
        dataset=VAIHINGEN,
        model=partial(BiCoRSeg, 6, "test_convnext", weights=None, dim=32),
        loss=partial(BiCoRLoss, 6),
        data=Data(root=str(root), crop=32, batch_size=2, workers=0),
        optim=Optim(lr=1e-3, epochs=1),
        name="tiny",
        config="config/tiny.py",
    )


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 64 KB."""
    if os.geteuid():
        pytest.skip("only root can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--faults", type=float, default=0.05, help="share of the trials in tests/faults, 0 to 1"
    )


def pytest_collection_modifyitems(config, items) -> None:
    """On several workers the files with slow tests come first: none is left alone at the end."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter) -> None:
    """The table of the campaigns of tests/faults."""
    # They are counted at the end of a test, which has a report of its own.
    reports = [r for kind in ("", "error") for r in terminalreporter.stats.get(kind, ())]
    # Reports of errors during collection have no properties.
    noted = [pair for r in reports for pair in getattr(r, "user_properties", ())]
    rows = [value for key, value in noted if key == "faults"]
    if not rows:
        return
    terminalreporter.write_line("")
    terminalreporter.write_line("| campaign | trials | held | lost | of these |")
    terminalreporter.write_line("| --- | --- | --- | --- | --- |")
    for title, trials, lost, notes in sorted(rows):
        line = f"| {title} | {trials} | {trials - lost} | {lost} | {notes} |"
        terminalreporter.write_line(line)
