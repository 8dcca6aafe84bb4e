"""Worker processes that share work, and that all end when the main process ends.

Each worker has its own pipe. They share no lock or queue that a killed worker could leave broken.
When the other end of its pipe is closed, for any reason, a worker ends.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

import cv2

from network.cluster import Cluster, Workers
from network.errors import InputError
from network.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 10.0
"""Seconds that a worker gets to remove its temporary files before it is killed."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def available_cores() -> int:
    """Count the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: Workers, unit: str
) -> list[Result]:
    """Apply a function to every item in several processes, with a progress bar.

    The first error of an item stops all workers and is raised again here.

    Args:
        function: the function. It must be possible to pickle it, unless there is one worker.
        items: its arguments.
        workers: number of processes, or a cluster; 1 uses this process.
        unit: name of one item, for the progress bar.

    Returns:
        The results in the order of ``items``.

    Raises:
        InputError: ``workers`` is below 1, or a worker was killed.
    """
    if isinstance(workers, Cluster):
        return workers.map(function, items, unit)
    if workers < 1:
        raise InputError(f"workers={workers}", "expected 1 or more")
    workers = min(workers, len(items))
    if workers <= 1:
        with progress_bar(items, unit=unit) as bar:
            return [function(item) for item in bar]
    with progress_bar(total=len(items), unit=unit) as bar:
        return _in_processes(function, items, workers, needs_main=True, tell=lambda _: bar.update())


PART = 32
"""Number of items that one thread works on one after another, for :func:`in_parts`."""

PART_OF_PROCESS = 512
"""The same for processes, since each part is sent to them and its result is sent back."""

TRIAL = 0.5
"""Seconds in which a few items after the other show how long one takes."""

TRIED = 8
"""Number of these few items."""

QUICK = 0.0005
"""Seconds for an item in which threads bring nothing."""

WORTH_PROCESSES = 5.0
"""Seconds of work that are worth new processes."""


def in_parts(
    function: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    text: str,
    unit: str,
    workers: int,
) -> Iterator[Result]:
    """Apply a function to parts of many items, and yield the results in their order.

    If there is much to do, the work is shared by processes, otherwise by threads if that is faster.

    Args:
        function: the function. It must be possible to pickle it.
        items: the items, of which parts are its argument.
        text: text before the progress bar.
        unit: name of one item, for the progress bar.
        workers: number of processes; 0 or 1 for this one only.

    Raises:
        InputError: a worker was killed.
    """
    done = 0
    workers = min(workers, available_cores())
    with progress_bar(total=len(items), desc=text, leave=False, unit=unit) as bar:
        start, spent = perf_counter(), 0.0
        while done < len(items) and (not done or spent < TRIAL):
            part = items[done : done + TRIED]
            yield function(part)
            bar.update(len(part))
            done += len(part)
            spent = perf_counter() - start
        seconds = spent / max(1, done)
        rest = items[done:]
        if not rest:
            return
        if workers > 1 and seconds * len(rest) > WORTH_PROCESSES:
            parts = _cut(rest, PART_OF_PROCESS)
            yield from _in_processes(
                function, parts, workers, needs_main=False, tell=lambda part: bar.update(len(part))
            )
            return
        parts = _cut(rest, PART)
        with ThreadPoolExecutor() as pool:
            # Threads wait for a slow disk together and decode large masks together. But if each
            # item takes less time than it takes to change between threads, they are slower.
            found = map(function, parts) if seconds < QUICK else pool.map(function, parts)
            for part, result in zip(parts, found, strict=True):
                bar.update(len(part))
                yield result


def _cut(items: Sequence[Item], length: int) -> list[Sequence[Item]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    *,
    needs_main: bool,
    tell: Callable[[Item], object],
) -> list[Result]:
    """Apply a function to items in processes.

    Args:
        function: the function.
        items: its arguments.
        workers: number of processes.
        needs_main: see :func:`_started`.
        tell: is called with each item that is done.
    """
    results: dict[int, Result] = {}
    todo = iter(enumerate(items))
    with _started(function, min(workers, len(items)), needs_main) as connections:
        try:
            for connection in connections:
                connection.send(next(todo))
            while len(results) < len(items):
                for ready in wait(connections):
                    assert isinstance(ready, Connection)
                    number, result, error = ready.recv()
                    if error is not None:
                        raise error
                    results[number] = result
                    tell(items[number])
                    if (job := next(todo, None)) is not None:
                        ready.send(job)
        except (EOFError, ConnectionError) as error:
            raise InputError(
                "a worker process was killed, most likely for lack of memory; "
                f"use fewer than {workers} workers"
            ) from error
    return [results[number] for number in range(len(items))]


@contextmanager
def _started(function: Callable, count: int, needs_main: bool) -> Iterator[list[Connection]]:
    """Start workers, yield the pipes to them, and end them with the block.

    Args:
        function: the function that they apply.
        count: number of workers.
        needs_main: whether they import the file of the command, too. A user's own script that is
            not made for that would do all its work again in each of them.
    """
    connections: list[Connection] = []
    processes: list[subprocess.Popen] = []
    try:
        with _signals_held():
            for _ in range(count):
                ours, theirs = Pipe()
                connections.append(ours)
                processes.append(_start(theirs.fileno()))
                theirs.close()
        described = spawn.get_preparation_data("worker")
        del described["authkey"]  # a secret that the pipes do not need
        if not needs_main:
            described = {k: v for k, v in described.items() if not k.startswith("init_main_")}
        for connection in connections:
            connection.send(described)
            connection.send(function)
        yield connections
    finally:
        for connection in connections:
            connection.close()
        try:
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _start(descriptor: int) -> subprocess.Popen:
    """Start a worker at the other end of a pipe.

    It is a new interpreter, since a fork of a process with threads (OpenCV has some) can hang. It
    is not started by multiprocessing, whose workers print a traceback if this process was killed.
    """
    code = (
        f"import os, sys; sys.path[:] = {sys.path!r}; "
        f"from {__name__} import serve; serve({descriptor}); "
        "sys.stdout.flush(); os._exit(0)"  # unloading libraries takes a while
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
        # The processes already use all cores, so torch and NumPy need no threads in each of them.
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back in this block, and in new processes until they are ready."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(descriptor: int) -> None:
    """Run as a worker: compute the items from a pipe until its other end is closed.

    Args:
        descriptor: file descriptor of the pipe.
    """
    connection = Connection(descriptor)
    cv2.setNumThreads(1)  # OpenCV ignores OMP_NUM_THREADS
    try:
        spawn.prepare(connection.recv())  # imports what the command has imported
        function = connection.recv()
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        connection.send((None, None, _sendable(error)))
        return
    work = _Work()
    jobs: SimpleQueue = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    while (job := jobs.get()) is not None:
        number, item = job
        result, failure = work.run(function, item)
        try:
            connection.send((number, result, None if failure is None else _sendable(failure)))
        except ConnectionError:
            return  # the main process no longer waits for it
        except Exception as unsendable:  # a result that cannot be pickled
            connection.send((number, None, _sendable(unsendable)))


def _listen(connection: Connection, jobs: SimpleQueue) -> None:
    """Put jobs from the pipe into the queue; when the pipe closes, end this process."""
    with suppress(EOFError, ConnectionError):
        while True:
            jobs.put(connection.recv())
    jobs.put(None)
    main = threading.main_thread().ident
    assert main is not None  # it has been started
    signal.pthread_kill(main, signal.SIGINT)
    threading.Event().wait(PATIENCE / 2)
    os._exit(1)


class _Work:
    """The work of a worker process, which applies functions to items, one after another.

    Ctrl-C or SIGTERM interrupts the item in work, and no item is begun after that.
    """

    def __init__(self) -> None:
        self.is_running = self.is_stopped = False
        for number in _SIGNALS:
            signal.signal(number, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def run(
        self, function: Callable[[Any], Any], item: Any
    ) -> tuple[Any, None] | tuple[None, BaseException]:
        """Return the result of the function and None, or None and its error."""
        try:
            self.is_running = True
            if self.is_stopped:
                raise KeyboardInterrupt
            return function(item), None
        except BaseException as error:
            return None, error
        finally:
            self.is_running = False

    def _interrupt(self, *_: object) -> None:
        is_first, self.is_stopped = not self.is_stopped, True
        if self.is_running and is_first:
            raise KeyboardInterrupt


def _sendable(error: BaseException) -> BaseException:
    """Copy an error with a note of its traceback; use a RuntimeError if it cannot be pickled."""
    if isinstance(error, InputError):
        return error  # its text needs no traceback
    note = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"in a worker process:\n{note}")
    return copy
