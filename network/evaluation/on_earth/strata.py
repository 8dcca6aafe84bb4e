"""The strata of a map, which are its classes: their areas, and random points in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from network.datasets.on_earth.areas import Areas
from network.datasets.on_earth.labels import UNKNOWN
from network.datasets.windows import separate_windows
from network.errors import InputError
from network.evaluation.on_earth.open_map import SIDE, OpenMap
from network.progress import progress_bar
from network.rasters.ground import Ground
from network.rasters.place import Place

NOWHERE = -1
"""Label of a place that is outside the map or the areas of interest, or where it has no data."""

_VALUES = 256

_BAND = 2**25
"""Number of pixels that are read at once to find drawn points."""


@dataclass(frozen=True)
class Strata:
    """The pixels of each class of a map.

    Attributes:
        by_row: (height, k) number of pixels of each class in each row.
        pixel_areas: (height,) area of a pixel of each row, in square meters.
        at_places: (n,) label at each place that was asked for, or ``NOWHERE``.
    """

    by_row: np.ndarray
    pixel_areas: np.ndarray
    at_places: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """Number of pixels of each class, (k,)."""
        return self.by_row.sum(0, dtype=np.int64)

    @property
    def areas(self) -> np.ndarray:
        """Area of each class in square meters, (k,)."""
        return self.pixel_areas @ self.by_row


def count_strata(
    map_: OpenMap, areas: Areas | None = None, places: np.ndarray | None = None, side: int = SIDE
) -> Strata:
    """Count the pixels of each class of a map.

    Args:
        map_: the map.
        areas: areas of interest, outside of which no pixel counts; None for the whole map.
        places: (n, 2) rows and columns of pixels, to find their labels; they may be outside.
        side: side of the windows that are read, in pixels.

    Raises:
        InputError: the map cannot be read or has values that are no class; areas are not known in
            its reference system.
    """
    grid, k = map_.grid, map_.info.num_classes
    by_row = np.zeros((grid.height, k), np.int32)
    places = np.zeros((0, 2), np.int64) if places is None else places
    found = np.full(len(places), NOWHERE)
    total = grid.height * grid.width
    with progress_bar(total=total, desc="Counting the map", unit="px", unit_scale=True) as bar:
        for rows, columns in separate_windows(grid.height, grid.width, side, keep_rest=True):
            labels = _labels(map_, areas, rows, columns)
            height, width = labels.shape
            codes = labels + (_VALUES * np.arange(height))[:, None]
            counts = np.bincount(codes.ravel(), minlength=height * _VALUES)
            by_row[rows] += counts.reshape(height, _VALUES)[:, :k].astype(np.int32)
            here = places - (rows.start, columns.start)
            is_here = ((here >= 0) & (here < (height, width))).all(axis=1)
            at = labels[tuple(here[is_here].T)]
            found[is_here] = np.where(at < k, at.astype(np.int64), NOWHERE)
            bar.update(height * width)
    map_.labels.check()
    ground = Ground(map_.path, Place(grid.crs, grid.transform), grid.height, grid.width)
    ground.warn_if_distorted()
    return Strata(by_row, ground.row_areas(), found)


def allocate(
    areas: np.ndarray, pixels: np.ndarray, points: int, minimum: int, names: Sequence[str]
) -> np.ndarray:
    """Share points among strata in proportion to their areas, with a minimum for each.

    A stratum of fewer pixels than the minimum gets a point in each of them.

    Args:
        areas: (k,) area of each stratum.
        pixels: (k,) number of its pixels; a stratum without pixels gets no point.
        points: number of all points.
        minimum: smallest number of points of a stratum.
        names: names of the strata, for errors.

    Returns:
        (k,) int64 number of points of each stratum.

    Raises:
        InputError: there are too few points for the minimum, or more points than pixels.

    Examples:
        >>> allocate(np.array([10, 90, 900]), np.full(3, 9999), 200, 30, "abc").tolist()
        [30, 30, 140]
    """
    least = np.minimum(minimum, pixels)
    if least.sum() > points:
        raise InputError(
            f"draw_sample={points}",
            f"too few points for at least {minimum} in each of {(pixels > 0).sum()} classes "
            f"({', '.join(name for name, n in zip(names, pixels, strict=True) if n)})",
            f"draw {least.sum()} or more, or give a smaller min_per_class={minimum}",
        )
    if pixels.sum() < points:
        raise InputError(f"draw_sample={points}", f"the map has only {pixels.sum()} pixels")
    fixed = np.where(pixels > 0, -1, 0)  # -1: in proportion
    while (fixed < 0).any():
        is_free = fixed < 0
        rest = points - fixed[~is_free].sum()
        share = np.where(is_free, areas * rest / areas[is_free].sum(), 0)
        is_small, is_large = is_free & (share < least), is_free & (share > pixels)
        if is_small.any():  # first these, since they take points away from the others
            fixed[is_small] = least[is_small]
        elif is_large.any():
            fixed[is_large] = pixels[is_large]
        else:
            whole = np.floor(share).astype(np.int64)
            order = np.argsort(whole - share, kind="stable")
            missing = rest - whole[is_free].sum()
            whole[order[:missing]] += 1
            return np.where(is_free, whole, fixed)
    return fixed


def draw_places(
    map_: OpenMap, areas: Areas | None, strata: Strata, points: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw random pixels in each stratum, all with a chance in proportion to their area.

    Args:
        map_: the map.
        areas: the areas of interest with which the strata were counted.
        strata: the strata.
        points: (k,) number of pixels to draw in each of them, without repetition.
        seed: seed of the draw.

    Returns:
        Rows and columns (n, 2), in random order, and the label (n,) of each.

    Raises:
        InputError: the map cannot be read.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        _draw(strata.by_row[:, label], strata.pixel_areas, int(count), rng)
        for label, count in enumerate(points)
    ]
    rows, ranks = (np.concatenate(of_strata) for of_strata in zip(*drawn, strict=True))
    labels = np.repeat(np.arange(len(points)), points)
    columns = _columns(map_, areas, rows, ranks, labels)
    order = rng.permutation(len(rows))
    return np.stack([rows, columns], axis=1)[order], labels[order]


def _draw(
    by_row: np.ndarray, pixel_areas: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pixels of one class: their rows, and their positions among its pixels in the row."""
    ends = np.cumsum(by_row, dtype=np.int64)
    largest = pixel_areas.max()
    chosen: dict[int, None] = {}  # in the order of the draw
    while len(chosen) < count:
        tried = rng.integers(0, ends[-1], size=2 * count)
        rows = np.searchsorted(ends, tried, side="right")
        # Pixels near the poles are smaller, so they are taken less often.
        is_taken = rng.random(len(tried)) * largest < pixel_areas[rows]
        chosen.update(dict.fromkeys(tried[is_taken].tolist()))
    drawn = np.array(list(chosen)[:count], np.int64)
    rows = np.searchsorted(ends, drawn, side="right")
    return rows, drawn - (ends[rows] - by_row[rows])


def _columns(
    map_: OpenMap, areas: Areas | None, rows: np.ndarray, ranks: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Find the columns of drawn pixels, in bands of rows."""
    grid = map_.grid
    height = min(SIDE, max(1, _BAND // grid.width))
    found = np.zeros(len(rows), np.int64)
    bands = np.unique(rows // height).tolist()
    for band in progress_bar(bands, desc="Drawing points", unit="band"):
        top = band * height
        window = slice(top, min(grid.height, top + height)), slice(0, grid.width)
        drawn = _labels(map_, areas, *window)
        for place in np.flatnonzero(rows // height == band):
            columns = np.flatnonzero(drawn[rows[place] - top] == labels[place])
            found[place] = columns[ranks[place]]
    return found


def _labels(map_: OpenMap, areas: Areas | None, rows: slice, columns: slice) -> np.ndarray:
    """Read the labels of the pixels in the areas; others get the ignore label."""
    labels = map_.labels.read(rows, columns)
    if areas is not None:
        labels[~areas.inside_any(rows, columns)] = map_.info.ignore_index
    is_unknown = labels == UNKNOWN
    if is_unknown.any():
        map_.labels.note_unknown(rows, columns, is_unknown)
    return labels
