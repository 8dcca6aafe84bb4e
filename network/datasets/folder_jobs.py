"""What the tools that turn folders of images into new folders share.

The inputs are never touched, an output folder is replaced as a whole or not at all, and what a
tool did not write itself is never deleted.
"""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import combinations
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

import cv2
from tqdm import tqdm

from network.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def check_folders(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Check that replacing ``outputs`` can touch neither an input nor another output.

    Raises:
        InputError: an output is or contains an input, two outputs overlap, or an output is a file.
    """
    for output in outputs:
        if output.exists() and not output.is_dir():
            raise InputError(f"{output}: is a file; the output must be a folder")
        for source in inputs:
            if _contains(output, source):
                raise InputError(
                    f"{output}: the output folder is or contains the input folder {source}, "
                    "which replacing it would delete; choose another output folder"
                )
    for one, other in combinations(outputs, 2):
        if _contains(one, other) or _contains(other, one):
            raise InputError(
                f"{one}: this output folder overlaps the output folder {other}; "
                "give two separate folders"
            )


def _contains(outer: Path, inner: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


def check_replaceable(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """Check that an existing ``folder`` holds only entries that the tool may delete.

    Raises:
        InputError: ``is_ours`` is false for an entry; the first in name order is named.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if not is_ours(path):
            raise InputError(
                f"{path}: not made by this tool, which replaces the whole folder; "
                "move it away or choose another output folder"
            )


def check_manifest(folder: Path, name: str) -> None:
    """Check that ``folder`` holds only files that its manifest ``name`` lists.

    Raises:
        InputError: it is a file, or holds another one.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose a folder with --output")
    manifest = folder / name
    made = {name, *(manifest.read_text().splitlines() if manifest.is_file() else ())}
    for path in folder.rglob("*"):
        is_folder = path.is_dir() and not path.is_symlink()
        if not is_folder and path.relative_to(folder).as_posix() not in made:
            raise InputError(
                f"{path}: not made by this tool, which replaces the whole folder; "
                "move it away or choose another --output"
            )


def write_manifest(folder: Path, name: str, files: Iterable[str]) -> None:
    """List what a tool has made in ``folder``, for :func:`check_manifest`."""
    (folder / name).write_text("\n".join(sorted(files)) + "\n")


@contextmanager
def replacing_folders(*folders: Path) -> Iterator[list[Path]]:
    """New, empty folders that together take the names of ``folders`` when the block succeeds.

    After an error, or when interrupted, what bore the names is untouched and nothing is left
    behind.

    Raises:
        InputError: a folder cannot be written (disk full, no permission).
    """
    # A link to a folder on another disk stays a link: the folder behind it is replaced.
    folders = tuple(folder.resolve() for folder in folders)
    partials = [_beside(folder, "partial") for folder in folders]
    try:
        for partial in partials:
            shutil.rmtree(partial, ignore_errors=True)  # of a killed process with our number
            partial.mkdir(parents=True)
        yield partials
        _switch(folders, partials)
    except OSError as error:
        where = error.filename2 or error.filename or folders[0]
        raise InputError(f"{where}: cannot be written ({error.strerror or error})") from error
    finally:
        for partial in partials:
            shutil.rmtree(partial, ignore_errors=True)


def _switch(folders: Sequence[Path], partials: Sequence[Path]) -> None:
    """Give every partial folder its final name, or, if one cannot have it, none."""
    renamed: list[tuple[Path, Path]] = []
    replaced: list[Path] = []
    try:
        for folder, partial in zip(folders, partials, strict=True):
            if folder.is_dir():
                old = _beside(folder, "old")
                folder.rename(old)
                renamed.append((old, folder))
                replaced.append(old)
            partial.rename(folder)
            renamed.append((folder, partial))
    except BaseException:
        for now, before in reversed(renamed):
            now.rename(before)
        raise
    for old in replaced:
        shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path, role: str) -> Path:
    return folder.with_name(f".{folder.name}.{role}-{os.getpid()}")


def available_cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int, unit: str
) -> list[Result]:
    """``function`` of every item, in the order of ``items``, with a progress bar.

    Args:
        function: can be pickled, since it runs in processes of their own (for one worker, here).
        workers: number of processes.
        unit: what one item is, for the progress bar.

    Raises:
        InputError: ``workers`` is below 1, or a worker was killed. The first error of an item is
            stops all workers and is raised as it is.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: expected 1 or more")
    workers = min(workers, len(items))
    if workers <= 1:
        with tqdm(items, unit=unit) as bar:
            return [function(item) for item in bar]
    # Forking a process that runs threads (OpenCV has some) can hang the child.
    context = multiprocessing.get_context("spawn")
    # Workers are interrupted, never killed: one killed while it sends a result leaves half of it
    # in the pipe, and the pool waits for the rest for ever.
    stopped = context.Event()
    with ProcessPoolExecutor(workers, context, _start_worker, (stopped,)) as pool:
        try:
            # The workers start here and inherit this: Ctrl-C means nothing before their first item.
            with _interrupts_ignored():
                futures = [pool.submit(_work, function, item) for item in items]
            with tqdm(as_completed(futures), total=len(futures), unit=unit) as bar:
                for future in bar:
                    future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process was killed, most likely for lack of memory; "
                f"use fewer than {workers} workers"
            ) from error
        except BaseException:
            stopped.set()
            for worker in multiprocessing.active_children():
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(worker.pid, signal.SIGINT)
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


# Of a worker process:
_stopped: Event
_is_working = False


def _start_worker(stopped: Event) -> None:
    global _stopped
    _stopped = stopped
    signal.signal(signal.SIGINT, _interrupt_work)
    cv2.setNumThreads(1)  # the processes share the cores, not OpenCV's threads in each of them


def _interrupt_work(*_) -> None:
    """End the item, but not the exchange with the pool before and after it."""
    if _is_working:
        raise KeyboardInterrupt


def _work(function: Callable[[Item], Result], item: Item) -> Result | None:
    global _is_working
    if _stopped.is_set():  # the pool hands out some items ahead, which cannot be cancelled
        return None
    try:
        _is_working = True
        return function(item)
    finally:
        _is_working = False


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
