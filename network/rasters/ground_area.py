"""Areas of pixels on the ground. This module needs the extra ``vectors``."""

import math
from pathlib import Path

import numpy as np
from pyproj import CRS, Proj, Transformer
from pyproj.exceptions import ProjError

from network.errors import InputError, warn
from network.rasters.earth_grid import EarthGrid, name_of

_DISTORTED = 0.01
"""A warning tells if a projection changes areas by a larger share."""


def pixel_areas(grid: EarthGrid, path: Path) -> np.ndarray:
    """Compute the area of a pixel of each row, in square meters.

    In a projected reference system, all pixels have the area that they have in the projection. A
    warning tells if that is far from the area on the ground, as in Web Mercator. In a geographic
    system, a pixel is the part of the ellipsoid between its two parallels and its two meridians.

    Args:
        grid: the grid.
        path: file of the raster, for errors and the warning.

    Returns:
        (height,) float64

    Raises:
        InputError: the reference system has no areas, or a grid in degrees is rotated.
    """
    crs = CRS.from_wkt(grid.crs.to_wkt())
    if crs.is_projected:
        unit = grid.crs.linear_units_factor[1]
        area = abs(grid.transform.determinant) * unit**2
        _check_distortion(grid, crs, path)
        return np.full(grid.height, area)
    if not crs.is_geographic:
        raise InputError(
            path,
            f"areas are not known in its reference system {name_of(grid.crs)}",
            "warp it to a projection with equal areas (gdalwarp -r near)",
        )
    if grid.transform.b or grid.transform.d:
        raise InputError(
            path, "is rotated against its degrees", "warp it to a projection (gdalwarp -r near)"
        )
    to_radians = crs.axis_info[0].unit_conversion_factor
    ellipsoid = crs.ellipsoid
    assert ellipsoid is not None
    flattening = 1 / ellipsoid.inverse_flattening if ellipsoid.inverse_flattening else 0.0
    borders = grid.transform.f + grid.transform.e * np.arange(grid.height + 1)
    latitudes, radius = borders * to_radians, ellipsoid.semi_major_metre
    from_equator = _area_from_equator(latitudes, radius, flattening)
    return np.abs(np.diff(from_equator) * grid.transform.a * to_radians)


def _area_from_equator(latitudes: np.ndarray, radius: float, flattening: float) -> np.ndarray:
    """Compute the area between the equator and parallels, for one radian of longitude.

    Source: Snyder, "Map projections: a working manual", 1987, equation 3-12.

    Args:
        latitudes: (n,) in radians.
        radius: larger radius of the ellipsoid, in meters.
        flattening: its flattening.

    Returns:
        (n,) in square meters, negative in the south.
    """
    sines = np.sin(np.clip(latitudes, -math.pi / 2, math.pi / 2))
    square = flattening * (2 - flattening)  # of the eccentricity
    if square == 0:
        return radius**2 * sines
    e = math.sqrt(square)
    zone = sines / (1 - square * sines**2) + np.arctanh(e * sines) / e
    return radius**2 * (1 - square) / 2 * zone


def _check_distortion(grid: EarthGrid, crs: CRS, path: Path) -> None:
    """Warn if areas in a projection are far from those on the ground."""
    left, bottom, right, top = grid.bounds
    try:
        geographic = crs.geodetic_crs
        to_degrees = Transformer.from_crs(crs, geographic, always_xy=True)
        place = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
        scale = Proj(crs).get_factors(*place).areal_scale
    except ProjError:
        return
    if math.isfinite(scale) and abs(scale - 1) > _DISTORTED:
        warn(
            f"{path}: areas in {name_of(grid.crs)} are {scale:.3g} times those on the ground; warp "
            "the map to a projection with equal areas before you publish areas (gdalwarp -r near)"
        )
