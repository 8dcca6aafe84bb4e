"""Work spread over processes: its order, its errors, and that nobody outlives anybody."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

import network.datasets.workers as network_workers
from network.datasets.workers import in_parts, map_parallel
from network.errors import InputError
from tests.conftest import ROOT, heed_interrupts
from tests.datasets.jobs import (
    die,
    double,
    double_all,
    fail_strangely,
    make_unsendable,
    refuse_the_first,
    refuse_three,
    tell_process,
    threads,
)


@pytest.mark.parametrize("workers", [1, 2])
def test_map_parallel(workers: int):
    assert map_parallel(double, range(5), workers=workers, unit="item") == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("workers", [1, 2])
def test_first_error_ends_everything(workers: int):
    threads, before = waited_for_threads(), children()
    with pytest.raises(InputError, match=r"^three\.tif: unreadable$"):
        map_parallel(refuse_three, range(5), workers=workers, unit="item")
    assert children() == before
    assert waited_for_threads() == threads


def test_an_error_ends_the_other_workers_items(tmp_path: Path):
    with pytest.raises(InputError):
        map_parallel(partial(refuse_the_first, tmp_path), range(8), workers=2, unit="item")
    assert {path.name for path in tmp_path.iterdir()} < {"0", "1", "2", "3"}


@pytest.mark.parametrize("count", [0, 1, 8, 9, 2000])
@pytest.mark.parametrize("quick", [0.0, 1.0])
def test_parts_come_in_order(count: int, quick: float, monkeypatch):
    """In this thread and in several."""
    monkeypatch.setattr(network_workers, "TRIAL", 0.0)
    monkeypatch.setattr(network_workers, "QUICK", quick)
    found = in_parts(double_all, range(count), "Doubling", "number", 2)
    assert [one for part in found for one in part] == list(range(0, 2 * count, 2))


def test_much_work_is_shared_by_processes(monkeypatch):
    monkeypatch.setattr(network_workers, "TRIAL", 0.0)
    monkeypatch.setattr(network_workers, "WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(network_workers, "available_cores", lambda: 2)
    before = children()
    found = in_parts(double_all, range(3000), "Doubling", "number", 2)
    assert [one for part in found for one in part] == list(range(0, 6000, 2))
    parts = list(in_parts(tell_process, range(3000), "Asking", "number", 2))
    numbers = {number for part in parts for number in part}
    assert os.getpid() in numbers  # which measures how long the first parts take
    assert len(numbers) in (2, 3)
    assert children() == before


def test_a_script_is_not_run_again_by_the_processes(tmp_path: Path):
    """A user's script that trains need not be written for that."""
    script = tmp_path / "script.py"
    script.write_text(
        "import network.datasets.workers as workers\n"
        "from tests.datasets.jobs import double_all\n"
        "workers.TRIAL, workers.WORTH_PROCESSES, workers.available_cores = 0, 0, lambda: 2\n"
        "print('begun')\n"
        "found = workers.in_parts(double_all, range(2000), 'Doubling', 'number', 2)\n"
        "print(sum(map(sum, found)))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["begun", str(2000 * 1999)], done.stderr


def children() -> list[str]:
    """The processes that this one has started and not waited for."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [child for path in tasks for child in path.read_text().split()]


def waited_for_threads() -> set[threading.Thread]:
    """Those that Python waits for at its exit."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def test_killed_worker_is_explained():
    with pytest.raises(InputError, match="fewer than 2 workers"):
        map_parallel(die, range(2), workers=2, unit="item")


def test_an_error_that_cannot_be_pickled_is_told_with_its_traceback():
    with pytest.raises(RuntimeError, match="PickyError: this and that") as caught:
        map_parallel(fail_strangely, range(2), workers=2, unit="item")
    assert "in fail_strangely" in "".join(caught.value.__notes__)


def test_a_result_that_cannot_be_pickled():
    with pytest.raises(TypeError, match="cannot pickle"):
        map_parallel(make_unsendable, range(2), workers=2, unit="item")


@pytest.mark.slow
def test_workers_share_the_cores():
    assert set(map_parallel(threads, range(3), workers=2, unit="item")) == {(1, 1)}


def test_large_items_and_results():
    items = [bytes(3_000_000)] * 6
    assert map_parallel(bytes, items, workers=2, unit="item") == items


COMMAND = """
import sys
from functools import partial
from pathlib import Path
from network.datasets.workers import map_parallel
from network.errors import run_command
from tests.datasets.jobs import work_long

if __name__ == "__main__":
    job = partial(work_long, Path(sys.argv[1]))
    run_command(lambda: map_parallel(job, range(8), workers=2, unit="item"))
"""


@pytest.fixture
def command(tmp_path):
    """A command whose two workers are in the middle of an item; all that end with the test."""
    script, folder = tmp_path / "command.py", tmp_path / "items"
    script.write_text(COMMAND)
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    wait_until(lambda: len(list(folder.iterdir())) == 2)
    yield process, folder
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def wait_until(is_so, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def members(group: int) -> list[str]:
    """The living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(its_group) == group and state != "Z":
            found.append(path.parent.name)
    return found


@pytest.mark.parametrize("to_group", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_items_clean_up(command, number, to_group):
    process, folder = command
    os.killpg(process.pid, number) if to_group else process.send_signal(number)
    assert process.wait(10) == 130
    assert process.stderr.read().splitlines()[-1] == "interrupted"
    assert not list(folder.iterdir())
    assert not members(process.pid)


def test_workers_end_with_a_killed_process(command):
    process, folder = command
    before = set(os.listdir("/dev/shm"))
    process.kill()
    process.wait()
    wait_until(lambda: not members(process.pid), 15)
    assert not list(folder.iterdir())  # their items were interrupted, not cut off
    new = set(os.listdir("/dev/shm")) - before
    assert not [name for name in new if name.startswith("sem.")]


def test_a_killed_worker_ends_the_command(command):
    process, folder = command
    worker = next(iter(folder.iterdir())).name.partition("-")[2]
    os.kill(int(worker), signal.SIGKILL)
    assert process.wait(10) == 2
    assert "fewer than 2 workers" in process.stderr.read().splitlines()[-1]
    assert not members(process.pid)
