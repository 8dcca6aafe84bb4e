"""Rules for pixel values by their type, above all for pixels without data; counts of labels.

Most images hold brightness, unsigned numbers of 8 or 16 bits from black (0) to white. Values of all
other types are called measurements here: heights in meters, shares of reflected light, decibels of
a radar. They have no black and no white. Where nothing was measured, files hold NaN or a number
such as -32767, which would drown all others if a network saw it.
"""

import cv2
import numpy as np

_BRIGHTNESS = ("uint8", "uint16")

_FEW = 2**14
"""Number of pixels below which NumPy counts faster than OpenCV can begin to."""


def is_measured(dtype: str | np.dtype) -> bool:
    """Tell whether pixel values of a type are measurements, not brightness.

    Args:
        dtype: the type, or NumPy's name for it.

    Examples:
        >>> [is_measured(name) for name in ("uint8", "uint16", "int16", "float32")]
        [False, False, True, True]
    """
    return str(dtype) not in _BRIGHTNESS


def finite_pixels(values: np.ndarray, valid: np.ndarray | None) -> np.ndarray | None:
    """Find the valid pixels that have a finite value in all bands.

    Args:
        values: (h, w, bands)
        valid: (h, w) bool, the pixels that the file calls valid; None if all are.

    Returns:
        (h, w) bool; None if all pixels are valid and finite.
    """
    if values.dtype.kind != "f":
        return valid
    finite = np.isfinite(values).all(axis=2)
    valid = finite if valid is None else valid & finite
    return None if valid.all() else valid


def network_values(values: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Turn pixel values into those that a network gets after their normalization.

    Brightness stays as it is. Measurements become float32, with NaN where they have no data. The
    normalization turns NaN into 0, which is the mean of a band.

    Args:
        values: (h, w, bands) as read from a file.
        valid: (h, w) bool, true where all bands have data; None if they have data everywhere.
    """
    if not is_measured(values.dtype):
        return values
    # OpenCV and torch cannot resize or add up all types of integers. Those of more than 24 bits
    # are rounded here, by less than 1 part in 10 million.
    floats = values.astype(np.float32, copy=valid is not None)
    if valid is not None:
        floats[~valid] = np.nan
    return floats


def filler(dtype: np.dtype) -> float:
    """Return the value of pixels that fill up an image: NaN among measurements, otherwise black."""
    return np.nan if is_measured(dtype) else 0


def count_labels(labels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Count the pixels of each label, (256,) int64.

    Args:
        labels: (h, w) uint8, of any size; a few megabytes of memory are enough.
        valid: (h, w) bool, the pixels to count; by default all.
    """
    if valid is None and labels.size < _FEW:
        return np.bincount(labels.reshape(-1), minlength=256)
    counts = np.zeros(256, np.int64)
    rows = max(1, 2**24 // labels.shape[1])  # float32 counts up to 2 ** 24 exactly
    for start in range(0, len(labels), rows):
        part = slice(start, start + rows)
        mask = None if valid is None else valid[part].astype(np.uint8)
        # Three times faster than NumPy, which first makes the labels 8 times as large.
        found = cv2.calcHist([labels[part]], [0], mask, [256], [0, 256])
        counts += found[:, 0].astype(np.int64)
    return counts
