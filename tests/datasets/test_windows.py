"""Windows and padding: every pixel where it belongs, none twice where that is promised."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.datasets.windows import (
    covering_windows,
    inner_windows,
    padding,
    padding_margin,
    separate_windows,
    starts,
)

sizes = st.integers(1, 12).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@pytest.mark.parametrize(
    ("length", "size", "stride", "expected"),
    [
        (1024, 1024, 512, 0),
        (6000, 1024, 1024, 144),
        (2566, 1024, 512, 506),
        (10, 4, 3, 3),  # a multiple of 4 is 12, but windows at 0, 3, 6, 9 end on 13
        (5, 5, 1, 0),
    ],
)
def test_padding_by_hand(length, size, stride, expected):
    assert padding(length, size, stride) == expected


@given(st.integers(1, 60), sizes)
def test_padding_ends_on_a_window_and_is_no_longer_than_needed(length, geometry):
    size, stride = geometry
    padded = length + padding(length, size, stride)
    multiple = -(-length // size) * size
    assert multiple <= padded < multiple + stride
    assert (padded - size) % stride == 0


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 0), (0, 2), (3, 2)])
def test_padding_margin(top, left):
    image = np.ones((8, 7, 3), np.uint8)
    image[:top] = 0
    image[:, :left] = 0
    image[5, 5] = 0  # a black pixel inside is none
    assert padding_margin(image) == (top, left)
    assert padding_margin(np.zeros_like(image)) == (8, 7)


def test_windows_go_row_by_row():
    corners = [(rows.start, columns.start) for rows, columns in inner_windows(6, 8, 4, 2)]
    assert corners == [(0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4)]


def test_starts():
    assert starts(2160, 1024, 1024) == [0, 1024, 1136]  # all rows; 112 of them twice 1024 misses
    assert starts(3840, 1024, 1024) == [0, 1024, 2048, 2816]
    assert starts(4096, 1024, 1024) == [0, 1024, 2048, 3072]
    assert starts(1024, 1024, 512) == [0]
    assert starts(100, 1024, 1024) == [0]


@settings(deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    data=st.data(),
)
def test_windows_cover_everything(height, width, size, data):
    stride = tuple(data.draw(st.integers(1, side)) for side in size)
    seen = np.zeros((height, width), int)
    for window in covering_windows(height, width, size, stride):
        seen[window] += 1
        shape = tuple(side.stop - side.start for side in window)
        assert shape == (min(size[0], height), min(size[1], width))
    assert seen.min() >= 1


@given(st.integers(1, 300), st.integers(1, 300), st.integers(32, 128), st.booleans())
def test_separate_windows(height, width, side, keep_rest):
    """No pixel twice; all of them with the rest, and only whole windows without."""
    times = np.zeros((height, width), int)
    for window in separate_windows(height, width, side, keep_rest=keep_rest):
        times[window] += 1
        shape = times[window].shape
        assert keep_rest or shape == (min(side, height), min(side, width))
        assert max(shape) <= side
    assert times.max() == 1
    if keep_rest:
        assert times.min() == 1
