"""Micro-batches: windows of one size from several requests, which the network sees at once."""

import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from network.arrays import Array


class Cancelled(Exception):
    """The error in the work on a request that nobody waits for any more."""


@dataclass(eq=False)
class _Waiting:
    """Windows (b, bands, h, w) that wait for the network."""

    images: np.ndarray
    ticket: "Ticket"
    scores: Future[Array] = field(default_factory=Future)


class Ticket:
    """The right of one request to use the network.

    Args:
        batches: the batches that its windows go into.
    """

    def __init__(self, batches: "Batches"):
        self._batches = batches
        self._is_cancelled = False

    def logits(self, images: np.ndarray) -> Array:
        """Compute the logits of windows, together with those of other requests.

        Args:
            images: (b, bands, h, w) pixel values on the CPU.

        Returns:
            (b, k, h, w) on the device.

        Raises:
            Cancelled: the request was cancelled.
        """
        return self._batches.compute(images, self)

    def cancel(self) -> None:
        """End the work on this request: its waiting windows leave the queue at once."""
        self._is_cancelled = True
        self._batches.drop(self)

    def check(self) -> None:
        """Raise :class:`Cancelled` if the request was cancelled."""
        if self._is_cancelled:
            raise Cancelled

    def __enter__(self) -> "Ticket":
        self._batches.count(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._batches.count(-1)


class Batches:
    """The network's queue, and the thread in which the network runs.

    Windows of one shape that come within a short time go into one batch. If only one request is
    worked on, its windows do not wait.

    Args:
        logits: computes logits (b, k, h, w) of windows (b, bands, h, w).
        most: largest number of windows in a batch; a single request may bring more.
        wait: how long a window waits for others, in seconds.
        observe: called with the number of windows of each batch.
        pixels: largest number of pixels in a batch; a single request may bring more.
    """

    def __init__(
        self,
        logits: Callable[[np.ndarray], Array],
        most: int,
        wait: float,
        observe: Callable[[int], object] = lambda count: None,
        pixels: float = math.inf,
    ):
        self._logits, self._most, self._wait, self._observe = logits, most, wait, observe
        self._pixels = pixels
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._active = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def compute(self, images: np.ndarray, ticket: Ticket) -> Array:
        """Compute logits, see :meth:`Ticket.logits`."""
        waiting = _Waiting(images, ticket)
        with self._changed:
            ticket.check()
            if self._is_closed:
                raise Cancelled
            self._queue.append(waiting)
            self._changed.notify_all()
        return waiting.scores.result()

    def drop(self, ticket: Ticket) -> None:
        """Take the windows of a request out of the queue."""
        with self._changed:
            dropped = [one for one in self._queue if one.ticket is ticket]
            self._queue = deque(one for one in self._queue if one.ticket is not ticket)
        for one in dropped:
            one.scores.set_exception(Cancelled())

    def count(self, change: int) -> None:
        """Change the number of requests that are worked on."""
        with self._changed:
            self._active += change
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread, and cancel all that waits."""
        with self._changed:
            self._is_closed = True
            left, self._queue = self._queue, deque()
            self._changed.notify_all()
        for one in left:
            one.scores.set_exception(Cancelled())
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closed:
            if batch := self._next():
                self._observe(sum(len(one.images) for one in batch))
                self._answer(batch)

    def _next(self) -> list[_Waiting]:
        """Wait for the next batch.

        It is empty if the queue is closed, or if all that waited was cancelled meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            until = monotonic() + self._wait
            # More windows can only come from requests that have none in the queue yet.
            while len(self._queue) < min(self._most, self._active) and not self._is_closed:
                rest = until - monotonic()
                if rest <= 0 or not self._changed.wait(rest):
                    break
            batch: list[_Waiting] = []
            others: deque[_Waiting] = deque()
            count = 0
            for one in self._queue:
                height, width = one.images.shape[-2:]
                together = count + len(one.images)
                fits = not batch or (
                    one.images.shape[1:] == batch[0].images.shape[1:]
                    and together <= self._most
                    and together * height * width <= self._pixels
                )
                if fits:
                    batch.append(one)
                    count += len(one.images)
                else:
                    others.append(one)
            self._queue = others  # in the order in which they came, so none waits for ever
            return batch

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            images = np.concatenate([one.images for one in batch])
            scores = self._logits(images)
        except Exception as error:
            if len(batch) == 1:
                batch[0].scores.set_exception(error)
                return
            # The windows of one request must not spoil the others: alone, they may fit into memory.
            for one in batch:
                self._answer([one])
            return
        start = 0
        for one in batch:
            one.scores.set_result(scores[start : start + len(one.images)])
            start += len(one.images)
