"""Functions that read, compare and write where rasters lie on Earth."""

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from network.writing import writing

# The second one has rows counted upwards; some programs write it into files without a georeference.
_NOWHERE = (Affine.identity(), Affine.scale(1, -1))

METERS_A_DEGREE = 111_195.0
"""Length of one degree of a great circle, on a sphere of Earth's mean radius of 6371 km."""

_PLANE_STRETCH = 0.01
"""Largest stretch of the ground by a system whose own lengths are told, as surveyors do."""


@dataclass(frozen=True)
class Place:
    """A georeference, which tells where pixels lie on Earth.

    Attributes:
        crs: reference system of the coordinates; None if the file does not say.
        transform: transform from columns and rows to coordinates; None if there are control points
            instead.
        points: control points, which are pixels with known coordinates.
    """

    crs: CRS | None
    transform: Affine | None
    points: tuple[GroundControlPoint, ...] = ()


def place_of(file: rasterio.DatasetReader) -> Place | None:
    """Read the georeference of an opened raster; None if it has none."""
    points, crs = file.gcps
    if file.transform not in _NOWHERE:
        return Place(file.crs, file.transform)
    if points:
        return Place(crs or file.crs, None, tuple(points))
    return Place(file.crs, file.transform) if file.crs else None


def distance(one: Place, other: Place, height: int, width: int) -> float | None:
    """Compute the largest distance on Earth between the corners of two rasters of one size.

    Args:
        one: place of the first raster.
        other: place of the second raster.
        height: height of both in pixels.
        width: width of both in pixels.

    Returns:
        The distance in pixels of ``one``. There are several ways to interpolate control points, so
        it is the least distance then: that of the affine transforms nearest to the points, less
        the errors of these. It is None if there are fewer than three points.
    """
    if one.transform is None or other.transform is None:
        same = [_numbers(p) for p in one.points] == [_numbers(p) for p in other.points]
        if same and one.crs == other.crs:
            return 0.0
    ours, theirs = _fitted(one), _fitted(other)
    if ours is None or theirs is None:
        return None
    (transform, error), (other_transform, other_error) = ours, theirs
    if transform.is_degenerate:
        return math.inf
    columns, rows = np.array([[0, width, 0, width], [0, 0, height, height]], float)
    x, y = other_transform @ (columns, rows)
    if one.crs and other.crs and one.crs != other.crs:
        try:
            x, y = map(np.array, rasterio.warp.transform(other.crs, one.crs, x, y))
        except (RasterioError, CPLE_BaseError):
            return math.inf
    turn = one.crs and full_turn(one.crs)
    if turn:  # a longitude may be written as 180 or as -180 degrees
        x = x + turn * np.round((transform.c - x) / turn)
    found_columns, found_rows = ~transform @ (x, y)
    apart = np.hypot(found_columns - columns, found_rows - rows).max() - error - other_error
    return max(0.0, float(apart)) if np.isfinite(apart) else math.inf


def _fitted(place: Place) -> tuple[Affine, float] | None:
    """Find the transform of a place, and its largest error at control points in pixels.

    It is None if there are too few points.
    """
    if place.transform is not None:
        return place.transform, 0.0
    pixels = np.array([(point.col, point.row, 1) for point in place.points], float)
    if len(pixels) < 3 or np.linalg.matrix_rank(pixels) < 3:
        return None
    places = np.array([(point.x, point.y) for point in place.points], float)
    found, *_ = np.linalg.lstsq(pixels, places)  # (3, 2)
    transform = Affine(*found.T.ravel())
    if transform.is_degenerate:
        return None
    columns, rows = ~transform @ (places[:, 0], places[:, 1])
    return transform, float(np.hypot(columns - pixels[:, 0], rows - pixels[:, 1]).max())


def full_turn(crs: CRS) -> float | None:
    """Return the longitude of a full turn, such as 360 degrees; None if there are no longitudes.

    Args:
        crs: the reference system.
    """
    return 2 * math.pi / crs.units_factor[1] if crs.is_geographic else None


def ground_resolution(place: Place | None, height: int, width: int) -> float | None:
    """Compute the side of a pixel on the ground at the middle of a raster.

    In a system for mapping, such as UTM, this is the side in its plane, since everybody names
    pixels by it. Such a plane stretches lengths by less than a hundredth. In other systems, such as
    Web Mercator or longitudes and latitudes, it is the side on the ellipsoid.

    Args:
        place: place of the raster.
        height: height of the raster in pixels.
        width: width of the raster in pixels.

    Returns:
        Meters, as the geometric mean of both sides; None if the raster does not say where it lies.
    """
    if place is None or place.crs is None or place.transform is None:
        return None
    in_plane = plane_resolution(place)
    steps = _steps_at_middle(place, height, width)
    if steps is None:  # perhaps another planet
        return in_plane
    meters = math.sqrt(abs(np.linalg.det(steps)))
    is_plain = in_plane is not None and abs(in_plane / meters - 1) < _PLANE_STRETCH
    return in_plane if is_plain else meters


