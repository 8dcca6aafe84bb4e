"""Regions of a map: neighboring pixels of one class, found tile by tile and joined over borders.

Two pixels are neighbors if they share a side. Regions have numbers; number 0 stands for all pixels
without data.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from network.datasets.windows import separate_windows
from network.maps.borders import Borders, Forest
from network.maps.layers import NO_DATA


@dataclass(frozen=True)
class Tile:
    """A rectangle of a map that is in memory at once.

    Attributes:
        number: its number, from 0 on, row by row.
        rows: rows of the map.
        columns: columns of the map.
        neighbors: numbers of the tiles above, below, left and right; None at the map's edge.
    """

    number: int
    rows: slice
    columns: slice
    neighbors: tuple[int | None, int | None, int | None, int | None]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)


def make_tiles(height: int, width: int, side: int) -> list[Tile]:
    """Cut a map into square tiles, row by row; those at the right and at the bottom are smaller.

    Args:
        height: height of the map in pixels.
        width: width of the map in pixels.
        side: side of the tiles in pixels.
    """
    windows = list(separate_windows(height, width, side, keep_rest=True))
    across = -(-width // side)
    return [
        Tile(
            number,
            *window,
            (
                number - across if number >= across else None,
                number + across if number + across < len(windows) else None,
                number - 1 if number % across else None,
                number + 1 if (number + 1) % across else None,
            ),
        )
        for number, window in enumerate(windows)
    ]


@dataclass(frozen=True)
class Regions:
    """A table of regions, by number. All arrays are (n + 1,), since number 0 is no region.

    Attributes:
        label: the class.
        pixels: number of pixels.
        area: area on the ground in square meters.
        shares: sum of the stored confidence of the pixels.
        first: the first pixel, counted row by row; it is the same however a map is cut into tiles.
        start: number of the first tile.
        end: number of the last tile.
    """

    label: np.ndarray
    pixels: np.ndarray
    area: np.ndarray
    shares: np.ndarray
    first: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def merged(self, roots: np.ndarray) -> tuple["Regions", np.ndarray]:
        """Merge regions.

        Args:
            roots: for each region (n + 1,) the one that it is merged into, which is merged into
                itself; 0 for a region that becomes a place without data.

        Returns:
            The merged regions, and for each old region (n + 1,) its new number.
        """
        kept, numbers = np.unique(roots, return_inverse=True)

        def reduced(function: np.ufunc, values: np.ndarray, start: float) -> np.ndarray:
            total = np.full(len(kept), start, values.dtype)
            function.at(total, numbers, values)
            return total

        tables = Regions(
            label=self.label[kept],
            pixels=reduced(np.add, self.pixels, 0),
            area=reduced(np.add, self.area, 0),
            shares=reduced(np.add, self.shares, 0),
            first=reduced(np.minimum, self.first, np.iinfo(np.int64).max),
            start=reduced(np.minimum, self.start, np.iinfo(np.int32).max),
            end=reduced(np.maximum, self.end, -1),
        )
        return tables, numbers.astype(np.int32)


class Survey:
    """The search for all regions of a map.

    Each tile gets numbers of its own for its regions. They follow those of the tiles before, so a
    number is used once in the whole map. A tile that is numbered again gets the same numbers.

    Args:
        tiles: all tiles of the map.
        width: width of the map in pixels.
        with_borders: whether the borders between regions are measured too.
    """

    def __init__(self, tiles: list[Tile], width: int, *, with_borders: bool):
        self._tiles, self._width, self._with_borders = tiles, width, with_borders
        nothing = Regions(*(np.zeros(1, t) for t in ("u1", "i8", "f8", "f8", "i8", "i4", "i4")))
        nothing.label[0] = NO_DATA
        self._tables = [nothing]
        self._before = [0]
        self._edges: list[tuple[np.ndarray, ...]] = []  # of each tile: top, bottom, left, right
        self._borders: list[Borders] = []

    def add(self, tile: Tile, labels: np.ndarray, shares: np.ndarray, areas: np.ndarray) -> None:
        """Take the next tile.

        Args:
            tile: the tile.
            labels: labels of its pixels (h, w) uint8.
            shares: stored confidence of its pixels (h, w) uint8.
            areas: areas of its pixels (h, w) in square meters.
        """
        numbers, count = _components(labels)
        self._tables.append(self._measured(tile, numbers, count, labels, shares, areas))
        numbers = np.where(numbers, numbers + self._before[-1], 0)
        self._before.append(self._before[-1] + count)
        edges = numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]
        self._edges.append(tuple(edge.copy() for edge in edges))
        above, _, left, _ = tile.neighbors
        found = []
        if left is not None:
            found.append(Borders.between(self._edges[left][3], numbers[:, 0], upright=True))
        if above is not None:
            found.append(Borders.between(self._edges[above][1], numbers[0], upright=False))
        if self._with_borders:
            found.append(Borders.between(numbers[:, :-1], numbers[:, 1:], upright=True))
            found.append(Borders.between(numbers[:-1], numbers[1:], upright=False))
        self._borders.append(Borders.sum(found))

    def number(self, tile: Tile, labels: np.ndarray) -> np.ndarray:
        """Find the numbers of a tile's pixels (h, w) again; see :meth:`add`."""
        numbers, _ = _components(labels)
        return np.where(numbers, numbers + self._before[tile.number], 0)

    def sides(self, tile: Tile) -> list[np.ndarray | None]:
        """List the numbers of the pixels around a tile: above, below, left and right of it."""
        across = (1, 0, 3, 2)  # the bottom of the tile above, the top of the tile below, ...
        return [
            None if neighbor is None else self._edges[neighbor][edge]
            for neighbor, edge in zip(tile.neighbors, across, strict=True)
        ]

    def regions(self) -> tuple[Regions, Borders, np.ndarray]:
        """Join the regions over the borders of the tiles, when all tiles have been added.

        Returns:
            The regions, the borders between them (without those inside of tiles if these were not
            measured), and for each number of a tile the number of its region.
        """
        columns = zip(*(vars(table).values() for table in self._tables), strict=True)
        parts = Regions(*map(np.concatenate, columns))
        borders = Borders.sum(self._borders)
        label = parts.label[borders.pairs]
        forest = Forest(len(parts))
        for one, other in borders.pairs[label[:, 0] == label[:, 1]].tolist():
            forest.join(one, other)
        regions, numbers = parts.merged(forest.roots())
        return regions, borders.renumbered(numbers), numbers

    def _measured(
        self,
        tile: Tile,
        numbers: np.ndarray,
        count: int,
        labels: np.ndarray,
        shares: np.ndarray,
        areas: np.ndarray,
    ) -> Regions:
        """Measure the regions of a tile."""
        flat = numbers.ravel()
        first = np.zeros(count + 1, np.int64)
        first[flat[::-1]] = np.arange(flat.size)[::-1]  # of several values, the last one stays
        label = labels.ravel()[first]
        row, column = np.divmod(first, numbers.shape[1])
        first = (tile.rows.start + row) * self._width + tile.columns.start + column
        at = np.full(count, tile.number, np.int32)
        return Regions(
            label[1:],
            np.bincount(flat, minlength=count + 1)[1:],
            np.bincount(flat, areas.ravel(), count + 1)[1:],
            np.bincount(flat, shares.ravel(), count + 1)[1:],
            first[1:],
            at,
            at,
        )


def _components(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the regions of a tile (h, w) from 1 on; return the numbers and how many there are."""
    numbers, count = np.zeros(labels.shape, np.int32), 0
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[:NO_DATA]):
        is_label = labels == label
        found, parts = cv2.connectedComponents(is_label.view(np.uint8), connectivity=4)
        np.add(parts, count, out=numbers, where=is_label)
        count += found - 1
    return numbers, count
