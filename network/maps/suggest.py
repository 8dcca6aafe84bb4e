"""Suggestion of windows to label next: where the maps of a network are least certain.

This module needs the extra ``vectors``.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from rasterio.windows import Window as RasterioWindow

from network.datasets.on_earth.label_raster import check_areas, draw_areas
from network.datasets.on_earth.open_labels import is_raster
from network.datasets.windows import Window
from network.errors import InputError, warn
from network.maps.layers import CONFIDENCE, STEPS
from network.maps.read import FinishedMap, MapClass, read_map
from network.maps.search import RANDOM, Search
from network.progress import progress_bar
from network.rasters import shapes, vectors
from network.rasters.earth_grid import EarthGrid
from network.rasters.place import ground_at_middle
from network.rasters.view import View
from network.rasters.warped import WarpedSource

_STEPS = (4, 2, 1)
"""Windows begin at multiples of their side divided by the first of these numbers with which a map
has at most ``_MOST`` places for them."""

_MOST = 2**22

_SIDE = 2048
"""Maps are read in parts of about this side, in pixels."""

_FEWEST_VALID = 0.5
"""Smallest share of the pixels of a window that have data."""


@dataclass(frozen=True)
class Suggestion:
    """A window to label.

    Attributes:
        map: the map that it was found in.
        window: its rows and columns there.
        score: how uncertain the map is there, from 0 to 1; with ``by="random"`` a random number.
        polygon: the window on Earth.
    """

    map: Path
    window: Window
    score: float
    polygon: shapely.Polygon


@dataclass(frozen=True)
class Suggestions:
    """The windows to label, the most uncertain first.

    Attributes:
        windows: the windows, of which none overlaps another.
        crs: reference system of their polygons, which is that of the first map.
        classes: the classes of the first map.
    """

    windows: tuple[Suggestion, ...]
    crs: pyproj.CRS
    classes: tuple[MapClass, ...]


def suggest_windows(maps: Sequence[Path], search: Search) -> Suggestions:
    """Choose windows of maps, one after the other, the most uncertain first.

    Each is the best of those that do not overlap the ones before, and that hold no labeled pixel.
    At least half of its pixels have data.

    Args:
        maps: maps of ``predict.py``, with the layer that windows are chosen by.
        search: which windows are searched.

    Raises:
        InputError: a map cannot be read, has no place on Earth or lacks the layer; a file of labels
            or areas cannot be read; there is no such window.
    """
    if search.areas is not None:
        check_areas(search.areas)
    opened = [read_map(path) for path in maps]
    scored = [_scored(map_, number, search) for number, map_ in enumerate(opened)]
    first = scored[0].crs
    chosen: list[Suggestion] = []
    polygons: list[shapely.Polygon] = []
    owners: list[int] = []
    for _, _, number, row, column in heapq.merge(*(one.in_order() for one in scored)):
        own = scored[number]
        if not own.is_free(row, column):
            continue
        polygon = own.polygon(row, column, first)
        others = [p for p, owner in zip(polygons, owners, strict=True) if owner != number]
        # Windows of two maps overlap if they share more than a pixel.
        pixel = polygon.area / own.pixels(row, column)
        if others and shapely.area(shapely.intersection(polygon, others)).max() > pixel:
            continue
        own.take(row, column)
        score = float(own.scores[row, column])
        chosen.append(Suggestion(maps[number], own.window(row, column), score, polygon))
        polygons.append(polygon)
        owners.append(number)
        if len(chosen) == search.number:
            break
    if not chosen:
        raise InputError(
            f"size={search.size:g}",
            "no window of this size has data and is free of labels",
            "choose a smaller one, or more maps",
        )
    if len(chosen) < search.number:
        warn(
            f"only {len(chosen)} of {search.number} windows: all others are labeled, lack data, "
            "overlap these, or lie outside of the areas"
        )
    return Suggestions(tuple(chosen), first, opened[0].classes)


# Scores -----------------------------------------------------------------------------------------


class _Scored:
    """The windows of a map with their scores, and which of them are chosen.

    The map is cut into cells. A window has as many cells along each side as ``side`` says, and
    begins at any cell.

    Args:
        number: number of the map.
        grid: grid of the map.
        cell: height and width of a cell in pixels.
        side: number of cells along a side of a window.
        scores: (rows, columns) float64, by the first cell; -inf where no window may be.
        rng: source of the order of windows with the same score.
    """

    def __init__(
        self,
        number: int,
        grid: EarthGrid,
        cell: tuple[int, int],
        side: int,
        scores: np.ndarray,
        rng: np.random.Generator,
    ):
        self.number, self.grid, self.cell, self.side = number, grid, cell, side
        self.scores, self._rng = scores, rng
        self.crs = pyproj.CRS.from_wkt(grid.crs.to_wkt())
        rows, columns = scores.shape
        self._taken = np.zeros((rows + side - 1, columns + side - 1), bool)

    def in_order(self) -> Iterator[tuple[float, float, int, int, int]]:
        """Yield windows, the highest score first.

        Each is the negative score, a random number, the number of the map, row and column.
        """
        places = np.flatnonzero(np.isfinite(self.scores))
        scores, chance = self.scores.flat[places], self._rng.random(len(places))
        for place in np.lexsort((chance, -scores)):
            row, column = divmod(int(places[place]), self.scores.shape[1])
            yield -float(scores[place]), float(chance[place]), self.number, row, column

    def is_free(self, row: int, column: int) -> bool:
        """Tell whether a window overlaps no chosen one of this map."""
        return not self._taken[row : row + self.side, column : column + self.side].any()

    def take(self, row: int, column: int) -> None:
        """Choose a window."""
        self._taken[row : row + self.side, column : column + self.side] = True

    def window(self, row: int, column: int) -> Window:
        """Find the rows and columns of a window; at the edges of the map they are fewer."""
        (height, width), side = self.cell, self.side
        return (
            slice(row * height, min((row + side) * height, self.grid.height)),
            slice(column * width, min((column + side) * width, self.grid.width)),
        )

    def polygon(self, row: int, column: int, crs: pyproj.CRS) -> shapely.Polygon:
        """Draw a window in a reference system."""
        rows, columns = self.window(row, column)
        across = np.array([columns.start, columns.stop, columns.stop, columns.start, columns.start])
        down = np.array([rows.stop, rows.stop, rows.start, rows.start, rows.stop])
        transform: Any = self.grid.transform
        x, y = transform @ (across, down)
        if self.crs != crs:
            x, y = pyproj.Transformer.from_crs(self.crs, crs, always_xy=True).transform(x, y)
        return shapely.orient_polygons(shapely.Polygon(np.stack([x, y], axis=1)))

    def pixels(self, row: int, column: int) -> int:
        """Count the pixels of a window."""
        return math.prod(side.stop - side.start for side in self.window(row, column))


def _scored(map_: FinishedMap, number: int, search: Search) -> _Scored:
    """Compute the scores of all windows of a map."""
    labels = map_.labels
    path = labels.path
    shown = labels if search.by == RANDOM else map_.layers.get(search.by)
    if shown is None:
        raise InputError(path, f"has no layer {search.by}", "predict it again with this layer")
    grid = EarthGrid.of(path, labels.place, labels.height, labels.width)
    ground = ground_at_middle(labels.place, labels.height, labels.width)
    if ground is None:
        raise InputError(
            path, "its place on Earth gives no lengths in meters", "warp it (gdalwarp -t_srs)"
        )
    sides = search.size / ground.down, search.size / ground.meters
    if min(sides) < 1:
        problem = f"is less than a pixel of {path}"
        raise InputError(f"size={search.size:g}", problem, "choose a larger one")
    for side in _STEPS:
        height, width = (max(1, round(length / side)) for length in sides)
        cells = -(-grid.height // height), -(-grid.width // width)
        if min(sides) >= side and math.prod(cells) <= _MOST:
            break
    obstacles = _Obstacles(search, grid)
    try:
        sums = _sum_cells(shown, obstacles, (height, width), cells)
    finally:
        obstacles.close()
    rng = np.random.default_rng([search.seed, number])
    scores = _score_windows(sums, side, height * width * side**2, search.by)
    if search.by == RANDOM:
        scores = np.where(np.isfinite(scores), rng.random(scores.shape), scores)
    return _Scored(number, grid, (height, width), side, scores, rng)


class _Obstacles:
    """What windows must not cover: what is labeled already, and all outside the areas.

    Args:
        search: names the files.
        grid: grid of the map.
    """

    def __init__(self, search: Search, grid: EarthGrid):
        self._drawn: list[shapes.Painting] = []
        self._rasters: list[WarpedSource] = []
        self._has_areas = search.areas is not None
        self._areas = None if search.areas is None else draw_areas(search.areas, grid)
        for path in search.labeled:
            if not path.exists():
                raise InputError(path, "no such file")
            if is_raster(path):
                self._rasters.append(WarpedSource(path, grid))
                continue
            found = vectors.read_features(path, grid, vectors.POLYGONS)
            if len(found):
                self._drawn.append(shapes.Painting(found.shapes, np.ones(len(found))))

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Tell which pixels (h, w) of a window must not be covered."""
        size = rows.stop - rows.start, columns.stop - columns.start
        found = np.full(size, self._has_areas)
        if self._areas is not None:
            found = self._areas.read(rows, columns, 0, "uint8") == 0
        for drawn in self._drawn:
            found |= drawn.read(rows, columns, 0, "uint8") > 0
        for raster in self._rasters:
            _, valid = raster.read(rows, columns)
            found |= True if valid is None else valid
        return found

    def close(self) -> None:
        """Close the files."""
        for raster in self._rasters:
            raster.close()


