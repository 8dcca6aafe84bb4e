"""Limits of the service, which keep one request from taking the machine away from the others."""

import math
from dataclasses import dataclass

from network.errors import InputError


@dataclass(frozen=True)
class Limits:
    """How much the service takes on.

    Attributes:
        max_megabytes: largest body of a request, in millions of bytes.
        max_megapixels: largest image, in millions of pixels.
        body_seconds: time in which a body must have arrived.
        seconds: time in which an answer must be ready, counted from the arrival of the body.
        queue: number of requests that wait or are worked on; one more gets the status 429.
        batch: number of windows that the network sees at once.
        wait_ms: how long a window waits for others of its size, in milliseconds.

    Raises:
        InputError: a value is out of range.
    """

    max_megabytes: float = 64.0
    max_megapixels: float = 50.0
    body_seconds: float = 30.0
    seconds: float = 120.0
    queue: int = 32
    batch: int = 8
    wait_ms: float = 5.0

    def __post_init__(self) -> None:
        for name in ("max_megabytes", "max_megapixels", "body_seconds", "seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name}={value:g}", "must be a finite number above 0")
        for name in ("queue", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}", "must be at least 1")
        if not 0 <= self.wait_ms <= 1000:
            raise InputError(f"wait_ms={self.wait_ms:g}", "must be 0 to 1000")

    @property
    def max_bytes(self) -> int:
        """Largest body in bytes."""
        return round(1e6 * self.max_megabytes)

    @property
    def max_pixels(self) -> int:
        """Largest number of pixels of an image."""
        return round(1e6 * self.max_megapixels)
