"""Medians, ratios of rounds, and the order of the rounds."""

import pytest

from network.benchmark.timing import interleave, median, ratio


def test_ratio_is_of_neighbors_in_time():
    """A round in which everything is slow changes nothing."""
    times = {"one": [2.0, 200.0, 2.2], "other": [1.0, 100.0, 1.0]}
    assert ratio(times, "one", "other") == pytest.approx(2.0)
    assert median(times["one"]) == pytest.approx(2200.0)


def test_rounds_are_interleaved_and_the_first_ones_not_counted():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    times = interleave(functions, 3, warmup=2)
    assert calls == ["a", "b"] * 5
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 3, "b": 3}