@dataclass(frozen=True)
class _Sums:
    """Sums over the pixels of each cell, all (rows, columns) int64.

    Attributes:
        values: the values of the layer, of pixels with data.
        valid: number of pixels with data.
        blocked: number of pixels that must not be covered.
    """

    values: np.ndarray
    valid: np.ndarray
    blocked: np.ndarray


def _sum_cells(
    view: View, obstacles: _Obstacles, cell: tuple[int, int], cells: tuple[int, int]
) -> _Sums:
    """Read a layer part by part, and sum over the pixels of each cell."""
    sums = _Sums(*(np.zeros(cells, np.int64) for _ in range(3)))
    height, width = (max(1, _SIDE // length) * length for length in cell)
    with (
        view.opened() as file,
        progress_bar(total=view.height, desc=f"Reading {view.path.name}", unit="row") as bar,
    ):
        for top in range(0, view.height, height):
            rows = slice(top, min(top + height, view.height))
            for left in range(0, view.width, width):
                columns = slice(left, min(left + width, view.width))
                window = RasterioWindow.from_slices(rows, columns)
                values = file.read(1, window=window)
                valid = file.dataset_mask(window=window) > 0
                place = tuple(
                    slice(part.start // length, -(-part.stop // length))
                    for part, length in zip((rows, columns), cell, strict=True)
                )
                sums.values[place] = _cell_sums(np.where(valid, values, 0), cell)
                sums.valid[place] = _cell_sums(valid, cell)
                sums.blocked[place] = _cell_sums(obstacles.read(rows, columns), cell)
            bar.update(rows.stop - rows.start)
    return sums


def _cell_sums(values: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """Sum values (h, w) over cells, of which the last ones may be smaller."""
    down, across = (range(0, n, side) for n, side in zip(values.shape, cell, strict=True))
    by_row = np.add.reduceat(values, down, axis=0, dtype=np.int64)
    return np.add.reduceat(by_row, across, axis=1)


def _score_windows(sums: _Sums, side: int, pixels: int, by: str) -> np.ndarray:
    """Compute the score of each window, -inf where none may be.

    Args:
        sums: sums over cells.
        side: number of cells along a side of a window.
        pixels: number of pixels of a window.
        by: what windows are chosen by.

    Returns:
        (rows, columns) float64
    """
    values, valid, blocked = (
        _over_windows(each, side) for each in (sums.values, sums.valid, sums.blocked)
    )
    means = values / (STEPS * np.maximum(valid, 1))
    scores = 1 - means if by == CONFIDENCE.name else means
    return np.where((valid >= _FEWEST_VALID * pixels) & (blocked == 0), scores, -np.inf)


def _over_windows(cells: np.ndarray, side: int) -> np.ndarray:
    """Sum cells over all squares of so many cells; a grid that is too small is one square."""
    missing = [(0, max(0, side - length)) for length in cells.shape]
    table = np.pad(np.pad(cells, missing).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
