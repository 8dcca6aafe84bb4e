"""Exports that are killed at any step of giving the files their names."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count as numbers
from pathlib import Path

import pytest

from network.export.formats import FORMATS
from network.export.options import ExportOptions
from network.export.source import load_source
from network.export.write import export
from network.exported.record import ExportRecord
from network.models.tconv import TransposedConvNet
from tests.export.test_export import checkpoint
from tests.faults.conftest import leftovers
from tests.maps.local import Local

pytestmark = pytest.mark.slow

STEPS = ("os.rename", "os.remove")
"""The events of Python that give a file its name, or take it away."""

Held = dict[int, bool]
"""Whether the files in a folder belonged together, by the step before which a process died."""


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir()}


def kill_at(number: int) -> None:
    """Let this process end by ``kill -9`` just before a step, counted from 0."""
    steps = numbers()

    def watch(event: str, _: tuple) -> None:
        if event in STEPS and next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def kill_copies(folder: Path, is_held: Callable[[], bool], held: Held) -> None:
    """Let copies of this process go on, each to its next step, until one comes to the end.

    Args:
        folder: the folder of the files, which each copy finds as this process has left it.
        is_held: tells whether the files belong together.
        held: gets the answers.
    """
    before, status = contents(folder), -signal.SIGKILL
    while status:
        child = os.fork()
        if not child:
            kill_at(len(held))
            return
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL)
        held[len(held)] = is_held()
        for path in contents(folder):
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)


@contextmanager
def ending_here() -> Iterator[None]:
    """End a copy of this process that was not killed."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(0)


def check(path: Path, old: dict[Path, bytes], is_held: Callable[[], bool], held: Held, count):
    """Count what was held, and look at what the process that was not killed has made."""
    # The old file goes, and all others get their names.
    assert len(held) > len(old) + 1
    for number, was_held in held.items():
        count.add(was_held, f"{path.name}: killed before step {number}")
    new = contents(path.parent)
    count.add(is_held() and new.keys() == old.keys(), f"{path.name}: {sorted(new)}")
    count.add(all(new[name] != content for name, content in old.items()), f"{path.name}: is old")
    count.add(not leftovers(path.parent), f"left over: {leftovers(path.parent)}")


class Digest:
    """A companion with the SHA-256 of the exported file."""

    def __init__(self, path: Path, then: Callable[[], None]):
        self.path, self.then = path, then

    def check(self, record: ExportRecord) -> None:
        """Any file has a digest."""

    def write(self, partial: Path, files: Mapping[str, Path], record: ExportRecord) -> None:
        (file,) = files.values()
        partial.write_text(hashlib.sha256(file.read_bytes()).hexdigest())
        self.then()


def test_exporting(tmp_path_factory, tmp_path, count):
    """Export over an older file and what tells of it, killed at each step: no wrong pair."""
    model = partial(TransposedConvNet, 6, "test_resnet", weights=None)
    source = load_source(checkpoint(tmp_path_factory.mktemp("exports"), model))
    source.predictor.engine.model = Local().eval()  # small
    path, digest = tmp_path / "net.pt2", tmp_path / "net.pt2.sha256"

    def is_held() -> bool:
        if not path.exists():
            return True
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest.read_text()

    def write(batch: int, then: Callable[[], None]) -> None:
        options = ExportOptions(size=(32, 32), batch=batch)
        export(source, path, "torch", options, companions=[Digest(digest, then)])

    held: Held = {}
    write(1, lambda: None)
    old = contents(tmp_path)
    with ending_here():
        write(2, lambda: kill_copies(tmp_path, is_held, held))
    check(path, old, is_held, held, count)


def test_files_of_openvino(tmp_path, count):
    """Network and weights of OpenVINO over older ones, killed at each step: no wrong pair."""
    form, path = FORMATS["openvino"], tmp_path / "net.xml"
    names = [*form.program.files(path), tmp_path / "net.xml.json"]

    def is_held() -> bool:
        return not path.exists() or len({name.read_text() for name in names}) == 1

    def write(content: str, then: Callable[[], None]) -> None:
        with form.replacing(path, names[2:]) as (unfinished, companions):
            for file in (*form.program.files(unfinished), *companions):
                file.write_text(content)
            then()

    held: Held = {}
    write("old", lambda: None)
    old = contents(tmp_path)
    with ending_here():
        write("new", lambda: kill_copies(tmp_path, is_held, held))
    check(path, old, is_held, held, count)
