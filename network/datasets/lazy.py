"""Images and labels of which only the indexed windows are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from network.datasets.windows import Window, counted_from


class Pixels(Protocol):
    """Pixels (h, w) or (h, w, bands) that are read when they are indexed; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Their shape."""

    @property
    def dtype(self) -> np.dtype:
        """Their type."""

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read rows and columns, two slices."""


@dataclass(frozen=True)
class Lazy:
    """Pixels that a function reads.

    Args:
        shape: (h, w) or (h, w, bands)
        dtype: their type.
        read: reads a window.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Window], np.ndarray]

    def __getitem__(self, window: Window) -> np.ndarray:
        return self.read(window)


@dataclass(frozen=True)
class Piece:
    """A part of a composition.

    Attributes:
        place: rows and columns of the composition.
        pixels: an image.
        window: rows and columns of the image that lie in the top left corner of ``place``. If they
            are smaller than ``place``, the rest is filled.
    """

    place: Window
    pixels: Pixels
    window: Window


@dataclass(frozen=True)
class Composition:
    """Pixels that are put together from parts of several images.

    Args:
        pieces: the parts, which do not overlap.
        shape: (h, w) or (h, w, bands)
        filler: value of pixels in no piece.
    """

    pieces: Sequence[Piece]
    shape: tuple[int, ...]
    filler: float

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels."""
        return self.pieces[0].pixels.dtype

    def __getitem__(self, window: Window) -> np.ndarray:
        rows, columns = (
            range(*side.indices(length))
            for side, length in zip(window, self.shape[:2], strict=True)
        )
        read = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
        found = np.full((len(rows), len(columns), *self.shape[2:]), self.filler, self.dtype)
        for piece in self.pieces:
            there = _common(read, _filled(piece))
            if there is None:
                continue
            inner = counted_from(piece.place, there)
            source = tuple(
                slice(start.start + side.start, start.start + side.stop)
                for start, side in zip(piece.window, inner, strict=True)
            )
            found[counted_from(read, there)] = piece.pixels[source]
        return found


def _filled(piece: Piece) -> Window:
    """Rows and columns of the composition that a piece has pixels for."""
    rows, columns = (
        slice(place.start, min(place.stop, place.start + window.stop - window.start))
        for place, window in zip(piece.place, piece.window, strict=True)
    )
    return rows, columns


def _common(one: Window, other: Window) -> Window | None:
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    is_empty = rows.start >= rows.stop or columns.start >= columns.stop
    return None if is_empty else (rows, columns)
