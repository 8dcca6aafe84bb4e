"""Timing of functions that are compared with one another."""

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
    """Time functions in rounds, each of which runs all functions one after another.

    Other programs on the machine slow the functions of one round in the same way, so compare times
    round by round with :func:`ratio`.

    Args:
        functions: the functions by name.
        repeats: number of rounds that count.
        warmup: number of rounds before these.
        device: a GPU, whose work must end before the clock is read.
        label: text of the progress bar.

    Returns:
        Seconds of each function in each round.
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
    """Compute the median over rounds of the time of ``name`` divided by the time of ``base``."""
    pairs = zip(times[name], times[base], strict=True)
    return statistics.median(one / other for one, other in pairs)


def median(seconds: Sequence[float]) -> float:
    """Compute the median of a function's times in seconds, and return it in milliseconds."""
    return 1000 * statistics.median(seconds)


def _wait_for(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
