"""Elimination of small regions, as for the minimum mapping unit of land cover maps."""

import heapq

import numpy as np

from network.maps.borders import Borders, Forest
from network.maps.regions import Regions


def eliminate(
    regions: Regions, borders: Borders, smallest: float, pixel_shape: float = 1.0
) -> np.ndarray:
    """Let each small region join the neighbor with which it shares the longest border.

    The smallest region is the first. If a region has several neighbors with equally long borders,
    it joins the largest of them. If then two regions of one class touch, they become one. A small
    region without a neighbor, which lies in the midst of pixels without data, is dropped.

    Args:
        regions: the regions.
        borders: the borders between them.
        smallest: area in square meters from which on a region is kept.
        pixel_shape: height of a pixel on the ground, divided by its width.

    Returns:
        For each region (n + 1,) the number of the one that it is part of now, 0 if it is dropped.
    """
    # An area is a sum, so it may be a little less than the user's number where it should equal it.
    smallest *= 1 - 1e-9
    is_small = regions.area < smallest
    is_small[0] = False
    neighbors = _Neighbors(borders, is_small, pixel_shape)
    label, area, first = regions.label.tolist(), regions.area.tolist(), regions.first.tolist()
    forest = Forest(len(regions))
    # For each region that is still small, the regions that have become part of it.
    members = {number: [number] for number in np.flatnonzero(is_small).tolist()}
    queue = [(area[number], first[number], number) for number in members]
    heapq.heapify(queue)
    while queue:
        size, _, number = heapq.heappop(queue)
        if number not in members or size != area[number]:
            continue  # it has been joined to another one, or has grown
        shared: dict[int, float] = {}
        for member in members[number]:
            for neighbor, length in neighbors.of(member):
                other = forest.root(neighbor)
                if other != number:
                    shared[other] = shared.get(other, 0.0) + length
        if not shared:
            forest.join(number, 0)
            continue
        target = max(shared, key=lambda other: (shared[other], area[other], -first[other]))
        touching = [o for o in shared if o != target and label[o] == label[target]]
        joined = members.pop(target, [])
        for other in (number, *touching):
            forest.join(other, target)
            area[target] += area[other]
            first[target] = min(first[target], first[other])
            joined += members.pop(other, [])
        if area[target] < smallest:
            members[target] = joined
            heapq.heappush(queue, (area[target], first[target], target))
    return forest.roots()


class _Neighbors:
    """The neighbors of the small regions; those of large ones are not needed."""

    def __init__(self, borders: Borders, is_small: np.ndarray, pixel_shape: float):
        lengths = borders.upright * pixel_shape + borders.level
        owners = np.concatenate([borders.pairs[:, 0], borders.pairs[:, 1]])
        others = np.concatenate([borders.pairs[:, 1], borders.pairs[:, 0]])
        wanted = np.flatnonzero(is_small[owners])
        wanted = wanted[np.argsort(owners[wanted], kind="stable")]
        self._others, self._lengths = others[wanted], np.tile(lengths, 2)[wanted]
        self._starts = np.searchsorted(owners[wanted], np.arange(len(is_small) + 1))

    def of(self, number: int) -> list[tuple[int, float]]:
        """List the neighbors of a small region, and the lengths of the borders with them."""
        of_it = slice(self._starts[number], self._starts[number + 1])
        return list(zip(self._others[of_it].tolist(), self._lengths[of_it].tolist(), strict=True))
