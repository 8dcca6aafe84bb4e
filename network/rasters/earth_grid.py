"""The grid of a raster on Earth: which pixel lies where."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from network.errors import InputError
from network.rasters.place import Place, full_turn, ground_resolution

Bounds = tuple[float, float, float, float]
"""Left, bottom, right and top, in a reference system."""

_ROUNDING = 1e-6
"""Part of a pixel that is taken for an error of rounding."""


class LiesElsewhere(InputError):
    """The error for a file that has nothing in common with a map or an image."""


@dataclass(frozen=True)
class EarthGrid:
    """The pixels of a raster and their places on Earth.

    Attributes:
        height: number of rows.
        width: number of columns.
        crs: reference system of the coordinates.
        transform: transform from columns and rows to coordinates.
    """

    height: int
    width: int
    crs: CRS
    transform: Affine

    @classmethod
    def of(cls, path: Path, place: Place | None, height: int, width: int) -> "EarthGrid":
        """Make the grid of a raster.

        Args:
            path: file of the raster, for the error.
            place: its georeference.
            height: number of rows.
            width: number of columns.

        Raises:
            InputError: the raster does not say where each pixel lies.
        """
        if place is None:
            raise InputError(
                path, "does not say where on Earth it lies", "georeference it (gdal_edit.py)"
            )
        if place.transform is None:
            raise InputError(
                path,
                "has control points instead of a grid on Earth",
                "warp it to a grid (gdalwarp)",
            )
        if place.crs is None:
            raise InputError(
                path,
                "does not say in which reference system its coordinates are",
                "name it (gdal_edit.py -a_srs EPSG:...)",
            )
        if place.transform.is_degenerate:
            raise InputError(path, "has pixels without an area", "georeference it anew")
        return cls(height, width, place.crs, place.transform)

    @property
    def bounds(self) -> Bounds:
        """The box around all pixels."""
        return self.bounds_of(slice(0, self.height), slice(0, self.width))

    @property
    def resolution(self) -> float | None:
        """Side of a pixel on the ground in the middle, in meters; None if it is not known."""
        return ground_resolution(Place(self.crs, self.transform), self.height, self.width)

    def bounds_of(self, rows: slice, columns: slice) -> Bounds:
        """Compute the box around a window."""
        across = np.array([columns.start, columns.stop] * 2, float)
        down = np.repeat(np.array([rows.start, rows.stop], float), 2)
        transform: Any = self.transform
        x, y = transform @ (across, down)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def bounds_in(self, crs: CRS, path: Path) -> Bounds | None:
        """Compute the box around all pixels in another reference system.

        The box may be larger than necessary. It is None if the pixels have no such box, for example
        because they lie on both sides of the date line.

        Args:
            crs: the other system.
            path: the file that has it, for the error.

        Raises:
            InputError: no transform leads to the other system.
        """
        left, bottom, right, top = between(self.crs, crs, self.bounds, path)
        is_box = np.isfinite([left, bottom, right, top]).all() and left < right and bottom < top
        return (left, bottom, right, top) if is_box else None

    def across_date_line(self, crs: CRS, path: Path) -> tuple[float, float, float] | None:
        """Find the longitudes of a grid that reaches over the date line; None for any other grid.

        Args:
            crs: the system of the longitudes.
            path: the file that has it, for the error.

        Returns:
            The smallest and the largest longitude, one of which is beyond the date line, and the
            longitude of a full turn (360 in degrees). None if the system has no longitudes.

        Raises:
            InputError: no transform leads to the other system.
        """
        turn = full_turn(crs)
        if turn is None:
            return None
        left, _, right, _ = between(self.crs, crs, self.bounds, path)
        right += turn * (left > right)
        is_across = left < -turn / 2 or right > turn / 2  # false for NaN too
        return (left, right, turn) if is_across and math.isfinite(right - left) else None

    def window_of(self, bounds: Bounds, crs: CRS, path: Path) -> tuple[slice, slice] | None:
        """Find the rows and columns that a box touches; None if it lies elsewhere.

        Args:
            bounds: the box.
            crs: reference system of the box.
            path: the file that the box is from, for the error.

        Raises:
            InputError: no transform leads from that system to the grid's.
        """
        left, bottom, right, top = between(crs, self.crs, bounds, path)
        if not np.isfinite([left, bottom, right, top]).all():
            return slice(0, self.height), slice(0, self.width)
        corners = np.array([[left, bottom], [right, bottom], [left, top], [right, top]])
        return self.window_around(self.pixels_of(corners))

    def pixels_of(self, places: np.ndarray) -> np.ndarray:
        """Compute the positions (n, 2), columns and rows, of coordinates (n, 2), x and y."""
        inverse: Any = ~self.transform
        return np.stack(inverse @ (places[:, 0], places[:, 1]), axis=1)

    def window_around(self, pixels: np.ndarray) -> tuple[slice, slice] | None:
        """Find the rows and columns around positions; None if none of them is inside.

        Args:
            pixels: (n, 2) columns and rows, measured from the top left corner.
        """
        found = []
        for places, length in ((pixels[:, 1], self.height), (pixels[:, 0], self.width)):
            start = max(0, int(np.floor(places.min() + _ROUNDING)))
            stop = min(length, int(np.ceil(places.max() - _ROUNDING)))
            if start >= stop:
                return None
            found.append(slice(start, stop))
        return found[0], found[1]

    def part(self, rows: slice, columns: slice, side: int | None = None) -> "EarthGrid":
        """Make the grid of a window.

        Args:
            rows: rows of the window.
            columns: columns of the window.
            side: largest number of rows and of columns; a larger window gets larger pixels. By
                default the pixels stay as they are.
        """
        height, width = rows.stop - rows.start, columns.stop - columns.start
        moved = self.transform @ Affine.translation(columns.start, rows.start)
        shrink = max(1.0, max(height, width) / side) if side else 1.0
        down, across = max(1, round(height / shrink)), max(1, round(width / shrink))
        scaled = moved @ Affine.scale(width / across, height / down)
        return EarthGrid(down, across, self.crs, scaled)


def between(source: CRS, target: CRS, bounds: Bounds, path: Path) -> Bounds:
    """Transform a box from one reference system to another.

    Args:
        source: reference system of the box.
        target: the other system.
        bounds: the box.
        path: the file that brings the two together, for the error.

    Returns:
        The box around it in the other system; some numbers may be infinite.

    Raises:
        InputError: no transform is known, as between two planets.
    """
    if source == target:
        return bounds
    try:
        return transform_bounds(source, target, *bounds, densify_pts=51)
    except (RasterioError, CPLE_BaseError, ValueError) as error:
        raise no_transform(path, source, target) from error


def no_transform(path: Path, source: CRS, target: CRS) -> InputError:
    """Make the error for a file that cannot be brought together with another one.

    Args:
        path: the file.
        source: a reference system.
        target: the other one, into which no transform is known.
    """
    return InputError(
        path,
        f"no transform is known from {name_of(source)} to {name_of(target)}",
        "check both reference systems (gdalinfo, ogrinfo -so)",
    )


def elsewhere(path: Path, crs: CRS, grid: EarthGrid, what: str = "the map") -> LiesElsewhere:
    """Make the error for a file that has nothing in common with a map or an image.

    Args:
        path: the file.
        crs: its reference system.
        grid: the grid of the map or the image.
        what: which of them has the grid.
    """
    return LiesElsewhere(
        path,
        f"lies elsewhere than {what} (it is in {name_of(crs)}, {what} in {name_of(grid.crs)})",
        "look at both in a GIS, and check their reference systems",
    )


def name_of(crs: CRS) -> str:
    """Name a reference system in a few words, such as ``EPSG:32632``."""
    text = crs.to_string()
    if len(text) <= 40:
        return text
    code = crs.to_epsg()
    if code:
        return f"EPSG:{code}"
    return text.split('"')[1] if '"' in text else f"{text[:37]}..."
