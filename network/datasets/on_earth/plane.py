"""A plane in meters on which several rasters lie, and their outlines in it.

Lengths and areas between rasters of different reference systems are compared there. This module
needs the extra ``vectors``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from pyproj.exceptions import CRSError, ProjError
from rasterio.crs import CRS

from network.datasets.on_earth.files import AreaFile
from network.errors import InputError
from network.rasters import vectors
from network.rasters.earth_grid import EarthGrid
from network.rasters.shapes import made_valid, to_grid

DISTORTED = 0.01
"""A plane is taken if its lengths are those on the ground, except for this share of them."""

_DEGREES = pyproj.CRS.from_epsg(4326)


@dataclass(frozen=True)
class Raster:
    """An image on Earth, of which only the header was read.

    Attributes:
        path: the file.
        grid: its pixels.
    """

    path: Path
    grid: EarthGrid


@dataclass(frozen=True)
class Plane:
    """A plane in meters around rasters.

    Attributes:
        grid: a grid around the rasters, whose pixels are as small as theirs.
        distortion: largest share by which a length in it differs from that on the ground.
    """

    grid: EarthGrid
    distortion: float

    @property
    def crs(self) -> CRS:
        """Its reference system, with meters as its unit."""
        return self.grid.crs

    @property
    def pixel(self) -> float:
        """Side of a pixel of its grid, in meters."""
        return float(self.grid.transform.a)

    def outlines(self, rasters: Sequence[Raster]) -> np.ndarray:
        """Draw the borders of rasters.

        Args:
            rasters: the rasters, n, all of which the plane was made for.

        Returns:
            Polygons (n,), in meters.
        """
        shapes = np.empty(len(rasters), object)
        for crs, places in _by_system(rasters):
            own = np.array([_corners(rasters[n].grid) for n in places])
            path = rasters[places[0]].path
            shapes[places] = self._in_meters(to_grid(path, shapely.polygons(own), crs, self.grid))
        return shapes

    def areas(self, areas: AreaFile) -> shapely.Geometry:
        """Read areas of interest as one shape, which may be empty, in meters.

        Args:
            areas: the file.

        Raises:
            InputError: the file cannot be read.
        """
        found = vectors.read_features(
            areas.path,
            self.grid,
            vectors.POLYGONS,
            layer=areas.layer,
            attributes={} if areas.attribute is None else {areas.attribute: "attribute"},
        )
        if areas.only and areas.attribute is not None:
            names = found.values[areas.attribute]
            found = found.select(np.array([name in areas.only for name in names], bool))
        # A change of the reference system may cross borders that were close.
        return shapely.union_all(made_valid(self._in_meters(found.shapes)))

    def _in_meters(self, shapes: np.ndarray) -> np.ndarray:
        transform: Any = self.grid.transform
        return shapely.transform(shapes, lambda xy: np.stack(transform @ tuple(xy.T), axis=1))


def find_plane(rasters: Sequence[Raster]) -> Plane:
    """Find a plane on which rasters lie as they lie on the ground.

    It is the first of these in which lengths are those on the ground within ``DISTORTED``: the
    projection that all rasters share, if its unit is the meter; the UTM zone of their middle; an
    azimuthal projection around their middle, which keeps areas. If none is, it is the last one.

    Args:
        rasters: the rasters; one at least.

    Raises:
        InputError: no transform leads from a raster to longitude and latitude.
    """
    corners = _to_degrees(rasters)
    unknown = np.flatnonzero(~np.isfinite(corners).all(axis=(1, 2)))
    if len(unknown):
        raise _nowhere(rasters[unknown[0]].path)
    degrees = corners.reshape(-1, 2)
    middle = _middle(degrees)
    candidates = [_utm(middle), _azimuthal(middle)]
    systems = _by_system(rasters)
    if len(systems) == 1:
        shared = systems[0][0]
        if shared.is_projected and shared.linear_units_factor[1] == 1:
            candidates.insert(0, shared)
    crs, distortion = candidates[-1], math.inf
    for crs in candidates:
        distortion = _distortion(crs, degrees)
        if distortion <= DISTORTED:
            break
    return Plane(_grid_around(rasters, crs), distortion)


def are_on_earth(rasters: Sequence[Raster]) -> np.ndarray:
    """Tell of each raster whether its coordinates are places on Earth, (n,) bool.

    Args:
        rasters: the rasters, n.
    """
    return np.isfinite(_to_degrees(rasters)).all(axis=(1, 2))


@dataclass(frozen=True)
class Overlap:
    """Two shapes that cover the same ground.

    Attributes:
        one: position of the first shape.
        other: position of the second shape.
        shape: what they share, in meters.
    """

    one: int
    other: int
    shape: shapely.Geometry

    @property
    def area(self) -> float:
        """The area of it, in square meters."""
        return float(shapely.area(self.shape))


def overlaps(ones: np.ndarray, others: np.ndarray, plane: Plane) -> list[Overlap]:
    """Find pairs of shapes that share ground, the largest overlaps first.

    Overlaps that are narrower than a pixel are errors of rounding, and are left out.

    Args:
        ones: polygons (n,) of one set, in the plane.
        others: polygons (m,) of another set.
        plane: the plane.
    """
    pairs = shapely.STRtree(others).query(ones, predicate="intersects")
    shared = shapely.intersection(ones[pairs[0]], others[pairs[1]])
    is_wide = ~shapely.is_empty(shapely.buffer(shared, -plane.pixel / 2))
    order = np.flatnonzero(is_wide)[np.argsort(-shapely.area(shared[is_wide]), kind="stable")]
    return [Overlap(int(pairs[0, n]), int(pairs[1, n]), shared[n]) for n in order]


@dataclass(frozen=True)
class Nearest:
    """The two shapes of two sets that are nearest to each other.

    Attributes:
        one: position of the shape of the first set.
        other: position of the shape of the second set.
        meters: their distance; 0 if they touch or overlap.
    """

    one: int
    other: int
    meters: float


def nearest(ones: np.ndarray, others: np.ndarray, plane: Plane) -> Nearest:
    """Find the smallest distance between two sets of shapes.

    Args:
        ones: polygons (n,) of one set, in the plane; none is empty.
        others: polygons (m,) of another set; none is empty.
        plane: the plane.
    """
    (places, others_of), meters = shapely.STRtree(others).query_nearest(
        ones, return_distance=True, all_matches=False
    )
    best = int(meters.argmin())
    one, other = int(places[best]), int(others_of[best])
    found = float(meters[best])
    if found > plane.pixel and plane.distortion > DISTORTED:
        found = _measured(ones[one], others[other], plane)
    # Two rasters that touch may be a rounding error apart.
    return Nearest(one, other, found if found > plane.pixel / 100 else 0.0)


def _measured(one: shapely.Geometry, other: shapely.Geometry, plane: Plane) -> float:
    """Measure the distance of two shapes in a plane of their own."""
    line = shapely.shortest_line(one, other)
    own = pyproj.CRS.from_wkt(plane.crs.to_wkt())
    to_degrees = pyproj.Transformer.from_crs(own, _DEGREES, always_xy=True)
    ends = np.stack(to_degrees.transform(*shapely.get_coordinates(line).T), axis=1)
    longitudes, latitudes = ends.T
    _, _, meters = pyproj.Geod(ellps="WGS84").inv(
        longitudes[0], latitudes[0], longitudes[1], latitudes[1]
    )
    return float(meters)


def _corners(grid: EarthGrid) -> np.ndarray:
    """Compute the four corners (4, 2) of a raster, counterclockwise where north is up."""
    columns = np.array([0, 0, grid.width, grid.width], float)
    rows = np.array([0, grid.height, grid.height, 0], float)
    transform: Any = grid.transform
    return np.stack(transform @ (columns, rows), axis=1)


def _to_degrees(rasters: Sequence[Raster]) -> np.ndarray:
    """Compute longitude and latitude (n, 4, 2) of the corners of rasters; inf if not known."""
    found = np.full((len(rasters), 4, 2), np.inf)
    for crs, places in _by_system(rasters):
        corners = np.concatenate([_corners(rasters[n].grid) for n in places])
        try:
            own = pyproj.CRS.from_wkt(crs.to_wkt())
            transformer = pyproj.Transformer.from_crs(own, _DEGREES, always_xy=True)
        except (CRSError, ProjError):
            continue
        degrees = np.stack(transformer.transform(*corners.T), axis=1)
        found[places] = degrees.reshape(-1, 4, 2)
    return found


def _by_system(rasters: Sequence[Raster]) -> list[tuple[CRS, list[int]]]:
    """List the reference systems of rasters, each with the positions of those that have it."""
    texts = [raster.grid.crs.to_wkt() for raster in rasters]
    found: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        found.setdefault(text, []).append(number)
    return [(rasters[places[0]].grid.crs, places) for places in found.values()]


def _nowhere(path: Path) -> InputError:
    return InputError(
        path,
        "its coordinates are no place on Earth in its reference system",
        "correct it (gdal_edit.py -a_srs EPSG:...)",
    )


def _middle(degrees: np.ndarray) -> tuple[float, float]:
    """Compute longitude and latitude in the middle of places (n, 2), also at the date line."""
    longitude, latitude = np.radians(degrees).T
    across = np.cos(latitude)
    x, y = (across * np.cos(longitude)).mean(), (across * np.sin(longitude)).mean()
    return math.degrees(math.atan2(y, x)), math.degrees(
        math.atan2(np.sin(latitude).mean(), math.hypot(x, y))
    )


def _utm(middle: tuple[float, float]) -> CRS:
    longitude, latitude = middle
    zone = int((longitude + 180) // 6) % 60 + 1
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def _azimuthal(middle: tuple[float, float]) -> CRS:
    longitude, latitude = (round(angle, 3) for angle in middle)
    return CRS.from_dict(proj="laea", lon_0=longitude, lat_0=latitude, datum="WGS84", units="m")


def _distortion(crs: CRS, degrees: np.ndarray) -> float:
    """Compute the largest share by which lengths differ from those on the ground, at places."""
    try:
        factors = pyproj.Proj(pyproj.CRS.from_wkt(crs.to_wkt())).get_factors(*degrees.T)
    except (CRSError, ProjError):
        return math.inf
    scales = np.stack([factors.tissot_semimajor, factors.tissot_semiminor])
    return float(np.abs(scales - 1).max()) if np.isfinite(scales).all() else math.inf


def _grid_around(rasters: Sequence[Raster], crs: CRS) -> EarthGrid:
    boxes = []
    for raster in rasters:
        box = raster.grid.bounds_in(crs, raster.path)
        if box is None:
            raise _nowhere(raster.path)
        boxes.append(box)
    left, bottom = np.min([box[:2] for box in boxes], axis=0).tolist()
    right, top = np.max([box[2:] for box in boxes], axis=0).tolist()
    side = min(raster.grid.resolution or math.inf for raster in rasters)
    side = side if math.isfinite(side) else 1.0
    height, width = math.ceil((top - bottom) / side), math.ceil((right - left) / side)
    return EarthGrid(height, width, crs, Affine(side, 0, left, 0, -side, top))
