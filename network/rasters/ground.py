"""Lengths and areas on the ground of a raster's pixels, and of polygons in its coordinates.

This module needs the extra ``vectors``.
"""

import math
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS, Geod, Proj, Transformer
from pyproj.exceptions import CRSError, ProjError

from network.errors import InputError, warn
from network.rasters.place import Place
from network.rasters.source import UnreadableImage

_DISTORTED = 0.01
"""A warning tells if a projection changes areas by a larger share."""


class Ground:
    """The measures of a raster on the ground, in meters.

    With a projected reference system they are planar: lengths and areas are those of the
    coordinates, in meters. With a geographic one (longitude and latitude), they are those of the
    ellipsoid.

    Args:
        path: the raster, for errors.
        place: its place on Earth.
        height: its height in pixels.
        width: its width in pixels.

    Attributes:
        crs: the reference system.
        transform: transform from columns and rows to coordinates.

    Raises:
        UnreadableImage: the place does not give lengths in meters.
    """

    def __init__(self, path: str | Path, place: Place | None, height: int, width: int):
        self._path, self._size = Path(path), (height, width)
        self.crs, self.transform = _checked(self._path, place)
        self._unit = self.crs.axis_info[0].unit_conversion_factor  # meters, or radians
        self._geod: Geod | None = None
        if self.crs.is_geographic:
            self._geod = self.crs.get_geod()
            _, latitudes = self.transform @ np.array([[0, width, 0, width], [0, 0, height, height]])
            farthest = math.degrees(np.abs(latitudes).max() * self._unit)
            if farthest > 91:  # global rasters may reach beyond a pole by a pixel
                raise UnreadableImage(
                    self._path,
                    f"its latitudes reach {farthest:.0f} degrees, so its reference system is wrong",
                    "correct it (gdal_edit.py -a_srs)",
                )

    def pixel_areas(self, rows: slice, columns: slice) -> np.ndarray:
        """Compute the area of each pixel of a window.

        Args:
            rows: rows of the raster, n.
            columns: columns of the raster, m.

        Returns:
            Square meters, (n, m).
        """
        shape = rows.stop - rows.start, columns.stop - columns.start
        if self._geod is None:
            return np.broadcast_to(abs(self.transform.determinant) * self._unit**2, shape)
        t = self.transform
        if not t.b and not t.d:
            return np.broadcast_to(self._areas_between_parallels(rows)[:, None], shape)
        down = np.arange(rows.start, rows.stop)[:, None] + 0.5
        across = np.arange(columns.start, columns.stop) + 0.5
        latitude = (t.d * across + t.e * down + t.f) * self._unit
        latitude = latitude.clip(-math.pi / 2, math.pi / 2)
        # The element of area of an ellipsoid: its two radii of curvature times cos(latitude).
        shrunk = 1 - self._geod.es * np.sin(latitude) ** 2
        radii = self._geod.a**2 * (1 - self._geod.es) / shrunk**2
        return abs(t.determinant) * self._unit**2 * radii * np.cos(latitude)

    def row_areas(self) -> np.ndarray:
        """Compute the area of a pixel of each row.

        Returns:
            Square meters, (height,).

        Raises:
            InputError: the pixels of a row have different areas, since the raster is turned against
                its degrees.
        """
        if self._geod is not None and (self.transform.b or self.transform.d):
            raise InputError(
                self._path,
                "is rotated against its degrees",
                "warp it to a projection (gdalwarp -r near)",
            )
        return self.pixel_areas(slice(0, self._size[0]), slice(0, 1))[:, 0]

    def warn_if_distorted(self) -> None:
        """Warn if the areas in a projection are not those on the ground, as in Web Mercator."""
        geographic = self.crs.geodetic_crs
        if self._geod is not None or geographic is None:
            return
        try:
            to_degrees = Transformer.from_crs(self.crs, geographic, always_xy=True)
            place = to_degrees.transform(*(self.transform @ self._middle))
            scale = Proj(self.crs).get_factors(*place).areal_scale
        except ProjError:
            return
        if math.isfinite(scale) and abs(scale - 1) > _DISTORTED:
            warn(
                f"{self._path}: areas in {self.crs.name} are {scale:.3g} times those on the "
                "ground; warp the map to a projection with equal areas before you publish areas "
                "(gdalwarp -r near)"
            )

    def pixel_side(self, rows: slice, columns: slice) -> float:
        """Compute the side of a square that is as large as the pixel in the middle of a window.

        Args:
            rows: rows of the raster.
            columns: columns of the raster.

        Returns:
            Meters.
        """
        row, column = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
        return math.sqrt(self.pixel_areas(slice(row, row + 1), slice(column, column + 1)).item())

    @property
    def pixel_shape(self) -> float:
        """Height of the pixel in the middle of the raster, divided by its width."""
        t = self.transform
        steps = np.array([[t.a, t.b], [t.d, t.e]])  # one column to the right, one row down
        if self._geod is not None:
            _, latitude = t @ self._middle
            steps[0] *= max(math.cos(latitude * self._unit), 1e-6)  # meridians come together
        across, down = np.hypot(*steps)
        return float(down / across)

    def areas(self, polygons: np.ndarray) -> np.ndarray:
        """Compute the areas of polygons in the coordinates of the reference system.

        Args:
            polygons: polygons of shapely (n,).

        Returns:
            Square meters (n,). With a geographic reference system the sides are geodesics.
        """
        if self._geod is None:
            return shapely.area(polygons) * self._unit**2
        in_degrees = shapely.transform(polygons, self._degrees)
        return np.array([abs(self._geod.geometry_area_perimeter(p)[0]) for p in in_degrees])

    @property
    def _middle(self) -> tuple[float, float]:
        height, width = self._size
        return width / 2, height / 2

    def _areas_between_parallels(self, rows: slice) -> np.ndarray:
        """Compute the area of a pixel of each row whose borders are parallels and meridians.

        Source: Snyder, "Map projections: a working manual", 1987, equation 3-12.

        Returns:
            Square meters, (n,).
        """
        assert self._geod is not None
        borders = self.transform.f + self.transform.e * np.arange(rows.start, rows.stop + 1)
        sines = np.sin((borders * self._unit).clip(-math.pi / 2, math.pi / 2))
        square = self._geod.es  # of the eccentricity
        if square == 0:
            zone = 2 * sines
        else:
            e = math.sqrt(square)
            zone = sines / (1 - square * sines**2) + np.arctanh(e * sines) / e
        # From the equator, for one radian of longitude.
        areas = self._geod.a**2 * (1 - square) / 2 * zone
        return np.abs(np.diff(areas) * self.transform.a * self._unit)

    def _degrees(self, coordinates: np.ndarray) -> np.ndarray:
        degrees = np.degrees(coordinates * self._unit)
        degrees[:, 1] = degrees[:, 1].clip(-90, 90)
        return degrees


def _checked(path: Path, place: Place | None) -> tuple[CRS, Affine]:
    """Return reference system and transform of a place, or raise an :class:`UnreadableImage`."""
    if place is None:
        raise UnreadableImage(
            path, "does not lie on Earth, so its areas are not known", "georeference it"
        )
    if place.transform is None:
        raise UnreadableImage(
            path,
            "its place is known by control points alone, which give no areas",
            "warp it first (gdalwarp)",
        )
    if place.crs is None:
        raise UnreadableImage(
            path,
            "has no reference system, so its areas are not known",
            "add it (gdal_edit.py -a_srs EPSG:...)",
        )
    try:
        crs = CRS.from_wkt(place.crs.to_wkt())
        unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 0.0
    except CRSError:
        crs = None
    if crs is None or not (crs.is_projected or crs.is_geographic) or not unit > 0:
        raise UnreadableImage(
            path,
            "its reference system has no known unit, so its areas are not known",
            "warp it to another one (gdalwarp -t_srs EPSG:...)",
        )
    if not abs(place.transform.determinant) > 0:
        raise UnreadableImage(path, "its pixels have no area on Earth", "georeference it again")
    return crs, place.transform