def plane_resolution(place: Place | None) -> float | None:
    """Compute the side of a pixel in the plane of its reference system.

    Args:
        place: place of the raster.

    Returns:
        Meters, as the geometric mean of both sides; None if the system has no plane, or the raster
        does not say where it lies.
    """
    if place is None or place.crs is None or place.transform is None:
        return None
    try:
        if not place.crs.is_projected:
            return None
        meters = math.sqrt(abs(place.transform.determinant)) * place.crs.linear_units_factor[1]
    except (CRSError, ValueError):  # a unit that nobody knows, numbers that are none
        return None
    return meters if math.isfinite(meters) and meters > 0 else None


@dataclass(frozen=True)
class Ground:
    """How a raster lies on the ground at its middle.

    Attributes:
        meters: length of one column, from the left to the right.
        north: direction of north, in degrees clockwise from the top of the raster.
        down: length of one row, from the top to the bottom, in meters.
    """

    meters: float
    north: float
    down: float


def ground_at_middle(place: Place | None, height: int, width: int) -> Ground | None:
    """Measure on the ellipsoid how a raster lies on the ground at its middle.

    So a scale bar is right in every reference system, also in those that stretch the ground, such
    as longitudes and latitudes, or Web Mercator.

    Args:
        place: place of the raster.
        height: height of the raster in pixels.
        width: width of the raster in pixels.

    Returns:
        The measures; None if the raster does not say where it lies.
    """
    steps = _steps_at_middle(place, height, width)
    if steps is None:
        return None
    toward_columns, toward_rows = np.linalg.solve(steps, [0, 1])
    turned = math.degrees(math.atan2(toward_columns, -toward_rows))
    return Ground(float(np.hypot(*steps[:, 0])), turned, float(np.hypot(*steps[:, 1])))


def _steps_at_middle(place: Place | None, height: int, width: int) -> np.ndarray | None:
    """Measure a step to the next column and one to the next row, at the middle of a raster.

    Args:
        place: place of the raster.
        height: height of the raster in pixels.
        width: width of the raster in pixels.

    Returns:
        (2, 2) meters on the ellipsoid: to the east and north (first axis) for the column and the
        row (second axis). None if the raster does not say where it lies.
    """
    if place is None or place.crs is None or place.transform is None:
        return None
    # From the middle, some pixels to the right and some downward: one pixel may be too short for
    # the precision of degrees.
    step = max(1.0, min(height, width) / 8)
    right, down = width / 2 + step, height / 2 + step
    columns, rows = np.array([[width / 2, right, width / 2], [height / 2, height / 2, down]])
    x, y = place.transform @ (columns, rows)
    try:
        (longitude,), (latitude,) = rasterio.warp.transform(place.crs, "EPSG:4326", x[:1], y[:1])
        # In this plane all distances from the middle are those on the ellipsoid.
        plane = CRS.from_dict(proj="aeqd", lon_0=longitude, lat_0=latitude, datum="WGS84")
        east, north = map(np.array, rasterio.warp.transform(place.crs, plane, x, y))
    except (RasterioError, CPLE_BaseError, ValueError):  # no system of this Earth
        return None
    steps = np.array([east[1:] - east[0], north[1:] - north[0]]) / step
    return steps if np.isfinite(steps).all() and np.linalg.det(steps) != 0 else None


def length_text(meters: float) -> str:
    """Write a length with three digits.

    Args:
        meters: the length.

    Examples:
        >>> length_text(0.256), length_text(12_345)
        ('0.256 m', '12.3 km')
    """
    value, unit = (meters / 1000, "km") if meters >= 1000 else (meters, "m")
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def _numbers(point: GroundControlPoint) -> tuple[float, ...]:
    return point.row, point.col, point.x, point.y, point.z or 0.0


def write_place(place: Place | None, png: Path) -> None:
    """Write the place of a PNG into ``PNG.aux.xml`` beside it, where GDAL looks for it.

    Args:
        place: the place; with None, an old file is removed.
        png: the PNG file.

    Raises:
        InputError: the file cannot be written.
    """
    target = Path(f"{png}.aux.xml")
    with writing(target):
        if place is None:
            target.unlink(missing_ok=True)
            return
        known = {"crs": place.crs} if place.crs else {}
        known |= {"gcps": list(place.points)} if place.points else {"transform": place.transform}
        # GDAL would write the whole mask again, so take the file that it makes for one pixel.
        with TemporaryDirectory(dir=png.parent) as folder:
            pixel = Path(folder) / "pixel.png"
            with rasterio.open(
                pixel, "w", driver="PNG", height=1, width=1, count=1, dtype="uint8", **known
            ) as file:
                file.write(np.zeros((1, 1, 1), np.uint8))
            Path(f"{pixel}.aux.xml").replace(target)
