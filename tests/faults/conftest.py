"""Launching, killing and counting."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from network.config import load_experiment
from tests.conftest import ROOT
from tests.scenes import make_dataset
from tests.test_own_data import CONFIG

CONFIG = CONFIG.replace("bands=5,\n    bits=16,\n    rgb_bands=(2, 1, 0),\n", "")


@dataclass
class Ended:
    """How a command ended: exit code, what it said, and how long it took in seconds."""

    code: int
    log: str
    seconds: float

    @property
    def error(self) -> str | None:
        """The one line of an error that is none of ours to mend."""
        lines = [line for line in self.log.splitlines() if line.startswith("error: ")]
        is_clean = self.code == 2 and len(lines) == 1 and "Traceback" not in self.log
        return lines[0] if is_clean else None


class Launcher:
    """Commands as processes; see :mod:`tests.faults.launcher`."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.server.stdout.readline() == "ready\n"

    def run(
        self,
        cwd: Path,
        *argv: str,
        kill: Callable[[int], None] | None = None,
        timeout: float = 300,
        **env: str,
    ) -> Ended:
        """Run a command to its end, or until ``kill``, which is given its process, has ended it."""
        log = cwd / "log.txt" if os.access(cwd, os.W_OK) else Path(os.devnull)
        log = Path(env.pop("log", log))
        request = {"cwd": str(cwd), "argv": list(argv), "log": str(log), "env": env}
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        process, start = int(self.server.stdout.readline()), time.monotonic()
        if kill:
            kill(process)
        waiter = _Deadline(process, timeout)
        code = int(self.server.stdout.readline())
        waiter.stop()
        return Ended(code, log.read_text(errors="replace"), time.monotonic() - start)


class _Deadline:
    """Kills a process group that hangs, so that its campaign goes on and counts it as lost."""

    def __init__(self, process: int, seconds: float):
        code = f"import os, time; time.sleep({seconds}); os.killpg({process}, 9)"
        self.process = subprocess.Popen([sys.executable, "-c", code])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def killed_after(
    seconds: float, number: int = signal.SIGKILL, *, group: bool = True
) -> Callable[[int], None]:
    """For :meth:`Launcher.run`: send a signal to a command, and to its workers, at a moment."""

    def kill(process: int) -> None:
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(process, number)

    return kill


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    found = Launcher()
    yield found
    found.server.stdin.close()
    found.server.wait()


@pytest.fixture
def trials(request) -> Callable[[int], int]:
    """How many of the trials of a whole campaign this run makes; two at least."""
    share = request.config.getoption("--faults")
    return lambda count: count if share == 1 else max(2, round(share * count))


class Count:
    """Counts the trials of a campaign; what was not held fails the test at its end."""

    def __init__(self) -> None:
        self.trials, self.lost, self.notes = 0, [], {}

    def add(self, held: bool, problem: str) -> None:
        """One trial, and what went wrong in it if it was not held."""
        self.trials += 1
        if not held:
            self.lost.append(problem)

    def note(self, what: str) -> None:
        """Count something else that the table is to say."""
        self.notes[what] = self.notes.get(what, 0) + 1


@pytest.fixture
def count(request, record_property) -> Iterator[Count]:
    """The campaign's count, which stands in the table under the test's first line."""
    found = Count()
    yield found
    title = request.function.__doc__.splitlines()[0].rstrip(".")
    notes = ", ".join(f"{number} {what}" for what, number in found.notes.items())
    record_property("faults", [title, found.trials, len(found.lost), notes])
    assert not found.lost, "\n".join(found.lost[:10])
    assert found.trials


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with a config, its data, and a network that was trained on them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "fields.py").write_text(CONFIG)
    experiment = load_experiment(folder / "fields.py")
    sizes = ((64, 64), (48, 80))
    make_dataset(folder / "data", experiment.dataset, {"train": 8, "val": 2, "test": 24}, sizes)
    torch.manual_seed(0)
    state = experiment.build_model(pretrained=False).state_dict()
    torch.save({"state_dict": state}, folder / "weights.ckpt")
    return folder


def leftovers(folder: Path) -> list[str]:
    """What a command that has ended leaves to nobody."""
    found = [p for p in folder.rglob("*") if ".partial-" in p.name or p.name.endswith(".lock")]
    return [str(path.relative_to(folder)) for path in found]


def ownerless_semaphores() -> list[str]:
    """Semaphores in shared memory that no process has open any more."""
    found = {path.name for path in Path("/dev/shm").glob("sem.mp-*")}
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            text = maps.read_text(errors="replace")
            found = {name for name in found if name not in text}
    return sorted(found)
