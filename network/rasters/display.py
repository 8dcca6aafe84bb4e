"""Colors in which the pixels of any raster are shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from network.errors import InputError
from network.rasters.shrink import Opened, shrink
from network.rasters.view import View

SHOWN_PERCENTILES = 2, 98
"""Percentiles of each band that become black and white when an image has more than 8 bits."""

_SAMPLE = 1024


@dataclass(frozen=True)
class Display:
    """How pixels of an image are shown as RGB.

    Attributes:
        bands: numbers of the shown bands, from 1 on: one (gray, or a color table) or three.
        low: value of each band that becomes black; None if values are shown as they are.
        high: value of each band that becomes white.
        table: (256, 3) uint8, colors of a color table; None if there is none.
    """

    bands: tuple[int, ...]
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    table: np.ndarray | None = None

    def to_rgb(self, values: np.ndarray) -> np.ndarray:
        """Turn the shown bands (h, w, 1 or 3) into colors (h, w, 3) uint8."""
        if self.table is not None:
            return self.table[values[..., 0]]
        if self.low is not None and self.high is not None:
            values = stretch(values, self.low, self.high)
        return np.broadcast_to(values, (*values.shape[:2], 3))


def choose_bands(image: View, wanted: Sequence[int] | None = None) -> tuple[int, ...]:
    """Choose the bands that are shown: the wanted ones, else the first three, or the first.

    Args:
        image: the image.
        wanted: numbers of bands, from 1 on; None for no wish.

    Raises:
        InputError: the image has not these bands, or there are neither one nor three.
    """
    if not wanted:
        return (1, 2, 3) if image.bands >= 3 else (1,)
    text = f"bands={' '.join(map(str, wanted))}"
    if len(wanted) not in (1, 3):
        raise InputError(text, "expected one band, or three for red, green and blue")
    missing = set(wanted) - set(range(1, image.bands + 1))
    if missing:
        raise InputError(text, f"{image.path} has no band {min(missing)}, only 1 to {image.bands}")
    return tuple(wanted)


def display_of(image: View, bands: tuple[int, ...], file: Opened) -> Display:
    """Find out how an image is shown. If it has more than 8 bits, its values are looked at.

    Args:
        image: the image.
        bands: numbers of the shown bands.
        file: the opened image, or a smaller copy of it.
    """
    if image.table is not None and image.dtype == "uint8":
        table = np.zeros((256, 3), np.uint8)
        for value, color in image.table.items():
            table[value] = color
        return Display(bands, table=table)
    if image.dtype == "uint8":
        return Display(bands)
    scale = max(1.0, max(file.height, file.width) / _SAMPLE)
    size = max(1, round(file.height / scale)), max(1, round(file.width / scale))
    values, valid = shrink(file, list(bands), *size, is_labels=False, what=image.path.name)
    seen = values[valid & np.isfinite(values).all(axis=2)]
    if not len(seen):
        return Display(bands, np.zeros(len(bands)), np.ones(len(bands)))
    low, high = np.percentile(seen, SHOWN_PERCENTILES, axis=0)
    return Display(bands, low, high)


def stretch(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Map values of each band linearly, ``low`` to 0 and ``high`` to 255.

    Args:
        values: (..., bands).
        low: (bands,).
        high: (bands,); where it is not above ``low``, all values become 0 or 255.

    Returns:
        (..., bands) uint8.
    """
    span = np.where(high > low, high - low, 1)
    shares = np.clip((np.asarray(values, np.float64) - low) / span, 0, 1)
    return (255 * np.nan_to_num(shares)).astype(np.uint8)
