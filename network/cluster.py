"""Dask clusters, which run functions on many processes and machines.

A worker that is lost is replaced, and what it was doing is done again by another one.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from network.errors import InputError
from network.extras import require_extra
from network.progress import progress_bar

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

_DEAF = "from signal import SIG_IGN, SIGINT, signal\nsignal(SIGINT, SIG_IGN)\n"
"""Program that each worker on this machine runs first. Ctrl-C reaches all processes of a command,
but only the first one shall answer it: that one ends the workers."""

PATIENCE = 30
"""Seconds to wait for a scheduler, and for its first worker."""


@dataclass(frozen=True)
class Cluster:
    """A Dask cluster: one that runs, or one that is started on this machine.

    Attributes:
        scheduler: address of a running scheduler, such as ``tcp://host:8786``, or the path of its
            scheduler file; None to start worker processes on this machine.
        workers: number of processes to start.
        gpus: names of this machine's GPUs, as in ``CUDA_VISIBLE_DEVICES``, which started workers
            share out.

    Raises:
        InputError: a value is out of range, or Dask is not installed.
    """

    scheduler: str | None = None
    workers: int = 1
    gpus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers={self.workers}", "must be at least 1")
        require_extra("cluster", f"scheduler={self.scheduler}" if self.scheduler else "workers")

    @contextmanager
    def connected(self) -> Iterator["Client"]:
        """Yield a client; workers that were started end with the block.

        Raises:
            InputError: the scheduler cannot be reached, or has no worker.
        """
        import dask
        from distributed import Client
        from distributed.client import FutureCancelledError

        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are raised too
        with dask.config.set(_settings()):
            if self.scheduler is None:
                with self._started() as address, Client(address, timeout=PATIENCE) as client:
                    yield client
                return
            try:
                with self._client() as client:
                    self._wait_for_worker(client)
                    self._check_project(client)
                    yield client
            except FutureCancelledError as error:
                raise InputError(
                    f"scheduler={self.scheduler}",
                    "the connection to it was lost",
                    "give the same command again when it runs",
                ) from error

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], unit: str
    ) -> list[Result]:
        """Apply a function to every item, with a progress bar.

        Relative paths mean the same as in this process, if all machines see the same files.

        Args:
            function: the function. It must be possible to pickle it.
            items: its arguments.
            unit: name of one item, for the progress bar.

        Returns:
            The results in the order of ``items``.

        Raises:
            InputError: workers are killed again and again, or the scheduler is lost.
            Exception: the first error of an item.
        """
        from distributed import KilledWorker, as_completed

        with self.connected() as client, progress_bar(total=len(items), unit=unit) as bar:
            futures = client.map(_Call(function, Path.cwd()), items, pure=False)
            try:
                for future in as_completed(futures):
                    future.result()
                    bar.update()
            except KilledWorker as error:
                raise InputError(
                    "workers are killed again and again, most likely for lack of memory; start "
                    "fewer on each machine"
                ) from error
            except BaseException:
                client.cancel(futures)
                raise
            return client.gather(futures)

    def _client(self) -> "Client":
        from distributed import Client

        assert self.scheduler is not None
        where = f"scheduler={self.scheduler}"
        is_file = "://" not in self.scheduler and not self.scheduler.rpartition(":")[2].isdecimal()
        if is_file and not Path(self.scheduler).is_file():
            raise InputError(
                where, "no such scheduler file", "give its path, or an address as tcp://host:8786"
            )
        try:
            if is_file:
                return Client(scheduler_file=self.scheduler, timeout=PATIENCE)
            return Client(self.scheduler, timeout=PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                where, "cannot be reached", "start it by: dask scheduler --host ADDRESS"
            ) from error

    def _wait_for_worker(self, client: "Client") -> None:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise InputError(
                f"scheduler={self.scheduler}",
                f"has no worker after {PATIENCE} seconds",
                "start some by: dask worker ADDRESS --nthreads 1",
            ) from error

    def _check_project(self, client: "Client") -> None:
        """Check that the scheduler and the present workers can import this project."""
        found = client.run(find_spec, "network")
        found["the scheduler"] = client.run_on_scheduler(find_spec, "network")
        for place, spec in found.items():
            if spec is None:
                raise InputError(
                    f"scheduler={self.scheduler}",
                    f"{place} cannot import this project",
                    "install it there (pip install '.[cluster]'), or start dask in its folder",
                )

    @contextmanager
    def _started(self) -> Iterator[str]:
        """Start a scheduler and workers on this machine, and yield the scheduler's address."""
        from distributed import Nanny, Scheduler, SpecCluster

        specs: dict[int, Any] = {}
        for number in range(self.workers):
            environment = {}
            if self.gpus:
                environment["CUDA_VISIBLE_DEVICES"] = self.gpus[number % len(self.gpus)]
            specs[number] = {
                "cls": Nanny,
                "options": {
                    "nthreads": 1,
                    "env": environment,
                    "host": "127.0.0.1",
                    "memory_limit": 0,  # memory is bounded, and a full worker must not be ended
                    "preload": [_DEAF],
                },
            }
        scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False}}
        with SpecCluster(specs, scheduler, silence_logs="ERROR") as cluster:
            yield cluster.scheduler_address


@dataclass(frozen=True)
class _Call:
    """The call of a function in a folder."""

    function: Callable
    folder: Path

    def __call__(self, item: Any) -> Any:
        work_in(self.folder)
        return self.function(item)


def work_in(folder: Path) -> None:
    """On a worker: make relative paths mean the same as in the process that asks.

    Raises:
        InputError: the worker does not see the folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(
            folder, "a worker does not see it", "all machines must see the same files"
        ) from error


def _settings() -> dict[str, Any]:
    """The settings of Dask; those of workers are for workers on this machine."""
    import torch

    # As many threads as this process has: sums are rounded differently with another number.
    # Processes whose threads wait actively would slow each other down.
    threads = torch.get_num_threads()
    environment = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        # With Dask's value, each tensor would be new memory from the system.
        "MALLOC_TRIM_THRESHOLD_": None,
        "DASK_LOGGING__DISTRIBUTED": "error",
    }
    before = "distributed.nanny.pre-spawn-environ"
    return {
        **{f"{before}.{name}": value for name, value in environment.items()},
        # A task is given up after it has ended so many workers and one more.
        "distributed.scheduler.allowed-failures": 2,
    }


Workers = int | Cluster
"""Who shares work: a number of processes on this machine, or a cluster."""
