"""Outlines of regions as polygons, in pixels: columns to the right, and rows downwards.

All corners are whole numbers, so nothing is rounded, and the same corner of two neighbors is equal
in both. This module needs the extra ``vectors``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import shapely
from rasterio.features import shapes


@dataclass(frozen=True)
class Rings:
    """The rings of polygons in one table; each polygon has its exterior first, then its holes.

    Attributes:
        corners: column and row of each corner (n, 2); the first one of a ring is not repeated.
        sizes: number of corners of each ring (r,).
        counts: number of rings of each polygon (p,).
    """

    corners: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray

    @staticmethod
    def of(polygons: np.ndarray) -> "Rings":
        """Take polygons of shapely apart."""
        _, corners, (starts, first_rings) = shapely.to_ragged_array(polygons)
        is_repeated = np.zeros(len(corners), bool)
        is_repeated[starts[1:] - 1] = True
        return Rings(corners[~is_repeated], np.diff(starts) - 1, np.diff(first_rings))

    def polygons(self) -> np.ndarray:
        """Make polygons of shapely (p,)."""
        ends = np.cumsum(self.sizes)
        closed = np.insert(self.corners, ends, self.corners[ends - self.sizes], axis=0)
        offsets = _offsets(self.sizes + 1), _offsets(self.counts)
        kind = shapely.GeometryType.POLYGON
        return shapely.from_ragged_array(kind, closed.astype(np.float64), offsets)

    @cached_property
    def next(self) -> np.ndarray:
        """Number of the corner that follows each corner (n,)."""
        following = np.arange(1, len(self.corners) + 1)
        ends = np.cumsum(self.sizes)
        following[ends - 1] = ends - self.sizes
        return following

    def kept(self, is_kept: np.ndarray) -> "Rings":
        """Leave out corners; each ring keeps at least three.

        Args:
            is_kept: whether each corner stays (n,).
        """
        sizes = np.add.reduceat(is_kept, _offsets(self.sizes)[:-1], dtype=np.int64)
        return Rings(self.corners[is_kept], sizes, self.counts)

    def dense(self) -> "Rings":
        """Add all corners of pixels that lie on the sides, which are level or upright."""
        steps = self.corners[self.next] - self.corners
        lengths = np.abs(steps).sum(axis=1)
        at = np.repeat(np.arange(len(lengths)), lengths)
        done = np.arange(len(at)) - np.repeat(_offsets(lengths)[:-1], lengths)
        corners = self.corners[at] + np.sign(steps)[at] * done[:, None]
        sizes = np.add.reduceat(lengths, _offsets(self.sizes)[:-1])
        return Rings(corners, sizes, self.counts)

    def bends(self) -> np.ndarray:
        """Tell at which corners (n,) the outline turns."""
        after = self.corners[self.next] - self.corners
        before = np.empty_like(after)
        before[self.next] = after
        return before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)])


def trace(
    numbers: np.ndarray, sides: Sequence[np.ndarray | None], origin: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Trace the regions of a tile; each connected part of one in the tile becomes a polygon.

    Where three regions meet, all their polygons have a corner, also one that is straight there. So
    neighbors share whole sides, in the tile and with the tiles around it.

    Args:
        numbers: the region of each pixel (h, w) int32.
        sides: the regions of the pixels around the tile: above, below, left and right of it; None
            at the edge of the map.
        origin: column and row of the map where the tile begins.

    Returns:
        Polygons (p,), and the region of each (p,).
    """
    rings, counts, found = [], [], []
    for outline, number in shapes(numbers, connectivity=4):
        # The last corner of a ring repeats the first.
        rings += [np.array(ring[:-1], np.int32) for ring in outline["coordinates"]]
        counts.append(len(outline["coordinates"]))
        found.append(int(number))
    sizes = np.array([len(ring) for ring in rings])
    dense = Rings(np.concatenate(rings), sizes, np.array(counts)).dense()
    columns, rows = dense.corners.T
    shared = dense.kept(_nodes(numbers, sides)[rows, columns])
    placed = replace(shared, corners=shared.corners + np.array(origin))
    return placed.polygons(), np.array(found)


def _nodes(numbers: np.ndarray, sides: Sequence[np.ndarray | None]) -> np.ndarray:
    """Find the corners of pixels (h + 1, w + 1) where outlines turn, meet, or leave the tile."""
    height, width = numbers.shape
    across, down = numbers[:, 1:] != numbers[:, :-1], numbers[1:] != numbers[:-1]
    found = np.ones((height + 1, width + 1), bool)
    # An outline that is straight has the same regions along it on both of its sides.
    is_level = ~across[:-1] & ~across[1:]
    is_upright = ~down[:, :-1] & ~down[:, 1:]
    found[1:-1, 1:-1] = ~(is_level | is_upright)
    edges = (found[0], across[0]), (found[-1], across[-1]), (found[:, 0], down[:, 0])
    for (edge, changes), side in zip((*edges, (found[:, -1], down[:, -1])), sides, strict=True):
        edge[1:-1] = changes if side is None else changes | (side[1:] != side[:-1])
    return found


def unite(pieces: np.ndarray) -> shapely.Polygon:
    """Unite the pieces of one region from several tiles.

    Args:
        pieces: polygons (n,) that share whole sides.
    """
    # Holes of a piece do not touch its tile's edge, so only the exteriors have to be united. Of a
    # region all over the map, these are a small part of all corners.
    solid = shapely.polygons(shapely.get_exterior_ring(pieces))
    united = shapely.coverage_union_all(solid)
    rings, owners = shapely.get_rings(np.append(pieces, united), return_index=True)
    is_hole = np.diff(owners, prepend=-1) == 0  # the exterior of each polygon stands first
    return shapely.polygons(shapely.get_exterior_ring(united), rings[is_hole])


def straightened(polygons: np.ndarray) -> np.ndarray:
    """Remove the corners of polygons at which their outlines do not turn."""
    rings = Rings.of(polygons)
    return rings.kept(rings.bends()).polygons()
