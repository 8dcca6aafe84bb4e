"""Small rasters in memory, which are read like files."""

from itertools import takewhile

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile

from network.rasters.place import Place

SIDE = 256
"""Side of the blocks, in pixels."""


def raster_in_memory(
    values: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    place: Place | None = None,
    is_labels: bool = False,
) -> MemoryFile:
    """Store pixels as a raster in memory, with overviews, so any part is read quickly.

    Args:
        values: (h, w, bands).
        valid: (h, w) bool, true where there are data; None if they are everywhere. The raster
            gets a mask for it.
        place: place on Earth; None if it is not known.
        is_labels: whether overviews have the most frequent value instead of the mean.

    Returns:
        The raster. Its ``name`` can be opened like a file as long as the object exists.
    """
    height, width, bands = values.shape
    known = {}
    if place is not None:
        known = {"crs": place.crs} if place.crs else {}
        known |= {"gcps": place.points} if place.points else {"transform": place.transform}
    memory = MemoryFile(ext=".tif")
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        memory.open(
            driver="GTiff",
            height=height,
            width=width,
            count=bands,
            dtype=values.dtype,
            tiled=True,
            blockxsize=SIDE,
            blockysize=SIDE,
            interleave="pixel",
            bigtiff="if_safer",
            **known,
        ) as file,
    ):
        # GDAL would take the second and fourth band of some images for an alpha band.
        file.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (bands - 1)
        file.write(values.transpose(2, 0, 1))
        if valid is not None:
            file.write_mask(valid)
        factors = takewhile(
            lambda factor: max(height, width) // factor >= SIDE // 2, (2**n for n in range(1, 32))
        )
        file.build_overviews(list(factors), Resampling.mode if is_labels else Resampling.average)
    return memory


def blocks_in_memory(values: np.ndarray, side: int) -> MemoryFile:
    """Store pixels as a GeoTIFF in memory, in square blocks that are compressed with ZSTD.

    Args:
        values: (h, w, bands).
        side: side of the blocks in pixels, a multiple of 16.

    Returns:
        The raster, see :func:`raster_in_memory`.
    """
    height, width, bands = values.shape
    memory = MemoryFile(ext=".tif")
    with memory.open(
        driver="GTiff",
        height=height,
        width=width,
        count=bands,
        dtype=values.dtype,
        tiled=True,
        blockxsize=side,
        blockysize=side,
        interleave="pixel",
        compress="zstd",
    ) as file:
        file.write(values.transpose(2, 0, 1))
    return memory
