"""Polygons of a map in its rows and columns, for the part of the map that is seen."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pyproj
import shapely

from network.errors import InputError
from network.rasters.place import Place
from network.rasters.vector_paths import plain

MOST = 5000
"""Number of polygons that are drawn at once. Where there are more, the page says so instead."""

PARQUET = ".parquet"
LABEL = "class"
"""Name of the column that holds the label of each polygon."""

Box = tuple[float, float, float, float]

# pyogrio, geopandas and pyarrow raise these for files that they cannot read.
_UNREADABLE = (RuntimeError, ValueError, OSError, KeyError)


class Polygons:
    """A file of polygons that lie on a map.

    Args:
        path: a GeoPackage, a GeoParquet file, or another file that GDAL reads.
        place: place of the map on Earth.
        is_wanted: whether the page shows them at first.

    Raises:
        InputError: the file cannot be read, or the map does not say where it lies.
    """

    def __init__(self, path: Path, place: Place | None, *, is_wanted: bool = True):
        self.path, self.is_wanted = path, is_wanted
        if not path.is_file():
            raise InputError(path, "no such file")
        if place is None or place.transform is None:
            raise InputError(
                path,
                "cannot be drawn, since the map does not say where it lies",
                "show the map without polygons",
            )
        self._transform, self._inverse = place.transform, ~place.transform
        self._whole: geopandas.GeoDataFrame | None = None
        if path.suffix.lower() == PARQUET and not _has_boxes(path):
            with _naming(path):
                self._whole = geopandas.read_parquet(path)
        # No polygon lies there, but the answer says which reference system they have.
        own = self._read((0.0, 0.0, 0.0, 0.0), 1).crs
        self._to_own = self._crs = None
        if own is not None and place.crs is not None:
            crs = pyproj.CRS.from_user_input(place.crs)
            if own != crs:
                self._crs = crs
                self._to_own = pyproj.Transformer.from_crs(crs, own, always_xy=True)

    def inside(self, box: Box, pixel: float) -> str | None:
        """Write the outlines that are seen in a window as GeoJSON.

        Args:
            box: left, top, right and bottom of the window, in columns and rows of the map.
            pixel: side of a pixel of the screen, in pixels of the map. Outlines are simplified by
                less than that.

        Returns:
            GeoJSON in columns (x) and rows (y), with the property ``label``; None if there are
            more than ``MOST`` polygons.

        Raises:
            InputError: the file cannot be read any more.
        """
        left, top, right, bottom = box
        columns, rows = np.array([[left, right, left, right], [top, top, bottom, bottom]])
        x, y = self._transform @ (columns, rows)
        seen = (min(x), min(y), max(x), max(y))
        if self._to_own is not None:
            seen = self._to_own.transform_bounds(*seen)
        found = self._read(seen, MOST + 1)
        if len(found) > MOST:
            return None
        if self._crs is not None:
            found = found.to_crs(self._crs)
        # Small ones come last, so they are drawn above the border of what they lie in.
        found = found.iloc[np.argsort(-shapely.area(found.geometry.to_numpy()), kind="stable")]
        labels = found[LABEL].tolist() if LABEL in found else [None] * len(found)
        # Borders are cut and simplified much faster than polygons, and are all that is drawn.
        lines = shapely.boundary(found.geometry.to_numpy())
        lines = shapely.transform(lines, lambda xy: np.column_stack(self._inverse @ tuple(xy.T)))
        lines = shapely.clip_by_rect(lines, left, top, right, bottom)
        lines = shapely.simplify(lines, pixel / 2, preserve_topology=False)
        lines = shapely.transform(lines, lambda xy: xy.round(2))
        texts = np.where(shapely.is_empty(lines), None, shapely.to_geojson(lines))
        features = [
            f'{{"type":"Feature","properties":{{"label":{_number(label)}}},"geometry":{text}}}'
            for label, text in zip(labels, texts, strict=True)
            if text is not None
        ]
        return f'{{"type":"FeatureCollection","features":[{",".join(features)}]}}'

    def _read(self, box: Box, most: int) -> geopandas.GeoDataFrame:
        """Read polygons whose boxes touch a box of coordinates; no more than are asked for."""
        if self._whole is not None:
            return self._whole.cx[box[0] : box[2], box[1] : box[3]].head(most)
        with _naming(self.path):
            if self.path.suffix.lower() == PARQUET:
                return geopandas.read_parquet(self.path, bbox=box).head(most)
            return pyogrio.read_dataframe(
                plain(self.path), bbox=box, columns=[LABEL], max_features=most
            )


def _has_boxes(path: Path) -> bool:
    """Tell whether a part of a GeoParquet file can be read without all of it."""
    try:
        geopandas.read_parquet(path, bbox=(0.0, 0.0, 0.0, 0.0))
    except _UNREADABLE:
        return False
    return True


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what libraries raise for an unreadable file into an :class:`InputError`."""
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(
            path, f"is no file of polygons ({reason})", "give a GeoPackage or a GeoParquet file"
        ) from error


def _number(label: object) -> str:
    """Write a label as JSON; a polygon may have none."""
    return str(int(label)) if isinstance(label, int | float) and math.isfinite(label) else "null"
