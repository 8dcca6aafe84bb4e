"""Windows that cut images into parts, and the padding that some of them need.

A window is a pair of slices, for rows and columns. All functions yield windows row by row, and all
lengths are in pixels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from network.errors import InputError

Window = tuple[slice, slice]

STRIDE = 32
"""Stride of the deepest features of all encoders; windows begin at multiples of it."""


def counted_from(outer: Window, inner: Window) -> Window:
    """Find the rows and columns of a window, counted from the start of another one.

    Args:
        outer: rows and columns of the image, from whose start is counted.
        inner: rows and columns of the image.
    """
    rows, columns = (
        slice(side.start - start, side.stop - start)
        for side, start in zip(inner, (part.start for part in outer), strict=True)
    )
    return rows, columns


@dataclass(frozen=True)
class Part:
    """A window, and the part of its logits that is used.

    Attributes:
        window: rows and columns of the image that the network sees.
        core: rows and columns whose logits are used.
    """

    window: Window
    core: Window

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the image where the window begins."""
        return self.window[0].start, self.window[1].start

    @property
    def inside(self) -> Window:
        """Rows and columns of the core, counted from the start of the window."""
        return counted_from(self.window, self.core)


def inner_windows(height: int, width: int, size: int, stride: int) -> Iterator[Window]:
    """Yield square windows inside an image; a rest at the right and bottom is in no window.

    They cover a tile that is padded by :func:`padding`.

    Args:
        height: height of the image.
        width: width of the image.
        size: side of the windows.
        stride: distance between the starts of two neighbors.
    """
    rows, columns = (
        [slice(start, start + size) for start in range(0, length - size + 1, stride)]
        for length in (height, width)
    )
    yield from product(rows, columns)


def covering_windows(
    height: int, width: int, size: tuple[int, int], stride: tuple[int, int]
) -> Iterator[Window]:
    """Yield windows that cover an image; the last ones are moved back to end with the image.

    Args:
        height: height of the image.
        width: width of the image.
        size: height and width of the windows; they are smaller if the image is smaller.
        stride: rows and columns between the starts of two neighbors.

    Examples:
        >>> for rows, columns in covering_windows(4, 7, size=(4, 4), stride=(4, 4)):
        ...     print(rows.start, rows.stop, columns.start, columns.stop)
        0 4 0 4
        0 4 3 7
    """
    rows, columns = (
        [slice(start, min(length, start + side)) for start in starts(length, side, step)]
        for length, side, step in zip((height, width), size, stride, strict=True)
    )
    yield from product(rows, columns)


def starts(length: int, size: int, stride: int) -> list[int]:
    """Find where windows begin that cover a length; the last is moved back to end with it.

    Examples:
        >>> starts(1000, size=512, stride=256)
        [0, 256, 488]
    """
    last = max(0, length - size)
    return [*range(0, last, stride), last]


def around(place: int, side: int, length: int) -> slice:
    """Find the rows or columns of a window around a pixel, moved to lie inside the image.

    Args:
        place: row or column of the pixel.
        side: side of the window; it is smaller if the image is smaller.
        length: height or width of the image.

    Examples:
        >>> around(50, side=20, length=100), around(97, side=20, length=100)
        (slice(40, 60, None), slice(80, 100, None))
    """
    start = max(0, min(place - side // 2, length - side))
    return slice(start, min(length, start + side))


def separate_windows(height: int, width: int, side: int, *, keep_rest: bool) -> Iterator[Window]:
    """Yield square windows without overlap.

    Args:
        height: height of the image.
        width: width of the image.
        side: side of the windows; they are smaller if the image is smaller.
        keep_rest: whether the rest at the right and at the bottom makes smaller windows.

    Examples:
        >>> for rows, columns in separate_windows(4, 7, side=4, keep_rest=True):
        ...     print(rows.start, rows.stop, columns.start, columns.stop)
        0 4 0 4
        0 4 4 7
    """
    yield from product(_spans(height, side, keep_rest), _spans(width, side, keep_rest))


def _spans(length: int, side: int, keep_rest: bool) -> list[slice]:
    if length <= side:
        return [slice(0, length)]
    rest = length % side
    spans = [slice(end - side, end) for end in range(side, length + 1, side)]
    return [*spans, slice(length - rest, length)] if rest and keep_rest else spans


def padding(length: int, size: int, stride: int) -> int:
    """Compute how many pixels to add in front, so that :func:`inner_windows` cover a length.

    The padded length is a multiple of ``size``, plus a few pixels if no stride ends there.

    Examples:
        >>> padding(1900, size=1024, stride=512)
        148
    """
    padded = math.ceil(length / size) * size
    return padded + (size - padded) % stride - length


def padding_margin(image: np.ndarray) -> tuple[int, int]:
    """Measure the black margin (rows, columns) at the top and left of an image (h, w, 3).

    The patch tools pad there. If the whole patch is black, all of it is margin.
    """
    has_color = image.any(axis=2)
    rows, columns = np.any(has_color, axis=1), np.any(has_color, axis=0)
    height, width = has_color.shape
    return (int(rows.argmax()), int(columns.argmax())) if rows.any() else (height, width)


def check_lengths(window: int, halo: int) -> None:
    """Raise an :class:`InputError` if windows of this side and halo do not fit the stride."""
    if window < STRIDE or window % STRIDE:
        raise InputError(
            f"window={window}",
            f"windows begin at multiples of {STRIDE}, the stride of the encoders",
            f"give a multiple of {STRIDE}",
        )
    if halo < 0 or halo % STRIDE or 2 * halo >= window:
        raise InputError(
            f"halo={halo}",
            f"must be a multiple of {STRIDE} from 0 to less than half of the window of {window}",
        )


def spans(length: int, window: int, halo: int) -> list[slice]:
    """Cut a length into cores whose windows are as long as ``window``, or shorter at the end.

    The first core is longer than those in the middle, since it needs no halo at the edge of the
    image. The last one takes the rest, which may be longer or shorter.

    Examples:
        >>> spans(2000, window=1024, halo=128)
        [slice(0, 896, None), slice(896, 1664, None), slice(1664, 2000, None)]
        >>> spans(1000, window=1024, halo=128)
        [slice(0, 1000, None)]
    """
    if length <= window:
        return [slice(0, length)]
    starts = [0, *range(window - halo, length, window - 2 * halo)]
    # The last core may be so short that the window before it can hold it too.
    if len(starts) > 1 and length - starts[-2] <= window - halo * (len(starts) > 2):
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], length], strict=True)]


def parts_of(height: int, width: int, window: int, halo: int) -> Iterator[Part]:
    """Yield windows that cover an image, each with the core that is used; cores do not overlap.

    Args:
        height: height of the image.
        width: width of the image.
        window: largest side of a window.
        halo: width of the context around each core; none is needed at the edges of the image.

    Examples:
        >>> len(list(parts_of(1500, 1000, window=1024, halo=128)))
        2
    """
    for core in product(spans(height, window, halo), spans(width, window, halo)):
        yield Part(with_halo(core, halo, (height, width)), core)


def with_halo(core: Window, halo: int, size: tuple[int, int]) -> Window:
    """Add context to a window, as far as the image reaches.

    Args:
        core: the window.
        halo: width of the context.
        size: height and width of the image.
    """
    rows, columns = (
        slice(max(0, side.start - halo), min(length, side.stop + halo))
        for side, length in zip(core, size, strict=True)
    )
    return rows, columns
