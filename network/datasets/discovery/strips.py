"""Areas of a few scenes: strips from west to east for train, val and test, with gaps in between.

This module needs the extra ``vectors``.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import geopandas
import shapely

from network.rasters.earth_grid import Bounds
from network.writing import replacing

GAP = 0.05
"""Width of the strip between two areas that no split uses, as a share of the whole width."""

_WIDTHS = {"train": 0.6, "val": 0.15, "test": 0.15}
_STEPS = 20
"""Corners along the upper and lower side of a strip: straight lines bend in other systems."""


def strips_of(boxes: Sequence[Bounds]) -> geopandas.GeoDataFrame:
    """Cut boxes into strips. Boxes that touch are cut as one, so no place is in two splits.

    Args:
        boxes: west, south, east and north of each scene, in degrees.

    Returns:
        The strips with an attribute ``split``.
    """
    strips: list[shapely.Polygon] = []
    splits: list[str] = []
    for west, south, east, north in _merged(boxes):
        left = west
        for split, share in _WIDTHS.items():
            right = left + share * (east - west)
            strips.append(
                shapely.segmentize(shapely.box(left, south, right, north), _step(west, east))
            )
            splits.append(split)
            left = right + GAP * (east - west)
    return geopandas.GeoDataFrame({"split": splits}, geometry=strips, crs="EPSG:4326")


def write_strips(path: Path, strips: geopandas.GeoDataFrame) -> None:
    """Write strips as a GeoJSON.

    Args:
        path: the file.
        strips: the strips.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(strips.to_json(drop_id=True) + "\n", encoding="utf-8")


def _step(west: float, east: float) -> float:
    return max((east - west) / _STEPS, math.ulp(1.0))


def _merged(boxes: Sequence[Bounds]) -> list[Bounds]:
    """Join boxes that touch, until none do."""
    found: list[Bounds] = []
    for box in boxes:
        own = box
        while True:
            near = [other for other in found if shapely.box(*own).intersects(shapely.box(*other))]
            if not near:
                break
            found = [other for other in found if other not in near]
            wests, souths, easts, norths = zip(own, *near, strict=True)
            own = min(wests), min(souths), max(easts), max(norths)
        found.append(own)
    return found
