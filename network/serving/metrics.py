"""Numbers about the service, in the text format of Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of one service.

    Args:
        waiting: tells how many requests wait or are worked on.
        facts: facts about the service that do not change, by name.
    """

    def __init__(self, waiting: Callable[[], int], facts: dict[str, str]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        Info("bicor_service", "The network and the version.", registry=self._registry).info(facts)
        self._requests = Counter(
            "bicor_requests",
            "Requests by path and status.",
            ("path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "bicor_request_seconds",
            "Time from the headers of a request to the end of its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._windows = Histogram(
            "bicor_batch_windows",
            "Windows that the network sees at once.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self._pixels = Counter("bicor_pixels", "Predicted pixels.", registry=self._registry)
        queue = Gauge(
            "bicor_queue_requests",
            "Requests that wait or are worked on.",
            registry=self._registry,
        )
        queue.set_function(waiting)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            path: pattern of the path, such as ``/predict``.
            status: status of the answer; 499 if the sender had gone.
            seconds: how long it took.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, windows: int) -> None:
        """Count a batch."""
        self._windows.observe(windows)

    def predicted(self, pixels: int) -> None:
        """Count the pixels of an image."""
        self._pixels.inc(pixels)

    def text(self) -> bytes:
        """Write all numbers."""
        return generate_latest(self._registry)
