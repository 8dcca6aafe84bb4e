"""Tiles of rasters: squares of 256 x 256 pixels, at scales that are powers of two.

The pyramid of tiles lies in the rows and columns of the map, so nothing is projected. At the
largest zoom a pixel of a tile is a pixel of the raster; at zoom 0 a few tiles show all of it.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import rasterio
from rio_tiler.errors import NoOverviewWarning
from rio_tiler.io import ImageReader

from network.errors import warn
from network.rasters.memory import raster_in_memory
from network.rasters.shrink import Opened, has_overviews, shrink
from network.rasters.view import View
from network.serving.readers import Readers

SIDE = 256
"""Side of a tile in pixels."""

SHRUNK = 8
"""Factor of the copy in memory of a file without overviews. Up to half of it, a tile is read from
the file: that decodes at most 1024 x 1024 pixels."""

# The user is told in one line, together with what helps.
warnings.filterwarnings("ignore", category=NoOverviewWarning)


class Tiles:
    """Tiles of one raster, which several threads may read at the same time.

    A large file without overviews is read once at the start, since otherwise each tile at a small
    scale would take as long.

    Args:
        view: the raster.
        is_labels: whether the values are labels, which are never averaged.

    Attributes:
        max_zoom: the zoom at which tiles have the pixels of the raster.

    Raises:
        InputError: the raster cannot be read.
    """

    def __init__(self, view: View, *, is_labels: bool = False):
        self.view = view
        self.is_labels = is_labels or view.table is not None
        self.max_zoom = max(0, math.ceil(math.log2(max(view.height, view.width) / SIDE)))
        self._readers = Readers(view.path, lambda: ImageReader(None, dataset=view.open()))
        self._small: Readers[ImageReader] | None = None
        factor = 2**self.max_zoom
        with self._readers.borrowed() as reader:
            way = "mode" if self.is_labels else "average"
            if factor > SHRUNK and not has_overviews(reader.dataset, factor):
                warn(
                    f"{view.path} has no overviews, so all of it is read once; for the next time, "
                    f"make some: rio overview --build auto --resampling {way} {view.path}"
                )
                size = math.ceil(view.height / SHRUNK), math.ceil(view.width / SHRUNK)
                values, valid = shrink(
                    reader.dataset,
                    list(range(1, view.bands + 1)),
                    *size,
                    is_labels=self.is_labels,
                    what=view.path.name,
                )
                small = raster_in_memory(values, valid, is_labels=self.is_labels)
                self._small = Readers(
                    view.path, lambda: ImageReader(None, dataset=rasterio.open(small.name))
                )

    def read(self, zoom: int, x: int, y: int, bands: Sequence[int]) -> np.ma.MaskedArray | None:
        """Read a tile.

        Args:
            zoom: 0 to ``max_zoom``; each one doubles the scale.
            x: number of the tile in its row, from 0 on.
            y: number of its row, from 0 on.
            bands: numbers of the bands, from 1 on.

        Returns:
            Values (bands, 256, 256). Pixels without data, and those outside the raster, are
            masked. None if there is no such tile.

        Raises:
            InputError: the pixels cannot be decoded.
        """
        if not 0 <= zoom <= self.max_zoom:
            return None
        factor = 2 ** (self.max_zoom - zoom)
        side = SIDE * factor
        if not (0 <= x * side < self.view.width and 0 <= y * side < self.view.height):
            return None
        readers, unit = self._readers, 1
        if self._small and factor >= SHRUNK:
            readers, unit = self._small, SHRUNK
        left, top = x * side // unit, y * side // unit
        with readers.borrowed() as reader:
            # Only the part inside the raster: a warped raster cannot be read beyond its borders.
            right = min(left + side // unit, reader.width)
            bottom = min(top + side // unit, reader.height)
            height = math.ceil((bottom - top) * unit / factor)
            width = math.ceil((right - left) * unit / factor)
            found = reader.part(
                (left, bottom, right, top),
                height=height,
                width=width,
                indexes=list(bands),
                resampling_method="nearest" if self.is_labels else "average",
            ).array
        tile = np.ma.masked_all((len(bands), SIDE, SIDE), found.dtype)
        tile[:, :height, :width] = found
        return tile

    def pixel(self, row: int, column: int, bands: Sequence[int]) -> np.ma.MaskedArray:
        """Read a pixel: (bands,), masked where it has no data.

        Args:
            row: row of the pixel, from 0 on.
            column: column of the pixel.
            bands: numbers of the bands, from 1 on.

        Raises:
            InputError: the pixel cannot be decoded.
        """
        with self._readers.borrowed() as reader:
            box = (column, row + 1, column + 1, row)
            return reader.part(box, height=1, width=1, indexes=list(bands)).array[:, 0, 0]

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """Lend the raster, or its smaller copy if it has one, to the calling thread."""
        with (self._small or self._readers).borrowed() as reader:
            yield reader.dataset
