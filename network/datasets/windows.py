"""Windows: how images are cut into parts, and the padding that some ways of cutting need.

A window is a pair of slices, rows and columns. All functions yield windows row by row.
"""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

Window = tuple[slice, slice]


def inner_windows(height: int, width: int, size: int, stride: int) -> Iterator[Window]:
    """Square windows that lie inside an image; what they leave at its end is in none.

    A tile that is padded by :func:`padding` is covered by them.

    Args:
        size: side of the windows, pixels.
        stride: pixels between the starts of two neighbors.
    """
    rows, columns = (
        [slice(start, start + size) for start in range(0, length - size + 1, stride)]
        for length in (height, width)
    )
    yield from product(rows, columns)


def covering_windows(
    height: int, width: int, size: tuple[int, int], stride: tuple[int, int]
) -> Iterator[Window]:
    """Windows that cover an image; the last ones are moved back to end with it.

    Args:
        size: height and width of the windows; a smaller image is one window.
        stride: rows and columns between the starts of two neighbors.
    """
    rows, columns = (
        [slice(start, min(length, start + side)) for start in starts(length, side, step)]
        for length, side, step in zip((height, width), size, stride, strict=True)
    )
    yield from product(rows, columns)


def starts(length: int, size: int, stride: int) -> list[int]:
    """Where windows begin that cover ``length`` pixels; the last is moved back to end with them."""
    last = max(0, length - size)
    return [*range(0, last, stride), last]


def separate_windows(height: int, width: int, side: int, *, keep_rest: bool) -> Iterator[Window]:
    """Square windows without overlap.

    Args:
        side: of the windows, pixels. An image that is shorter than that is cut as it is.
        keep_rest: whether the rest at the right and at the bottom makes smaller windows.
    """
    yield from product(_spans(height, side, keep_rest), _spans(width, side, keep_rest))


def _spans(length: int, side: int, keep_rest: bool) -> list[slice]:
    if length <= side:
        return [slice(0, length)]
    rest = length % side
    spans = [slice(end - side, end) for end in range(side, length + 1, side)]
    return [*spans, slice(length - rest, length)] if rest and keep_rest else spans


def padding(length: int, size: int, stride: int) -> int:
    """Pixels to add before ``length`` pixels so that :func:`inner_windows` cover all of them.

    The sum is a multiple of ``size``, and more where the strides would not end on it.
    """
    padded = math.ceil(length / size) * size
    return padded + (size - padded) % stride - length


def padding_margin(image: np.ndarray) -> tuple[int, int]:
    """(rows, columns) of the black margin at the top and left of an RGB image (h, w, 3).

    The patch tools pad there. A patch that is black everywhere is all margin.
    """
    has_color = image.any(axis=2)
    rows, columns = np.any(has_color, axis=1), np.any(has_color, axis=0)
    height, width = has_color.shape
    return (int(rows.argmax()), int(columns.argmax())) if rows.any() else (height, width)
