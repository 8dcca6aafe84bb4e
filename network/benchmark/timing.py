"""Times of functions that are compared with one another."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from network.progress import progress_bar

Times = dict[str, list[float]]


def interleave(
    functions: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    warmup: int = 1,
    device: torch.device | None = None,
    label: str = "",
) -> Times:
    """Seconds of each function in each round; a round runs all of them, one after another.

    What else runs on a machine slows neighbors in time alike: times are to be compared round
    by round (:func:`ratio`).

    Args:
        warmup: rounds that are run first and not counted.
        device: waited for before each look at the clock.
        label: of the progress bar.
    """
    times: Times = {name: [] for name in functions}
    for round_number in progress_bar(
        range(warmup + repeats), desc=label or "rounds", leave=False, unit="round"
    ):
        for name, function in functions.items():
            _wait_for(device)
            start = time.perf_counter()
            function()
            _wait_for(device)
            if round_number >= warmup:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Times, name: str, base: str) -> float:
    """Median over the rounds of the time of ``name`` divided by that of ``base``."""
    pairs = zip(times[name], times[base], strict=True)
    return statistics.median(one / other for one, other in pairs)


def median(seconds: Sequence[float]) -> float:
    """Median of the times of one function, in milliseconds."""
    return 1000 * statistics.median(seconds)


def _wait_for(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
