"""Whole files or none, whatever the disk and other processes do."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from network.errors import InputError
from network.writing import LOCK, beside, is_unused, owned, parse_json, remove_leftovers, replacing
from tests.conftest import ROOT


def in_process(code: str, **options) -> subprocess.Popen:
    """A Python process whose first printed line has been read."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, **options
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_replacing(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as partial:
        assert partial.parent == path.parent
        partial.write_text("first")
    with suppress(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("second")
        raise ZeroDivisionError
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("name", ["a" * 250 + ".txt", "日" * 80 + ".txt", ".hidden", "a b-c"])
def test_any_name(tmp_path, name):
    with replacing(tmp_path / name) as partial:
        partial.write_text("whole")
    assert (tmp_path / name).read_text() == "whole"


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = beside(tmp_path / "x", "partial").name.rpartition("-")[0].rpartition("-")[2]
    dead = tmp_path / f".file.txt.partial-{host}-{ended.pid}"
    old = tmp_path / f".file.txt.partial-{ended.pid}"  # as older versions wrote them
    living = tmp_path / f".file.txt.partial-{host}-{os.getppid()}"
    elsewhere = tmp_path / f".file.txt.partial-otherhost-{ended.pid}"
    other = tmp_path / f".file.txt2.partial-{host}-{ended.pid}"
    for path in (dead, old, living, elsewhere, other):
        path.touch()
    with replacing(tmp_path / "file.txt") as partial:
        partial.touch()
    assert not dead.exists()
    assert not old.exists()
    assert living.exists()
    assert elsewhere.exists()
    assert other.exists()
    remove_leftovers(tmp_path, everyone=True)
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


HOLD = """
import sys, time
from pathlib import Path
from network.writing import owned
with owned(Path({folder!r})):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_folder_has_one_owner_and_a_dead_one_none(tmp_path):
    folder = tmp_path / "out"
    process = in_process(HOLD.format(folder=str(folder)))
    try:
        with pytest.raises(InputError, match=rf"out: process {process.pid} on .* is writing"):
            owned(folder).__enter__()
    finally:
        process.kill()
        process.wait()
    assert (folder / LOCK).exists()
    (folder / ".a.png.partial-here-1").touch()
    with owned(folder):
        assert [p.name for p in folder.iterdir()] == [LOCK]
    assert list(folder.iterdir()) == []


def test_many_processes_never_own_a_folder_together(tmp_path):
    """Each adds one to a number in a file; the lock file is removed and made again all along."""
    code = f"""
import time
from pathlib import Path
from network.errors import InputError
from network.writing import owned
folder, count = Path({str(tmp_path)!r}), 0
while count < 40:
    try:
        with owned(folder):
            number = folder / "number"
            value = int(number.read_text()) if number.exists() else 0
            time.sleep(0.001)
            number.write_text(str(value + 1))
            count += 1
    except InputError:
        time.sleep(0.001)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "160"


def test_killed_while_writing(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"good")
    code = f"""
import time
from pathlib import Path
from network.writing import replacing
with replacing(Path({str(path)!r})) as partial, partial.open("wb") as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(60)
"""
    process = in_process(code)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.read_bytes() == b"good"
    assert len(list(tmp_path.iterdir())) == 2
    with replacing(path) as partial:
        partial.write_bytes(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_full_and_a_read_only_disk(full_disk):
    path = full_disk / "file.bin"
    path.write_bytes(b"good")
    with (
        pytest.raises(InputError, match=r"file.bin: cannot be written \(No space.*free some"),
        replacing(path) as partial,
    ):
        partial.write_bytes(bytes(2**20))
    assert path.read_bytes() == b"good"
    assert [p.name for p in full_disk.iterdir()] == ["file.bin"]
    subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
    with (
        pytest.raises(InputError, match=r"file.bin: cannot be written \(Read-only.*read-only"),
        replacing(path) as partial,
    ):
        partial.write_bytes(b"new")
    with pytest.raises(InputError, match=r"out: cannot be written \(Read-only"):
        owned(full_disk / "out").__enter__()


def test_unused_folders(tmp_path):
    """What a killed owner has left is nothing; a hidden file of someone else is something."""
    assert is_unused(tmp_path / "none")
    (tmp_path / LOCK).touch()
    beside(tmp_path / "x", "partial").touch()
    assert is_unused(tmp_path)
    (tmp_path / ".bashrc").touch()
    assert not is_unused(tmp_path)


def test_json_nested_a_thousand_deep():
    assert parse_json('{"a": [1]}') == {"a": [1]}
    for text in ("[" * 100_000, '{"a":' * 100_000, "{", json.dumps("x")[:-1]):
        with pytest.raises(ValueError, match=r"deep|Expecting|Unterminated"):
            parse_json(text)


def test_names_are_on_this_host(tmp_path):
    assert beside(Path("a/b.txt"), "partial").parent == Path("a")
