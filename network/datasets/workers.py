"""Work spread over processes, none of which outlives the one that it works for.

Each worker has a pipe of its own: no lock or queue is shared that a killed one could leave broken,
and where the other end is closed, by whatever ended it, a worker ends too.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any, TypeVar

import cv2

from network.errors import InputError
from network.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 10.0
"""Seconds that a worker has to remove what its item has begun."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        InputError: ``workers`` is below 1, or a worker was killed. The first error of an item
            stops all workers and is raised as it is.
    """
    if workers < 1:
        raise InputError(f"workers={workers}", "expected 1 or more")
    workers = min(workers, len(items))
    if workers <= 1:
        with progress_bar(items, unit=unit) as bar:
            return [function(item) for item in bar]
    results: dict[int, Result] = {}
    todo = iter(enumerate(items))
    with (
        progress_bar(total=len(items), unit=unit) as bar,
        _started(function, workers) as connections,
    ):
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
                    bar.update()
                    if (job := next(todo, None)) is not None:
                        ready.send(job)
        except (EOFError, ConnectionError) as error:
            raise InputError(
                "a worker process was killed, most likely for lack of memory; "
                f"use fewer than {workers} workers"
            ) from error
    return [results[number] for number in range(len(items))]


@contextmanager
def _started(function: Callable, count: int) -> Iterator[list[Connection]]:
    """Pipes to ``count`` workers, which end with the block."""
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
        del described["authkey"]  # nobody is to authenticate
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
    """A worker at the other end of a pipe.

    It is a new interpreter: forking a process that runs threads (OpenCV has some) can hang the
    child. Those of multiprocessing begin with a traceback where this process has just been killed.
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
        # The processes share the cores, not the threads of torch and NumPy in each of them.
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


@contextmanager
def _signals_held() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM; processes that are started here do so until they are ready."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(descriptor: int) -> None:
    """Do, as a worker, what the pipe asks for until its other end is closed."""
    connection = Connection(descriptor)
    cv2.setNumThreads(1)  # which heeds no OMP_NUM_THREADS
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
            return  # nobody waits for it any more
        except Exception as unsendable:  # a result that cannot be pickled
            connection.send((number, None, _sendable(unsendable)))


def _listen(connection: Connection, jobs: SimpleQueue) -> None:
    """Hand on what comes; where nothing can come any more, end the process, whatever it does."""
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
    """Runs items, which Ctrl-C or SIGTERM interrupts; between them it only ends the process."""

    def __init__(self) -> None:
        self.is_running = self.is_stopped = False
        for number in _SIGNALS:
            signal.signal(number, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def run(
        self, function: Callable[[Any], Any], item: Any
    ) -> tuple[Any, None] | tuple[None, BaseException]:
        """The result, or the error."""
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
    """``error``, or another one where it cannot be pickled, with a note of where it came from."""
    if isinstance(error, InputError):
        return error  # its line says all
    note = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"in a worker process:\n{note}")
    return copy
