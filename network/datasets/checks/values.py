"""Checks of pixel values that are measurements, where one wrong number can spoil a training."""

from collections.abc import Iterator

import numpy as np

from network.rasters.pixels import is_measured
from network.rasters.reader import Raster

FREQUENT = 0.001
"""Smallest share of the pixels that must have one value before it looks like a no-data value."""


def value_faults(raster: Raster) -> Iterator[tuple[str, str]]:
    """Yield problem and remedy of each fault in the values of a decoded image.

    Only measurements are examined. Brightness has no NaN, and may well be black everywhere.

    Args:
        raster: the decoded image.
    """
    values, valid = raster.values, raster.valid
    if not is_measured(values.dtype):
        return
    pixels = values.reshape(-1, values.shape[2]) if valid is None else values[valid]
    if pixels.dtype.kind == "f":
        yield from _not_finite(pixels, raster.nodata)
    for number, band in enumerate(pixels.T, start=1):
        band = band[np.isfinite(band)]
        if len(band):
            yield from _odd_value(number, band, raster.nodata)


def _not_finite(pixels: np.ndarray, nodata: float | None) -> Iterator[tuple[str, str]]:
    """Find NaN and infinite values in pixels (n, bands) that should have data."""
    is_nan, is_infinite = (test(pixels).any(axis=1) for test in (np.isnan, np.isinf))
    if is_nan.any():
        yield f"{_share(is_nan)} of its pixels are NaN", _remedy("nan", nodata)
    if is_infinite.any():
        yield f"{_share(is_infinite)} of its pixels are infinite", "mend the image"


def _odd_value(number: int, band: np.ndarray, nodata: float | None) -> Iterator[tuple[str, str]]:
    """Find a band of one value, or a value of many pixels that is far from all others."""
    low, high = band.min(), band.max()
    if low == high:
        yield f"band {number} is {low} everywhere", _remedy(low, nodata)
        return
    for value in (low, high):
        is_value = band == value
        others = band[~is_value].astype(np.float64)
        first, last = others.min(), others.max()
        gap = max(first - value, value - last)
        if gap > last - first > 0 and is_value.mean() >= FREQUENT:
            problem = (
                f"band {number} is {value} in {_share(is_value)} of its pixels, all others are "
                f"{first:g} to {last:g}"
            )
            yield problem, _remedy(value, nodata)


def _remedy(value: object, nodata: float | None) -> str:
    if nodata is None:
        return f"if that means no data, say so (gdal_edit.py -a_nodata {value}), or mend the image"
    return f"if that means no data, write its no-data value {nodata:g} there, or mend the image"


def _share(chosen: np.ndarray) -> str:
    return f"{chosen.mean():.2%}"
