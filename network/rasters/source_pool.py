"""Opened rasters that are kept open, so that their next windows are read at once."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from network.rasters.source import Source

MOST = 32
"""Number of rasters that are kept open."""


class SourcePool:
    """The rasters that a process has used last; one thread may use them at a time.

    A copy of it in another process, as in a worker of a loader, opens them anew.
    """

    def __init__(self) -> None:
        self._opened: OrderedDict[tuple[str, tuple[int, ...], bool], Source] = OrderedDict()
        self._process = os.getpid()

    def get(self, path: str | Path, bands: Sequence[int] = (), *, turn: bool = False) -> Source:
        """Return an opened raster.

        Args:
            path: a file, or a path that GDAL understands.
            bands: numbers of the bands to read, from 1 on; by default all.
            turn: whether to turn the image as its EXIF orientation says.

        Raises:
            InputError: see :class:`Source`.
        """
        if self._process != os.getpid():
            # GDAL must not use a file that another process has opened before it was forked.
            self._opened, self._process = OrderedDict(), os.getpid()
        key = str(path), tuple(bands), turn
        if key in self._opened:
            self._opened.move_to_end(key)
        else:
            self._opened[key] = Source(path, bands or None, turn=turn)
            if len(self._opened) > MOST:
                self._opened.popitem(last=False)[1].close()
        return self._opened[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"_opened": OrderedDict(), "_process": os.getpid()}
