"""Pieces of regions that wait on the disk until the last piece of their region is found.

This module needs the extra ``vectors``.
"""

from collections import defaultdict
from pathlib import Path
from typing import IO

import numpy as np
import shapely

from network.writing import writing


class Waiting:
    """Polygons on the disk, by the number of their region.

    Args:
        file: an empty file without a buffer, opened to read and write.
        path: where it lies, for errors.
    """

    def __init__(self, file: IO[bytes], path: Path):
        self._file, self._path = file, path
        self._places: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)

    def add(self, number: int, piece: shapely.Polygon) -> None:
        """Add a piece of a region.

        Raises:
            InputError: the disk refuses to write.
        """
        content = memoryview(shapely.to_wkb(piece))
        with writing(self._path):
            self._places[number].append((self._file.seek(0, 2), len(content)))
            while content:  # on a disk that is nearly full, only a part is written at first
                content = content[self._file.write(content) :]

    def take(self, number: int) -> np.ndarray:
        """Remove the pieces of a region, and return them (n,) in the order in which they came."""
        contents = []
        for start, length in self._places.pop(number):
            self._file.seek(start)
            contents.append(self._file.read(length))
        return shapely.from_wkb(contents)
