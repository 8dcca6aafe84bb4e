"""Polygons and points in the columns and rows of a grid, and polygons drawn into its windows.

This module needs the extra ``vectors``.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.features import rasterize

from network.errors import InputError, warn
from network.rasters.earth_grid import Bounds, EarthGrid, no_transform
from network.rasters.place import full_turn

_BEND = 0.1
"""Largest distance, in pixels, between a border and its course after a change of the reference
system. A straight border is a curve there, so points are added until it is this close."""

_MANY_POINTS = 10_000
"""A polygon with more points is cut to each window before it is drawn, which saves time."""

_AT_ONCE = 10_000
"""Number of geometries that are brought to a grid at once."""

_HALVINGS = 16
"""How often sides are halved to follow such a curve. More would mean a jump, as at the date
line."""


class Painting:
    """Polygons that are drawn into windows of a grid; where they overlap, the last one counts.

    Args:
        shapes: (n,) polygons, in the columns and rows of the grid.
        values: (n,) the value that each polygon gives to its pixels.
        all_touched: whether these are all pixels that it touches, instead of those whose center
            lies in it.
    """

    def __init__(self, shapes: np.ndarray, values: np.ndarray, *, all_touched: bool = False):
        self._all_touched = all_touched
        self._parts, self._values = shapes, np.asarray(values)
        if (shapely.get_num_geometries(shapes) > 1).any():
            # Parts are small where features may span the whole grid.
            self._parts, owners = shapely.get_parts(shapes, return_index=True)
            self._values = self._values[owners]
        self._tree = shapely.STRtree(self._parts)
        self._are_large = shapely.get_num_coordinates(self._parts) > _MANY_POINTS
        # A change of the reference system may cross borders that were close; such polygons cannot
        # be cut.
        self._are_large &= shapely.is_valid(self._parts)

    def read(self, rows: slice, columns: slice, background: int, dtype: str) -> np.ndarray:
        """Draw a window.

        Args:
            rows: rows of the grid.
            columns: columns of the grid.
            background: value of the pixels in no polygon.
            dtype: NumPy's name of the type of the pixels.

        Returns:
            (h, w)
        """
        size = rows.stop - rows.start, columns.stop - columns.start
        chosen = np.sort(self._tree.query(_box(rows, columns, 0)))
        drawn = self._parts[chosen]
        large = self._are_large[chosen]
        if large.any():
            drawn[large] = shapely.clip_by_rect(
                drawn[large], *shapely.bounds(_box(rows, columns, 2))
            )
        pairs = [
            (shape, int(value))
            for shape, value in zip(drawn, self._values[chosen], strict=True)
            if not shape.is_empty
        ]
        if not pairs:
            return np.full(size, background, dtype)
        moved = Affine.translation(columns.start, rows.start)
        return rasterize(
            pairs,
            out_shape=size,
            fill=background,
            transform=moved,
            all_touched=self._all_touched,
            dtype=dtype,
        )


def _box(rows: slice, columns: slice, margin: int) -> shapely.Polygon:
    return shapely.box(
        columns.start - margin, rows.start - margin, columns.stop + margin, rows.stop + margin
    )


def repaired(path: Path, numbers: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Repair polygons that are not valid, and warn of them.

    Args:
        path: their file, for the warning.
        numbers: (n,) the number of each feature.
        shapes: (n,) polygons.

    Returns:
        (n,) valid polygons.

    Raises:
        InputError: a polygon has no area.
    """
    wrong = np.flatnonzero(~shapely.is_valid(shapes))
    if not len(wrong):
        return shapes
    shapes = shapes.copy()
    first = numbers[wrong[0]]
    reason = shapely.is_valid_reason(shapes[wrong[0]])
    for place in wrong:
        parts = shapely.get_parts(shapely.get_parts(made_valid(shapes[place : place + 1])))
        areas = [part for part in parts if part.geom_type == "Polygon" and part.area > 0]
        if not areas:
            why = shapely.is_valid_reason(shapes[place])
            raise InputError(
                path,
                f"feature {numbers[place]} is no valid polygon and has no area ({why})",
                "correct or remove it",
            )
        shapes[place] = shapely.union_all(areas)
    count = f"{len(wrong)} polygons are" if len(wrong) > 1 else "a polygon is"
    warn(f"{path}: {count} not valid and repaired, feature {first} ({reason})")
    return shapes


