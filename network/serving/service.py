"""The prediction service: it queues received images, predicts them, and answers with masks."""

import asyncio
import math
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from network.exported.load import check_windows
from network.maps.options import MapOptions
from network.maps.plan import WINDOW
from network.maps.run import check_options
from network.memory import share_memory_among_threads
from network.prediction import ImagePredictor
from network.serving.accept import choose
from network.serving.answers import TYPES, Answerer, Wish
from network.serving.batches import Batches, Cancelled, Ticket
from network.serving.limits import Limits
from network.serving.metrics import Metrics
from network.serving.refusal import Refusal
from network.serving.uploads import check_headers, discard, no_space, receive
from network.writing import beside, remove_leftovers, stem_of, writing

Result = TypeVar("Result")

GONE = 499
"""Status in the metrics of a request whose sender went away; nobody gets it."""

LINK = {"Link": '</classes>; rel="describedby"', "Vary": "Accept"}
"""Headers of each answer: where the names of the classes are."""

_ROLE = "service"
"""The role in the name of the folder of a service, see :func:`network.writing.beside`."""

_STOPPED = "The service is being stopped; ask again later."


class Service:
    """A trained network that answers requests, with a bounded queue.

    Args:
        predictor: the network, with ``patch=None``, and with ``batch_size=limits.batch``: it would
            split larger batches.
        facts: ``version``, ``checkpoint_sha256``, ``tta`` and ``precision``.
        limits: how much it takes on.

    Attributes:
        info: description of images and classes.
        facts: the facts.
        limits: the limits.
        metrics: numbers about the service.
        is_draining: whether it accepts no new image.
        options: how images are cut into windows.
        folder: folder of its files, which are removed at the end.
    """

    def __init__(self, predictor: ImagePredictor, facts: dict[str, str], limits: Limits):
        self.info, self.facts, self.limits = predictor.info, facts, limits
        self.is_draining = False
        share_memory_among_threads()  # before there are any
        self.metrics = Metrics(lambda: self._accepted, facts)
        self._accepted = 0
        self._mean_seconds = 1.0
        self._changed = threading.Condition()
        identity = {name: fact for name, fact in facts.items() if name != "version"}
        self.options = MapOptions()
        if predictor.fixed_size:  # of an exported file
            check_windows(predictor.fixed_size)
            self.options = MapOptions(window=predictor.fixed_size[0])
            check_options(self.options, predictor)
        self._answerer = Answerer(predictor.info, identity, limits, self.options)
        self._batches = Batches(
            predictor.logits,
            limits.batch,
            limits.wait_ms / 1000,
            self.metrics.batch,
            # On a CPU, several large windows at once take memory, and no less time.
            pixels=WINDOW**2 if predictor.is_on_cpu else math.inf,
        )
        # While the network works on a batch, the images of the next one are decoded.
        self._workers = limits.batch + 2
        self._pool = ThreadPoolExecutor(self._workers, "image")
        self._names = [str(number) for number in range(limits.queue)]
        # Many tiles come at once, and may be slow; they must not take the threads of the images.
        self._tile_pool = ThreadPoolExecutor(2, "tile")
        name = beside(Path(gettempdir(), "bicor-seg"), _ROLE)
        # A service that was killed has not removed the images that it had received.
        remove_leftovers(name.parent, stem_of("bicor-seg"), role=_ROLE)
        with writing(name.parent):
            self._folder = TemporaryDirectory(prefix=f"{name.name}.")
        self.folder = Path(self._folder.name)

    async def predict(self, request: Request, wish: Callable[[str], Wish]) -> Response:
        """Answer a request that sends an image.

        Args:
            request: the request.
            wish: makes what the request wants from the chosen type of the answer.

        Raises:
            Refusal: the request is not answered as it wishes.
            ClientDisconnect: the sender went away.
        """
        try:
            kind = choose(request.headers.get("accept", ""), TYPES)
            if kind is None:
                raise Refusal(406, f"None of the accepted types can be given; ask for {_listed()}.")
            wanted = wish(kind)
            check_headers(request, self.limits)
            place = self._take_place()
        except Refusal:
            await discard(request, self.limits)
            raise
        with place:
            try:
                path = await receive(request, place.folder(), self.limits)
            except Refusal as refusal:
                if refusal.status != 408:  # it was waited for already
                    await discard(request, self.limits)
                raise
            found = await self._run(
                self._pool,
                request,
                place,
                lambda ticket: self._answerer.answer(path, wanted, ticket),
            )
        self.metrics.predicted(found.pixels)
        return Response(found.content, media_type=kind, headers={**LINK, **found.headers})

    async def run(self, request: Request, work: Callable[[Ticket], Result]) -> Result:
        """Do work for a request of a tile in a thread, within the limits of the service.

        Args:
            request: the request, whose body is empty.
            work: the work, which uses the network by a ticket.

        Raises:
            Refusal: the queue is full, the service is being stopped, or the work takes too long.
            ClientDisconnect: the sender went away.
        """
        with self._take_place() as place:
            return await self._run(self._tile_pool, request, place, work)

    def drain(self) -> None:
        """Accept no more images, and wait until all accepted ones are answered."""
        self.is_draining = True
        with self._changed:
            self._changed.wait_for(lambda: not self._accepted)

    def close(self) -> None:
        """End all threads and remove all files."""
        self.is_draining = True
        self._batches.close()
        for pool in (self._pool, self._tile_pool):
            pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def retry_after(self) -> dict[str, str]:
        """Estimate when a place is free, as the header ``Retry-After``, in seconds."""
        seconds = self._mean_seconds * self._accepted / self._workers
        return {"Retry-After": str(min(60, max(1, math.ceil(seconds))))}

    def _take_place(self) -> "_Place":
        """Accept a request, if there is a place in the queue."""
        if self.is_draining:
            raise Refusal(503, _STOPPED, {"Retry-After": "10"})
        if self._accepted >= self.limits.queue:
            raise Refusal(
                429,
                f"{self._accepted} requests wait already; send this one again later.",
                self.retry_after(),
            )
        with self._changed:
            self._accepted += 1
            # Names of folders come back, see Answerer._work.
            return _Place(self.folder / self._names.pop(), self._release)

    def _release(self, name: str) -> None:
        with self._changed:
            self._accepted -= 1
            self._names.append(name)
            self._changed.notify_all()

    async def _run(
        self,
        pool: ThreadPoolExecutor,
        request: Request,
        place: "_Place",
        work: Callable[[Ticket], Result],
    ) -> Result:
        """Do work in a thread; stop waiting when the time is over or the sender has gone."""
        ticket, start = Ticket(self._batches), time.monotonic()

        def with_ticket() -> Result:
            with ticket:
                return work(ticket)

        future = pool.submit(with_ticket)
        place.leave_to(future)
        done = asyncio.wrap_future(future)
        gone = asyncio.create_task(_wait_for_disconnect(request))
        try:
            await asyncio.wait(
                (done, gone), timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if done.done():
                self._mean_seconds += 0.1 * (time.monotonic() - start - self._mean_seconds)
                return done.result()
            if gone.done():
                raise ClientDisconnect
            raise Refusal(
                504,
                f"The answer was not ready within {self.limits.seconds:g} seconds; send a smaller "
                "image, or ask again later.",
                self.retry_after(),
            )
        except Cancelled:
            raise Refusal(503, _STOPPED, {"Retry-After": "10"}) from None
        finally:
            gone.cancel()
            if not done.done():
                done.add_done_callback(_forget)
                future.cancel()
                ticket.cancel()


class _Place:
    """A place in the queue, with the folder of its image.

    It is free at the end of the block, or when the thread that works on the request has ended: a
    thread cannot be stopped, and what it uses must not be promised to others.

    Args:
        path: its folder, which is made when it is needed.
        free: called once with the name of the folder, when the place is free.
    """

    def __init__(self, path: Path, free: Callable[[str], None]):
        self._path, self._free, self._is_left = path, free, False

    def folder(self) -> Path:
        """Make the folder, which is removed when the place is free.

        Raises:
            Refusal: the disk does not take it.
        """
        try:
            # The folder of the service may be gone: systems clean old folders in TMPDIR.
            self._path.mkdir(parents=True)
        except OSError as error:
            raise no_space(error) from error
        return self._path

    def leave_to(self, future: "Future[Any]") -> None:
        """Free the place when a thread has ended, not at the end of the block."""
        self._is_left = True
        future.add_done_callback(lambda _: self._release())

    def __enter__(self) -> "_Place":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_left:
            self._release()

    def _release(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        self._free(self._path.name)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _forget(done: "asyncio.Future[Any]") -> None:
    """Take the error of a result that nobody wants, so it is not reported as lost."""
    if not done.cancelled():
        done.exception()


def _listed() -> str:
    return f"{', '.join(TYPES[:-1])} or {TYPES[-1]}"
