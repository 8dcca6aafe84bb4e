"""Opened readers of a raster, which the threads of a service borrow from each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import rasterio
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.errors import RasterioError

from network.errors import InputError
from network.rasters.header import OPTIONS
from network.rasters.whole import REMEDY

Reader = TypeVar("Reader")


class Readers(Generic[Reader]):
    """Readers of one raster, since GDAL's datasets serve one thread at a time.

    There are as many as threads have read at the same time.

    Args:
        path: the raster, for errors.
        open: opens the raster once more.
    """

    def __init__(self, path: Path, open: Callable[[], Reader]):
        self._path, self._open = path, open
        self._free: SimpleQueue[Reader] = SimpleQueue()

    @contextmanager
    def borrowed(self) -> Iterator[Reader]:
        """Lend a reader to the calling thread; one whose block fails is not lent again.

        Raises:
            InputError: the raster cannot be opened or decoded.
        """
        try:
            with rasterio.Env(**OPTIONS):
                try:
                    reader = self._free.get_nowait()
                except Empty:
                    reader = self._open()
                yield reader
                self._free.put(reader)
        except (RasterioError, CPLE_BaseError, OSError) as error:
            raise InputError(self._path, "unreadable image", f"{REMEDY}") from error
