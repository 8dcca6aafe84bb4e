"""The prediction service: images come by HTTP, and their masks go back."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from network.predictor import Predictor
from network.serving.accept import choose
from network.serving.answers import TYPES, Answerer, Wish
from network.serving.batches import Batches, Cancelled, Ticket
from network.serving.limits import Limits
from network.serving.metrics import Metrics
from network.serving.refusal import Refusal
from network.serving.uploads import check_headers, discard, receive

GONE = 499
"""Status in the metrics of a request whose sender went away; nobody gets it."""

LINK = {"Link": '</classes>; rel="describedby"', "Vary": "Accept"}
"""Headers of each answer: where the names of the classes are."""

_STOPPED = "The service is being stopped; ask again later."


class Service:
    """A trained network that answers requests, with a bounded queue.

    Args:
        predictor: the network, with ``patch=None``.
        facts: ``version``, ``checkpoint_sha256``, ``tta`` and ``precision``.
        limits: how much it takes on.

    Attributes:
        info: description of images and classes.
        facts: the facts.
        limits: the limits.
        metrics: numbers about the service.
        is_draining: whether it accepts no new image.
    """

    def __init__(self, predictor: Predictor, facts: dict[str, str], limits: Limits):
        self.info, self.facts, self.limits = predictor.info, facts, limits
        self.is_draining = False
        self.metrics = Metrics(lambda: self._accepted, facts)
        self._accepted = 0
        self._mean_seconds = 1.0
        self._answered = threading.Condition()
        identity = {name: facts[name] for name in ("checkpoint_sha256", "tta", "precision")}
        self._answerer = Answerer(predictor.info, identity, limits)
        self._batches = Batches(
            predictor.logits, limits.batch, limits.wait_ms / 1000, self.metrics.batch
        )
        # While the network works on a batch, the images of the next one are decoded.
        self._workers = limits.batch + 2
        self._pool = ThreadPoolExecutor(self._workers, "image")
        self._folder = TemporaryDirectory(prefix="bicor-seg-")

    def ticket(self) -> Ticket:
        """Make a ticket for the work on one request."""
        return Ticket(self._batches)

    async def predict(self, request: Request, wish: Callable[[str], Wish]) -> Response:
        """Answer a request that sends an image.

        Args:
            request: the request.
            wish: makes what the request wants from the chosen type of the answer.

        Raises:
            Refusal: the request is not answered as it wishes.
        """
        try:
            kind = self._admit(request)
        except Refusal:
            await discard(request, self.limits)
            raise
        self._accepted += 1
        # The place is free again when the thread that works on the request has ended.
        work: Future[tuple[bytes, int]] | None = None
        folder = None
        try:
            folder = TemporaryDirectory(dir=self._folder.name)
            path = await receive(request, Path(folder.name), self.limits)
            ticket, start = self.ticket(), time.monotonic()
            work = self._pool.submit(self._work, path, wish(kind), ticket)
            work.add_done_callback(self._releasing(folder))
            content, pixels = await self._result(request, work, ticket)
        except ClientDisconnect:
            return Response(status_code=GONE)
        except Refusal:
            if work is None:
                await discard(request, self.limits)
            raise
        finally:
            if work is None:
                self._release(folder)
        self._mean_seconds += 0.1 * (time.monotonic() - start - self._mean_seconds)
        self.metrics.predicted(pixels)
        return Response(content, media_type=kind, headers=LINK)

    def drain(self) -> None:
        """Accept no more images, and wait until all accepted ones are answered."""
        self.is_draining = True
        with self._answered:
            self._answered.wait_for(lambda: not self._accepted)

    def close(self) -> None:
        """End all threads and remove all files."""
        self.is_draining = True
        self._batches.close()
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def retry_after(self) -> dict[str, str]:
        """Estimate when a place is free, as the header ``Retry-After``, in seconds."""
        seconds = self._mean_seconds * self._accepted / self._workers
        return {"Retry-After": str(min(60, max(1, math.ceil(seconds))))}

    def _admit(self, request: Request) -> str:
        """Check a request before its body is read; return the type of its answer."""
        kind = choose(request.headers.get("accept", ""), TYPES)
        if kind is None:
            raise Refusal(406, f"None of the accepted types can be given; ask for {_listed()}.")
        check_headers(request, self.limits)
        if self.is_draining:
            raise Refusal(503, _STOPPED, {"Retry-After": "10"})
        if self._accepted >= self.limits.queue:
            raise Refusal(
                429,
                f"{self._accepted} images wait already; send this one again later.",
                self.retry_after(),
            )
        return kind

    def _work(self, path: Path, wish: Wish, ticket: Ticket) -> tuple[bytes, int]:
        with ticket:
            return self._answerer.answer(path, wish, ticket)

    async def _result(
        self, request: Request, work: "Future[tuple[bytes, int]]", ticket: Ticket
    ) -> tuple[bytes, int]:
        """Wait for the result of the work, but no longer than allowed or than its sender waits."""
        done = asyncio.wrap_future(work)
        gone = asyncio.create_task(_wait_for_disconnect(request))
        try:
            await asyncio.wait(
                (done, gone), timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if done.done():
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
            raise Refusal(503, _STOPPED) from None
        finally:
            gone.cancel()
            if not done.done():
                work.cancel()
                ticket.cancel()
                done.add_done_callback(_forget)

    def _releasing(self, folder: "TemporaryDirectory[str]") -> Callable[[Any], None]:
        loop = asyncio.get_running_loop()

        def release(_: Any) -> None:
            loop.call_soon_threadsafe(self._release, folder)

        return release

    def _release(self, folder: "TemporaryDirectory[str] | None") -> None:
        if folder is not None:
            folder.cleanup()
        with self._answered:
            self._accepted -= 1
            self._answered.notify_all()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _forget(done: "asyncio.Future[Any]") -> None:
    """Take the error of a result that nobody wants, so it is not reported as lost."""
    if not done.cancelled():
        done.exception()


def _listed() -> str:
    return f"{', '.join(TYPES[:-1])} or {TYPES[-1]}"
