"""Rasters that are read on the grid of another raster, each pixel from its nearest neighbor."""

from pathlib import Path

from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from network.errors import InputError
from network.rasters.earth_grid import EarthGrid, no_transform
from network.rasters.source import Source


class WarpedSource(Source):
    """An opened raster that is read on another grid; one thread may use it at a time.

    Values are never mixed: each pixel of the grid gets the value of the pixel that its center lies
    in. Pixels outside the raster are not valid. Positions are exact to an eighth of a pixel of the
    raster, and exact if both have the same reference system.

    Args:
        path: a file, or a path that GDAL understands.
        grid: the grid.

    Attributes:
        own_grid: the grid of the raster itself.

    Raises:
        InputError: the file cannot be opened, does not say where it lies, or no transform leads
            from its reference system to the grid's.
    """

    def __init__(self, path: str | Path, grid: EarthGrid):
        super().__init__(path)
        try:
            self._warp(grid)
        except InputError:
            self.close()
            raise

    def _warp(self, grid: EarthGrid) -> None:
        header = self.header
        path = Path(self.path)
        self.own_grid = EarthGrid.of(path, header.place, header.height, header.width)
        self._stored = self._file
        # An alpha band is added where nothing else would tell the pixels outside. A mask band comes
        # before the no-data value here, as where GDAL reads the raster itself.
        by_band = self._file.mask_flag_enums
        if not all(by_band):  # GDAL has no flag for the mask of a single band, and does not warp it
            raise InputError(
                path,
                "has a mask of a single band, which cannot be brought to another grid",
                "make it a mask of the whole file (gdal_translate -mask 1)",
            )
        has_mask = any(MaskFlags.per_dataset in flags for flags in by_band)
        has_mask &= not header.has_alpha
        is_marked = not has_mask and (self._file.nodata is not None or header.has_alpha)
        without = {"src_nodata": None, "nodata": None} if has_mask else {}
        # GDAL heeds no no-data value of integers of 64 bits here. Labels are exact as floats.
        has_long_integers = header.dtype in ("int64", "uint64")
        try:
            with self._environment:
                self._file = WarpedVRT(
                    self._stored,
                    crs=grid.crs,
                    transform=grid.transform,
                    height=grid.height,
                    width=grid.width,
                    resampling=Resampling.nearest,
                    add_alpha=not is_marked,
                    dtype="float64" if has_long_integers and is_marked else None,
                    **without,
                )
        except (RasterioError, CPLE_BaseError, ValueError) as error:
            raise no_transform(path, self.own_grid.crs, grid.crs) from error
        self._size = grid.height, grid.width
        if not is_marked:
            self._alpha = self._file.count

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the grid."""
        return self._size

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        getattr(self, "_stored", self._file).close()
