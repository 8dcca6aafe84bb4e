"""The ground that the images of each split cover, as polygons.

Only headers and areas are read, no pixels. This module needs the extra ``vectors``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
import shapely

from network.datasets.on_earth.files import AreaFile
from network.datasets.on_earth.plane import (
    Nearest,
    Overlap,
    Plane,
    Raster,
    are_on_earth,
    find_plane,
    nearest,
    overlaps,
)
from network.rasters.earth_grid import EarthGrid


@dataclass(frozen=True)
class Cover:
    """An image of a split, or the part of it that belongs to the split.

    Attributes:
        split: name of the split.
        path: the image.
        grid: its pixels on Earth.
        areas: the areas of the split; None if all of the image belongs to it.
    """

    split: str
    path: Path
    grid: EarthGrid
    areas: AreaFile | None


class Footprints:
    """The ground of splits.

    Args:
        plane: the plane on which the ground is drawn.
        covers: the images of each split.
        shapes: their ground, polygons in meters of which none is empty, for each split.
    """

    def __init__(self, plane: Plane, covers: dict[str, list[Cover]], shapes: dict[str, np.ndarray]):
        self._plane, self._covers, self._shapes = plane, covers, shapes

    def nearest(self, one: str, other: str) -> Nearest | None:
        """Find the images of two splits that are nearest to each other; None if there are none."""
        if not self._covers.get(one) or not self._covers.get(other):
            return None
        return nearest(self._shapes[one], self._shapes[other], self._plane)

    def overlaps(self, one: str, other: str) -> list[Overlap]:
        """List the pairs of images of two splits that share ground, the largest overlap first."""
        return overlaps(self._shapes[one], self._shapes[other], self._plane)

    def path(self, split: str, position: int) -> Path:
        """Return the image of a split at a position, as in :class:`Overlap`."""
        return self._covers[split][position].path

    def shared_area(self, found: Sequence[Overlap], split: str) -> tuple[float, float]:
        """Compute the area of overlaps in square meters, and the percentage of a split it is."""
        shared = float(shapely.area(shapely.union_all([one.shape for one in found])))
        return shared, 100 * shared / float(shapely.area(shapely.union_all(self._shapes[split])))

    def degrees(self, shape: shapely.Geometry) -> tuple[float, float]:
        """Compute longitude and latitude of a place in a shape."""
        own = pyproj.CRS.from_wkt(self._plane.crs.to_wkt())
        place = shapely.point_on_surface(shape)
        transformer = pyproj.Transformer.from_crs(own, 4326, always_xy=True)
        longitude, latitude = transformer.transform(place.x, place.y)
        return float(longitude), float(latitude)


def footprints(covers: Sequence[Cover]) -> Footprints | None:
    """Draw the ground of splits. Images whose coordinates are no place on Earth are left out.

    Args:
        covers: the images of all splits.

    Returns:
        None if no image lies on Earth.

    Raises:
        InputError: areas cannot be read.
    """
    rasters = [Raster(cover.path, cover.grid) for cover in covers]
    known = np.flatnonzero(are_on_earth(rasters)).tolist()
    covers, rasters = [covers[n] for n in known], [rasters[n] for n in known]
    by_split: dict[str, list[Cover]] = {}
    shapes: dict[str, list[shapely.Geometry]] = {}
    if not rasters:
        return None
    plane = find_plane(rasters)
    areas: dict[AreaFile, shapely.Geometry] = {}
    for cover, outline in zip(covers, plane.outlines(rasters), strict=True):
        ground = outline
        if cover.areas is not None:
            if cover.areas not in areas:
                areas[cover.areas] = plane.areas(cover.areas)
                shapely.prepare(areas[cover.areas])
            ground = shapely.intersection(outline, areas[cover.areas])
        if shapely.area(ground) > 0:
            by_split.setdefault(cover.split, []).append(cover)
            shapes.setdefault(cover.split, []).append(ground)
    return Footprints(plane, by_split, {name: np.array(some) for name, some in shapes.items()})
