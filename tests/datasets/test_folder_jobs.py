"""Folders that switch together, and work spread over processes."""

import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from network.datasets.folder_jobs import check_replaceable, map_parallel, replacing_folders
from network.errors import InputError


def double(number: int) -> int:
    return 2 * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise InputError("three.tif: unreadable")
    return number


def refuse_the_first(folder: Path, number: int) -> None:
    (folder / str(number)).touch()
    if number == 0:
        raise InputError("0.tif: unreadable")
    for _ in range(600):
        time.sleep(0.1)
    (folder / "not interrupted").touch()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_folders_switch_together(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "deep" / "two"
    one.mkdir()
    (one / "old").touch()
    with replacing_folders(one, two) as partials:
        for partial in partials:
            (partial / "new").touch()
        assert (one / "old").exists()
        assert not two.exists()
    assert [path.name for folder in (one, two) for path in folder.iterdir()] == ["new", "new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "one"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_everything_as_it_was(tmp_path: Path, error):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "old").touch()

    def fail() -> None:
        with replacing_folders(one, two) as partials:
            (partials[0] / "new").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == ["one", "old"]


def test_if_one_folder_cannot_switch_none_does(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "old").touch()

    def fail() -> None:
        with replacing_folders(one, two) as partials:
            (partials[0] / "new").touch()
            two.write_text("a file took the name meanwhile")

    with pytest.raises(InputError, match="two: cannot be written"):
        fail()
    assert [path.name for path in one.iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_first_foreign_entry_is_named(tmp_path: Path):
    for name in ("a.png", "b.txt", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"b\.txt: not made by this tool"):
        check_replaceable(tmp_path, lambda path: path.suffix == ".png")
    check_replaceable(tmp_path / "new", lambda path: False)


@pytest.mark.parametrize("workers", [1, 2])
def test_map_parallel(workers: int):
    assert map_parallel(double, range(5), workers=workers, unit="item") == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("workers", [1, 2])
def test_first_error_ends_everything(workers: int):
    threads = waited_for_threads()
    with pytest.raises(InputError, match=r"^three\.tif: unreadable$"):
        map_parallel(refuse_three, range(5), workers=workers, unit="item")
    assert not multiprocessing.active_children()
    assert waited_for_threads() == threads


def test_an_error_ends_the_other_workers_items(tmp_path: Path):
    with pytest.raises(InputError):
        map_parallel(partial(refuse_the_first, tmp_path), range(8), workers=2, unit="item")
    assert {path.name for path in tmp_path.iterdir()} < {"0", "1", "2", "3"}


def waited_for_threads() -> set[threading.Thread]:
    """Those that Python waits for at its exit."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def test_killed_worker_is_explained():
    with pytest.raises(InputError, match="fewer than 2 workers"):
        map_parallel(die, range(2), workers=2, unit="item")
