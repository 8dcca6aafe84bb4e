"""Rasters to look at: opened by several threads, decoded once, or drawn onto another raster's grid.

A file is read as it lies, if its format allows to read parts of it. Photos (PNG, JPEG, ...) must be
decoded from their beginning each time, so they are decoded once into memory.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
import rasterio.warp
from affine import Affine
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from network.errors import InputError
from network.rasters.header import OPTIONS
from network.rasters.memory import raster_in_memory
from network.rasters.place import Place, distance
from network.rasters.shrink import Opened
from network.rasters.source import Source
from network.rasters.whole import REMEDY

DECODED_WHOLE = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""GDAL's names of the formats whose files are decoded from their beginning."""

SAME_GRID = 0.5
"""Largest distance in pixels between the corners of two rasters that count as lying on each other.
"""

_PLANE = CRS.from_epsg(3857)
"""Stands for a reference system that neither of two rasters names."""


@dataclass(frozen=True)
class View:
    """A raster that can be opened any number of times, in the rows and columns that are shown.

    Attributes:
        path: the file, for errors.
        height: number of rows.
        width: number of columns.
        bands: number of bands, without an alpha band.
        dtype: NumPy's name for the type of the values.
        place: place on Earth; None if it is not known.
        table: red, green and blue of a color table, by value; None if there is none.
        memory: the decoded pixels; None if the file is read as it lies.
        grid: the raster onto whose grid this one is drawn; None for its own.
    """

    path: Path
    height: int
    width: int
    bands: int
    dtype: str
    place: Place | None
    table: Mapping[int, tuple[int, int, int]] | None = None
    memory: MemoryFile | None = None
    grid: "View | None" = None

    def open(self) -> Opened:
        """Open the raster once more. One thread at a time may use what is returned.

        Raises:
            InputError: the file cannot be opened any more.
        """
        try:
            with rasterio.Env(**OPTIONS):
                file = rasterio.open(self.memory.name if self.memory else self.path)
                return file if self.grid is None else self._on_grid(file, self.grid)
        except (RasterioError, CPLE_BaseError, OSError) as error:
            raise InputError(self.path, "unreadable image", f"{REMEDY}") from error

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """Open the raster while the block runs, in which it is read.

        Raises:
            InputError: the file cannot be opened, or the block cannot decode its pixels.
        """
        with rasterio.Env(**OPTIONS), self.open() as file:
            try:
                yield file
            except (RasterioError, CPLE_BaseError) as error:
                raise InputError(self.path, "unreadable image", f"{REMEDY}") from error

    def _on_grid(self, file: rasterio.DatasetReader, grid: "View") -> WarpedVRT:
        assert grid.place is not None
        known = grid.place.crs or file.crs or _PLANE
        has_more = file.nodata is not None or file.count > self.bands
        return WarpedVRT(
            file,
            src_crs=file.crs or known,
            crs=known,
            transform=grid.place.transform,
            height=grid.height,
            width=grid.width,
            # Between two numbers of colors lies no color.
            resampling=Resampling.bilinear if self.table is None else Resampling.nearest,
            # Around the image there are no data either.
            add_alpha=not has_more,
        )


def view_of(path: Path, *, turn: bool = False, is_labels: bool = False) -> View:
    """Open a raster to look at it.

    Args:
        path: a file in any format that GDAL reads.
        turn: whether rows and columns are those that a viewer shows if the file says by EXIF that
            it turns the image; otherwise those that are stored.
        is_labels: whether the values are labels, which have no mean.

    Raises:
        InputError: the file cannot be opened or decoded, or it does not fit into memory.
    """
    with Source(path, turn=turn) as source:
        height, width = source.size
        bands, dtypes = len(source.bands), source.dtypes
        if any(dtype.startswith("complex") for dtype in dtypes):
            raise InputError(path, "has complex values", "give an image of their absolute values")
        dtype = dtypes.pop() if len(dtypes) == 1 else "float64"
        place = None if source.is_turned else source.header.place
        view = View(path, height, width, bands, dtype, place, table=source.color_table or None)
        if source.driver not in DECODED_WHOLE and not source.is_turned:
            return view
        needed = 2 * height * width * bands * np.dtype(dtype).itemsize
        free = psutil.virtual_memory().available
        if needed > free:
            raise InputError(
                path,
                f"{height} x {width} pixels take {needed / 1e9:.0f} GB of memory, "
                f"{free / 1e9:.0f} GB are free",
                "convert it to a tiled GeoTIFF (gdal_translate -of COG)",
            )
        values, valid = source.read(slice(0, height), slice(0, width))
    memory = raster_in_memory(
        values, valid, place=place, is_labels=is_labels or view.table is not None
    )
    return replace(view, memory=memory)


def on_grid(image: View, grid: View) -> View:
    """Draw an image in the rows and columns of another raster.

    Args:
        image: the image.
        grid: the raster whose grid is wanted, a map.

    Returns:
        The image itself if it has this grid already. It has too if sizes are equal and one of the
        two does not say where it lies. Otherwise it is warped when it is read.

    Raises:
        InputError: nobody knows how the two lie to each other, or they do not overlap.
    """
    remedy = "give the image that the map was made from"
    is_same_size = (image.height, image.width) == (grid.height, grid.width)
    if image.place is None or grid.place is None:
        if is_same_size:
            return image
        without = image if image.place is None else grid
        raise InputError(
            image.path,
            f"has {_size(image)} pixels, its map {_size(grid)}, and {without.path.name} does not "
            "say where it lies",
            remedy,
        )
    if is_same_size:
        apart = distance(grid.place, image.place, grid.height, grid.width)
        if apart is not None and apart < SAME_GRID:
            return image
    transform, of_grid = image.place.transform, grid.place.transform
    if transform is None or of_grid is None:
        raise InputError(
            image.path,
            "has other control points than its map",
            f"{remedy}, or warp both (gdalwarp)",
        )
    if not _overlap(image, grid, transform, of_grid):
        raise InputError(image.path, f"does not overlap the map {grid.path}", remedy)
    return replace(image, height=grid.height, width=grid.width, place=grid.place, grid=grid)


def _size(view: View) -> str:
    return f"{view.height} x {view.width}"


def _overlap(image: View, grid: View, transform: Affine, of_grid: Affine) -> bool:
    """Tell whether the box around an image, in pixels of the grid, overlaps the grid."""
    assert image.place is not None
    assert grid.place is not None
    steps = np.linspace(0, 1, 21)  # straight borders may be bent in another reference system
    points: Any = np.meshgrid(steps * image.width, steps * image.height)
    x, y = transform @ tuple(np.reshape(points, (2, -1)))
    if image.place.crs and grid.place.crs and image.place.crs != grid.place.crs:
        try:
            x, y = rasterio.warp.transform(image.place.crs, grid.place.crs, x, y)
        except (RasterioError, CPLE_BaseError):
            return False
    if of_grid.is_degenerate:
        return False
    columns, rows = ~of_grid @ (np.array(x), np.array(y))
    known = np.isfinite(columns) & np.isfinite(rows)
    if not known.any():
        return False
    columns, rows = columns[known], rows[known]
    across = columns.min() < grid.width and columns.max() > 0
    return bool(across and rows.min() < grid.height and rows.max() > 0)
