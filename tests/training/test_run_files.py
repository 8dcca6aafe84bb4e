"""Nothing that a training has written is lost: full disks, killed processes, two writers."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from network.errors import InputError
from network.settings import Optim
from network.training.run_files import CheckpointFiles, RunLog
from network.training.train import train
from tests.commands import Command
from tests.conftest import ROOT
from tests.disks import mounted, remount


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(tiny, tmp_path, monkeypatch):
    """It has room for one last.ckpt (4 MB), but not for the next one beside it."""
    with mounted(tmp_path / "disk", "7m") as disk:
        monkeypatch.chdir(disk)
        longer = replace(tiny, optim=Optim(lr=1e-3, epochs=3))
        with pytest.raises(InputError, match=r"last\.ckpt: cannot be written .*free some space"):
            train(longer, accelerator="cpu")
        run = Path("model_weights/tiny/version_0")
        assert files(run) == ["best.ckpt", "experiment.txt", "last.ckpt"]
        assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 0
        remount(disk, "size=20m")
        train(longer, accelerator="cpu", resume="latest")
        assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("full", ["model_weights", "lightning_logs"])
def test_a_disk_without_any_room(tiny, tmp_path, monkeypatch, full):
    monkeypatch.chdir(tmp_path)
    with mounted(tmp_path / full, "4k") as disk:
        (disk / "all").write_bytes(bytes(4096))
        for option in ("rw", "ro"):
            remount(disk, option)
            with pytest.raises(InputError, match=rf"{full}/tiny.*cannot be written"):
                train(tiny, accelerator="cpu")
            assert os.listdir(disk) == ["all"]
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "model_weights", "lightning_logs"}
    assert not list(tmp_path.glob("model_weights/*/*"))


@pytest.mark.slow
def test_a_resumed_training_that_cannot_begin_keeps_its_run(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tiny, accelerator="cpu")
    before = files(Path("model_weights"))
    longer = replace(tiny, optim=replace(tiny.optim, epochs=tiny.optim.epochs + 1))

    def refuse(log: RunLog) -> None:
        raise InputError(log.folder, "cannot be written")

    monkeypatch.setattr(RunLog, "write", refuse)
    with pytest.raises(InputError, match="cannot be written"):
        train(longer, accelerator="cpu", resume="latest")
    assert files(Path("model_weights")) == before


SAVER = f"""
import sys, torch
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from network.training.run_files import CheckpointFiles
for number in range(10**6):
    state = torch.full((8_000_000,), float(number))
    CheckpointFiles().save_checkpoint(dict(epoch=number, state=state), Path(sys.argv[1]))
    print(number, flush=True)
"""


@pytest.mark.slow
def test_killed_while_saving(tmp_path):
    """The file is a whole one, whenever the process was killed, and its rest is swept up."""
    path, script = tmp_path / "run/last.ckpt", tmp_path / "save.py"
    script.write_text(SAVER)
    with mounted(tmp_path / "temporary", "1m") as other_disk:
        for attempt in range(4):
            env = {**os.environ, "TMPDIR": str(other_disk)}
            process = Command(script, path, cwd=tmp_path, env=env)
            while "\n" not in process.stdout:  # until one is saved
                assert process.poll() is None, process.stderr
            time.sleep(0.013 * attempt)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            saved = torch.load(path, weights_only=True)
            assert (saved["state"] == saved["epoch"]).all()
    CheckpointFiles().save_checkpoint({"epoch": 0}, path)
    assert os.listdir(path.parent) == ["last.ckpt"]


def test_a_file_that_cannot_be_written(tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        CheckpointFiles().save_checkpoint({"epoch": 1}, disk / "last.ckpt")
        before = (disk / "last.ckpt").read_bytes()
        with pytest.raises(InputError, match="No space left on device"):
            CheckpointFiles().save_checkpoint({"a": torch.zeros(10**6)}, disk / "last.ckpt")
        assert (disk / "last.ckpt").read_bytes() == before
        assert os.listdir(disk) == ["last.ckpt"]
