"""Trainings whose processes are told to end or are killed, as real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from network.datasets.info import VAIHINGEN
from tests.commands import Command
from tests.conftest import ROOT
from tests.datasets.test_workers import members, wait_until
from tests.scenes import make_dataset
from tests.test_commands import OVERRIDES, VAIHINGEN_CONFIG

pytestmark = pytest.mark.slow

ENDLESS = [*OVERRIDES, "optim.epochs=100000"]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    make_dataset(tmp_path / "data", VAIHINGEN, {"train": 8, "val": 2}, ((64, 64),))
    return tmp_path


@pytest.fixture
def train(cwd: Path) -> Iterator:
    """Starts a training, and returns when it has its first checkpoint."""
    started = []

    def start(*args: str) -> Command:
        words = ["-c", VAIHINGEN_CONFIG, *ENDLESS, "--accelerator", "cpu", *args]
        process = Command("train.py", *words, cwd=cwd, start_new_session=True)
        started.append(process)
        wait_until(lambda: list(cwd.rglob("last.ckpt")) or process.poll() is not None, 120)
        time.sleep(0.5)
        return process

    yield start
    for process in started:
        if members(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def check_end(process: Command, code: int, line: str) -> None:
    """It ends soon, with one line of its own, and leaves the last checkpoint as it was."""
    assert process.wait(20) == code
    wait_until(lambda: not members(process.pid), 10)
    text = process.stderr
    assert "Traceback" not in text
    own = [x for x in text.splitlines() if x.startswith(("error: ", "interrupted"))]
    assert len(own) == 1, text
    assert own[0].startswith(line)


def second(process: Command) -> int:
    """The other process of a training on two."""
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in members(process.pid)}
    return next(p for p, text in commands.items() if b"train.py" in text and p != process.pid)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_is_told_to_end(train, cwd, number, workers):
    process = train(f"data.workers={workers}")
    os.killpg(process.pid, number)
    check_end(process, 130, "interrupted")
    (run,) = cwd.glob("model_weights/vaihingen/bicor/*")
    assert {path.name for path in run.iterdir()} == {"best.ckpt", "experiment.txt", "last.ckpt"}


@pytest.mark.parametrize("to_all", [False, True])
def test_a_training_on_two_processes_is_told_to_end(train, to_all):
    process = train("data.workers=0", "--devices", "2")
    os.killpg(process.pid, signal.SIGTERM) if to_all else process.terminate()
    check_end(process, 130, "interrupted")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_of_two_processes_ends(train, number):
    process = train("data.workers=0", "--devices", "2")
    os.kill(second(process), number)
    check_end(process, 2, "error: another process of this training has ended")


def test_the_first_of_two_processes_is_killed(train):
    process = train("data.workers=0", "--devices", "2")
    process.kill()
    check_end(process, -9, "error: another process of this training has ended")


def test_workers_without_shared_memory(cwd):
    """Where /dev/shm is as small as in a container."""
    mount = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'
    script = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if os.geteuid() or subprocess.run([*script, "true"], capture_output=True).returncode:
        pytest.skip("only root can mount a disk")
    command = [*script, sys.executable, str(ROOT / "train.py"), "-c", VAIHINGEN_CONFIG, *OVERRIDES]
    ended = subprocess.run(
        [*command, "data.workers=2", "data.crop=64", "--accelerator", "cpu"],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    (line,) = (x for x in ended.stderr.splitlines() if x.startswith("error: "))
    assert "data.workers=0" in line
    assert "--shm-size=8g" in line