def made_valid(shapes: np.ndarray) -> np.ndarray:
    """Make polygons (n,) valid; what parts of a multipolygon share stays ground of it.

    Shapely takes shared ground away, as after "Collect geometries" of a GIS. So each part is made
    valid for itself.
    """
    found = np.asarray(shapes).copy()
    for place in np.flatnonzero(~shapely.is_valid(found)):
        parts = shapely.make_valid(shapely.get_parts(found[place]))
        found[place] = shapely.union_all(parts)
    return found


def box_around(shapes: np.ndarray) -> np.ndarray:
    """Compute two opposite corners (2, 2) of the box around geometries (n,)."""
    return shapely.total_bounds(shapes).reshape(2, 2)


def first_overlap(shapes: np.ndarray, owners: np.ndarray) -> tuple[int, int] | None:
    """Find two polygons of different owners that share more than a pixel.

    Args:
        shapes: (n,) polygons, in the columns and rows of a grid.
        owners: (n,) who they belong to; those of nobody, which is negative, are left out.

    Returns:
        Their positions; None if there are no such polygons.
    """
    pairs = shapely.STRtree(shapes).query(shapes, predicate="intersects").T
    for one, other in pairs[pairs[:, 0] < pairs[:, 1]].tolist():
        is_apart = owners[one] == owners[other] or min(owners[one], owners[other]) < 0
        if not is_apart and shapely.intersection(shapes[one], shapes[other]).area > 1:
            return one, other
    return None


def to_grid(path: Path, shapes: np.ndarray, crs: CRS, grid: EarthGrid) -> np.ndarray:
    """Bring geometries to the columns and rows of a grid.

    Parts of polygons that are far from the grid are cut off.

    Args:
        path: their file, for the error.
        shapes: (n,) geometries, which are replaced in this array, so memory holds them once.
        crs: their reference system.
        grid: the grid.

    Returns:
        The same array; the coordinates of a place that the grid's reference system does not know
        are infinite or nan.

    Raises:
        InputError: no transform is known.
    """
    is_same, to_pixels = crs == grid.crs, grid.pixels_of
    date_line, turn = grid.across_date_line(crs, path), full_turn(grid.crs)
    box, own_turn = grid.bounds_in(crs, path), full_turn(crs)
    if not is_same:
        try:
            transformer = Transformer.from_crs(crs.to_wkt(), grid.crs.to_wkt(), always_xy=True)
        except ProjError as error:
            raise no_transform(path, crs, grid.crs) from error

        def to_pixels(places: np.ndarray) -> np.ndarray:
            found = np.stack(transformer.transform(*places.T), axis=1)
            return grid.pixels_of(found if turn is None else _turned(found, middle, turn))

        middle = (grid.bounds[0] + grid.bounds[2]) / 2
    for start in range(0, len(shapes), _AT_ONCE):
        some = shapes[start : start + _AT_ONCE]
        if date_line:
            some = _moved(some, *date_line)
        elif box and own_turn is not None:  # 190 degrees are -170
            some = _near_turn(some, box[0], box[2], own_turn)
        if not is_same:
            some = _bent(_near(some, box), to_pixels)
        shapes[start : start + _AT_ONCE] = shapely.transform(some, to_pixels)
    return shapes


def _turned(places: np.ndarray, middle: float, turn: float) -> np.ndarray:
    """Move longitudes of places (n, 2) by full turns to those that are nearest to ``middle``."""
    moved = places.copy()
    with np.errstate(invalid="ignore"):
        moved[:, 0] += turn * np.round((middle - places[:, 0]) / turn)
    return moved


