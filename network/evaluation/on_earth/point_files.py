"""Files of points that wait for a person to write their class."""

import csv
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
from pyogrio.errors import DataSourceError
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from network.errors import InputError
from network.rasters.earth_grid import EarthGrid, name_of, no_transform
from network.rasters.vector_paths import plain, plain_name
from network.writing import replacing

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON"}
SUFFIXES = (*DRIVERS, ".csv")

CLASS = "class"
"""The attribute that is written empty, for the class."""


def check_points_file(path: Path) -> None:
    """Raise an :class:`InputError` unless points can be written into a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            path, "no such format for points", f"end the name in {', '.join(SUFFIXES)}"
        )


def write_points(path: Path, places: np.ndarray, grid: EarthGrid) -> None:
    """Write the centers of pixels as points with a number ``id`` and an empty ``class``.

    Args:
        path: a GeoPackage, GeoJSON or CSV file.
        places: (n, 2) rows and columns.
        grid: the grid of the pixels, whose reference system the points get.

    Raises:
        InputError: the name has another ending, or the file cannot be written.
    """
    check_points_file(path)
    rows, columns = places.T
    x, y = grid.transform @ (columns + 0.5, rows + 0.5)
    numbers = np.arange(1, len(places) + 1)
    with replacing(path) as partial:
        if path.suffix.lower() == ".csv":
            system = _readable_name(grid.crs)
            with partial.open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["id", "x", "y", "crs", CLASS])
                for row in zip(numbers.tolist(), x.tolist(), y.tolist(), strict=True):
                    table.writerow([*row, system, ""])
            return
        frame = geopandas.GeoDataFrame(
            {"id": numbers, CLASS: [""] * len(numbers)},
            geometry=geopandas.points_from_xy(x, y),
            crs=grid.crs.to_wkt(),
        )
        if path.suffix.lower() == ".geojson":
            # It has a place for the code of a reference system only.
            system = CRS.from_epsg(grid.crs.to_epsg() or 4326)
            try:
                frame = frame.to_crs(system.to_wkt())
            except ProjError as error:
                raise no_transform(path, grid.crs, system) from error
        # GDAL wants a name with the ending of the format.
        named = partial.with_name(f"{plain_name(partial.name)}{path.suffix.lower()}")
        try:
            pyogrio.write_dataframe(
                frame, plain(named), layer=path.stem, driver=DRIVERS[path.suffix.lower()]
            )
            named.replace(partial)
        except DataSourceError as error:
            raise InputError(path, f"cannot be written ({error})") from error
        finally:
            named.unlink(missing_ok=True)


def _readable_name(crs: CRS) -> str:
    """Name a reference system so that it can be read again: in a few words, or as WKT."""
    short = name_of(crs)
    try:
        return short if CRS.from_user_input(short) == crs else crs.to_wkt()
    except CRSError:
        return crs.to_wkt()
