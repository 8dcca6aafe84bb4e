"""Folders that switch together, and what killed processes have left of them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from network.datasets.folder_jobs import check_replaceable, replacing_folders
from network.errors import InputError
from tests.conftest import ROOT


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


SWITCH = """
import os, signal, sys
from pathlib import Path
from network.datasets import folder_jobs

folders = [Path(path) for path in sys.argv[2:]]
renames = int(sys.argv[1])
rename = Path.rename

def rename_some(self, target):
    global renames
    if not renames:
        os.kill(os.getpid(), signal.SIGKILL)
    renames -= 1
    return rename(self, target)

Path.rename = rename_some
with folder_jobs.replacing_folders(*folders) as partials:
    for partial in partials:
        (partial / "new").touch()
"""


@pytest.mark.parametrize("renames", range(7))
def test_killed_between_the_renames(tmp_path: Path, renames: int):
    """Before the next run writes anything, each folder holds the old work, or the new one."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "old").touch()
    script = [sys.executable, "-c", SWITCH, str(renames), str(one), str(two)]
    killed = subprocess.run(script, cwd=ROOT)
    assert killed.returncode == (-signal.SIGKILL if renames < 6 else 0)
    with replacing_folders(one, two):
        for folder, since in ((one, 2), (two, 4)):
            name = "new" if renames >= since else "old"
            assert [path.name for path in folder.iterdir()] == [name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


HOLD = """
import sys, time
from pathlib import Path
from network.datasets.folder_jobs import replacing_folders

with replacing_folders(Path(sys.argv[1])) as partials:
    (partials[0] / "x").touch()
    print("there", flush=True)
    time.sleep(60)
"""


def test_one_process_writes_a_folder_at_a_time(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(one)], cwd=ROOT, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    with (
        pytest.raises(InputError, match=f"one: process {holder.pid} on .* is writing there"),
        replacing_folders(two, one),
    ):
        pass
    assert not two.exists()
    holder.kill()
    holder.wait()
    assert len(list(tmp_path.iterdir())) == 2  # what it was writing, and its lock
    with replacing_folders(one) as (partial,):
        (partial / "y").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["one", "y"]


def test_a_full_disk_names_the_file(full_disk: Path):
    def fill() -> None:
        with replacing_folders(full_disk / "patches") as (partial,):
            (partial / "a").mkdir()
            for number in range(10_000):
                (partial / "a" / f"{number}.png").symlink_to("x" * 4000)

    with pytest.raises(InputError, match=r"patches/a/\d+\.png: cannot be written .*free some"):
        fill()
    assert not list(full_disk.iterdir())


def test_an_input_that_is_missing_is_not_said_to_be_unwritable(tmp_path: Path):
    with pytest.raises(FileNotFoundError), replacing_folders(tmp_path / "out"):
        (tmp_path / "input.tif").read_bytes()
    assert not list(tmp_path.iterdir())