def _near_turn(shapes: np.ndarray, left: float, right: float, turn: float) -> np.ndarray:
    """Move shapes (n,) by full turns to a grid, if they are more than half a turn away from it.

    Args:
        shapes: (n,) geometries.
        left: smallest longitude of the grid.
        right: largest longitude of the grid.
        turn: longitude of a full turn.
    """
    bounds, middle = shapely.bounds(shapes), (left + right) / 2
    is_far = (bounds[:, 0] < middle - turn / 2) | (bounds[:, 2] > middle + turn / 2)
    is_far &= np.isfinite(bounds).all(axis=1)
    if is_far.any():
        shapes = shapes.copy()
        shapes[is_far] = _moved(shapes[is_far], left, right, turn)
    return shapes


def _moved(shapes: np.ndarray, left: float, right: float, turn: float) -> np.ndarray:
    """Move shapes by full turns to a grid that reaches over the date line.

    Polygons may be on both sides of the line, since GeoJSON cuts them there. Parts that are far
    from the grid are cut off.

    Args:
        shapes: (n,) geometries.
        left: smallest longitude of the grid.
        right: largest longitude of the grid.
        turn: longitude of a full turn.
    """
    if (shapely.get_dimensions(shapes) < 2).any():
        middle = (left + right) / 2
        return shapely.transform(shapes, lambda places: _turned(places, middle, turn))
    width = right - left
    bounds = shapely.total_bounds(shapes)
    box = shapely.box(left - width, bounds[1], right + width, bounds[3])
    steps = np.array([[-turn, 0], [0, 0], [turn, 0]])
    copies = np.array([shapely.transform(shapes, step.__add__) for step in steps])
    return shapely.union_all(shapely.intersection(copies, box), axis=0)


def _near(shapes: np.ndarray, box: Bounds | None) -> np.ndarray:
    """Cut polygons off that reach far from a grid, where its reference system may know no place.

    Args:
        shapes: (n,) geometries.
        box: the box around the grid, in their reference system; None if there is none.
    """
    if box is None:
        return shapes
    left, bottom, right, top = grown(box, 1.0)
    found = shapely.bounds(shapes)
    is_far = (found[:, :2] < (left, bottom)).any(1) | (found[:, 2:] > (right, top)).any(1)
    is_far &= shapely.get_dimensions(shapes) == 2
    if is_far.any():
        shapes = shapes.copy()
        shapes[is_far] = shapely.intersection(shapes[is_far], shapely.box(left, bottom, right, top))
    return shapes


def grown(box: Bounds, share: float) -> Bounds:
    """Enlarge a box by a share of its size at each side."""
    left, bottom, right, top = box
    across, up = share * (right - left), share * (top - bottom)
    return left - across, bottom - up, right + across, top + up


def _bent(shapes: np.ndarray, to_pixels: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Add points to long sides, so that borders keep their course in another system."""
    starts, ends = _sides(shapes)
    if not len(starts):
        return shapes
    length = np.hypot(*(ends - starts).T).max()
    for _ in range(_HALVINGS):
        chords = (to_pixels(starts) + to_pixels(ends)) / 2
        apart = np.hypot(*(to_pixels((starts + ends) / 2) - chords).T)
        if not (apart[np.isfinite(apart)] > _BEND).any():
            break
        length /= 2
        shapes = shapely.segmentize(shapes, length)
        starts, ends = _sides(shapes)
    return shapes


def _sides(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List the starts (n, 2) and the ends (n, 2) of the sides of polygons."""
    rings = shapely.get_rings(shapely.get_parts(shapes))
    places, owners = shapely.get_coordinates(rings, return_index=True)
    is_side = owners[:-1] == owners[1:]
    return places[:-1][is_side], places[1:][is_side]
