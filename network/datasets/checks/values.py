"""Checks of pixel values that are measurements, where one wrong number can spoil a training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from network.rasters.pixels import is_measured
from network.rasters.reader import Raster

FREQUENT = 0.001
"""Smallest share of the pixels that must have one value before it looks like a no-data value."""


class Values:
    """The values of an image that is read part by part, and the faults in them.

    Only measurements are examined. Brightness has no NaN, and may well be black everywhere.
    """

    def __init__(self) -> None:
        self._pixels = self._nan = self._infinite = 0
        self._nodata: float | None = None
        self._bands: dict[int, _Extremes] = {}

    def add(self, part: Raster) -> None:
        """Take note of the values of a part.

        Args:
            part: the decoded part; pixels that are NaN count as valid in it.
        """
        values, valid = part.values, part.valid
        if not is_measured(values.dtype):
            return
        pixels = values.reshape(-1, values.shape[2]) if valid is None else values[valid]
        self._pixels += len(pixels)
        self._nodata = part.nodata
        if pixels.dtype.kind == "f":
            self._nan += int(np.isnan(pixels).any(axis=1).sum())
            self._infinite += int(np.isinf(pixels).any(axis=1).sum())
        for number, band in enumerate(pixels.T, start=1):
            band = band[np.isfinite(band)]
            if len(band):
                found = _Extremes.of(band)
                known = self._bands.get(number)
                self._bands[number] = found if known is None else known + found

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield problem and remedy of each fault in the values so far."""
        if self._nan:
            share = _share(self._nan, self._pixels)
            yield f"{share} of its pixels are NaN", _remedy("nan", self._nodata)
        if self._infinite:
            share = _share(self._infinite, self._pixels)
            yield f"{share} of its pixels are infinite", "mend the image"
        for number, band in sorted(self._bands.items()):
            yield from _odd_value(number, band, self._nodata)


@dataclass(frozen=True)
class _Extremes:
    """The two smallest and the two largest values of a band; those of two parts can be added.

    Attributes:
        count: number of values.
        lows: the smallest value and the next larger one, or the only value.
        highs: the largest value and the next smaller one, or the only value.
        lowest: number of pixels that have the smallest value.
        highest: number of pixels that have the largest value.
    """

    count: int
    lows: tuple[Any, ...]
    highs: tuple[Any, ...]
    lowest: int
    highest: int

    @classmethod
    def of(cls, band: np.ndarray) -> "_Extremes":
        """Find them in some finite values (n,)."""
        low, high = band.min(), band.max()
        above, below = band[band > low], band[band < high]
        return cls(
            count=len(band),
            lows=(low, above.min()) if len(above) else (low,),
            highs=(high, below.max()) if len(below) else (high,),
            lowest=len(band) - len(above),
            highest=len(band) - len(below),
        )

    def __add__(self, other: "_Extremes") -> "_Extremes":
        lows = tuple(sorted({*self.lows, *other.lows})[:2])
        highs = tuple(sorted({*self.highs, *other.highs}, reverse=True)[:2])
        both = self, other
        return _Extremes(
            count=self.count + other.count,
            lows=lows,
            highs=highs,
            lowest=sum(one.lowest for one in both if one.lows[0] == lows[0]),
            highest=sum(one.highest for one in both if one.highs[0] == highs[0]),
        )


def _odd_value(number: int, band: _Extremes, nodata: float | None) -> Iterator[tuple[str, str]]:
    """Find a band of one value, or a value of many pixels that is far from all others."""
    low, high = band.lows[0], band.highs[0]
    if low == high:
        yield f"band {number} is {low} everywhere", _remedy(low, nodata)
        return
    for value, count, others in (
        (low, band.lowest, (band.lows[1], high)),
        (high, band.highest, (low, band.highs[1])),
    ):
        first, last = map(float, others)
        gap = max(first - float(value), float(value) - last)
        if gap > last - first > 0 and count >= FREQUENT * band.count:
            problem = (
                f"band {number} is {value} in {_share(count, band.count)} of its pixels, all "
                f"others are {first:g} to {last:g}"
            )
            yield problem, _remedy(value, nodata)


def _remedy(value: object, nodata: float | None) -> str:
    if nodata is None:
        return f"if that means no data, say so (gdal_edit.py -a_nodata {value}), or mend the image"
    return f"if that means no data, write its no-data value {nodata:g} there, or mend the image"


def _share(count: int, total: int) -> str:
    return f"{count / total:.2%}"
