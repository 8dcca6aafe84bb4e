"""Where rasters lie on Earth: reading, comparing and writing it."""

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from network.writing import writing

# Also what programs write that know no place: rows counted upwards.
_NOWHERE = (Affine.identity(), Affine.scale(1, -1))

METERS_A_DEGREE = 111_195.0
"""Of a great circle on a sphere of Earth's mean radius, 6371 km."""


@dataclass(frozen=True)
class Place:
    """Where pixels lie on Earth.

    Attributes:
        crs: reference system of the coordinates; None where the file does not say.
        transform: columns and rows to coordinates; None if there are control points instead.
        points: control points: known coordinates of some pixels.
    """

    crs: CRS | None
    transform: Affine | None
    points: tuple[GroundControlPoint, ...] = ()


def place_of(file: rasterio.DatasetReader) -> Place | None:
    """Where an opened raster lies; None if it does not say."""
    points, crs = file.gcps
    if file.transform not in _NOWHERE:
        return Place(file.crs, file.transform)
    if points:
        return Place(crs or file.crs, None, tuple(points))
    return Place(file.crs, file.transform) if file.crs else None


def distance(one: Place, other: Place, height: int, width: int) -> float | None:
    """How far apart two rasters of one size lie at most, in pixels of ``one``.

    None where nobody can tell: one has control points, whose interpolation is a matter of taste,
    and the other has not, or has others.
    """
    if one.transform is None or other.transform is None:
        same = [_numbers(p) for p in one.points] == [_numbers(p) for p in other.points]
        return 0.0 if same and one.crs == other.crs else None
    columns, rows = np.array([[0, width, 0, width], [0, 0, height, height]], float)
    x, y = other.transform @ (columns, rows)
    if one.crs and other.crs and one.crs != other.crs:
        try:
            x, y = map(np.array, rasterio.warp.transform(other.crs, one.crs, x, y))
        except RasterioError:
            return float("inf")
    found_columns, found_rows = ~one.transform @ (x, y)
    apart = np.hypot(found_columns - columns, found_rows - rows).max()
    return float(apart) if np.isfinite(apart) else float("inf")


def ground_resolution(place: Place | None, height: int, width: int) -> float | None:
    """How long the side of a pixel is on the ground, at the middle of a raster.

    Args:
        place: where the raster lies.
        height, width: of the raster, pixels.

    Returns:
        Meters, the geometric mean of both sides; None where the file does not say.
    """
    if place is None or place.crs is None or place.transform is None:
        return None
    area = abs(place.transform.determinant)  # of a pixel, in units of the reference system
    if place.crs.is_projected:
        return math.sqrt(area) * place.crs.linear_units_factor[1]
    if not place.crs.is_geographic:
        return None
    _, latitude = place.transform @ (width / 2, height / 2)
    # A degree of a great circle; Earth's flattening is below half a percent of it.
    return math.sqrt(area * max(0.0, math.cos(math.radians(latitude)))) * METERS_A_DEGREE


def _numbers(point: GroundControlPoint) -> tuple[float, ...]:
    return point.row, point.col, point.x, point.y, point.z or 0.0


def write_place(place: Place | None, png: Path) -> None:
    """Give a PNG, which has no room for it, its place in ``PNG.aux.xml`` beside it.

    That is where GDAL and what is built on it look for it. Without a place there is no such file.

    Raises:
        InputError: it cannot be written.
    """
    target = Path(f"{png}.aux.xml")
    with writing(target):
        if place is None:
            target.unlink(missing_ok=True)
            return
        known = {"crs": place.crs} if place.crs else {}
        known |= {"gcps": list(place.points)} if place.points else {"transform": place.transform}
        # That of a single pixel is the same; opened for it, GDAL would write the whole mask anew.
        with TemporaryDirectory(dir=png.parent) as folder:
            pixel = Path(folder) / "pixel.png"
            with rasterio.open(
                pixel, "w", driver="PNG", height=1, width=1, count=1, dtype="uint8", **known
            ) as file:
                file.write(np.zeros((1, 1, 1), np.uint8))
            Path(f"{pixel}.aux.xml").replace(target)
