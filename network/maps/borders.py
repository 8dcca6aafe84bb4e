"""Borders between the regions of a map, and sets of regions that are joined step by step."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Borders:
    """The borders between neighboring regions, as numbers of sides of pixels.

    Attributes:
        pairs: numbers of both regions (m, 2), the smaller one first; each pair stands here once.
        upright: number of sides between a left and a right pixel (m,).
        level: number of sides between an upper and a lower pixel (m,).
    """

    pairs: np.ndarray
    upright: np.ndarray
    level: np.ndarray

    @staticmethod
    def between(one: np.ndarray, other: np.ndarray, *, upright: bool) -> "Borders":
        """Count where two different regions lie side by side; 0 is no region.

        Args:
            one: numbers of the regions of pixels, of any shape.
            other: numbers of the regions of their neighbors, to the right or below.
            upright: whether the neighbors are to the right.
        """
        differ = (one != other) & (one > 0) & (other > 0)
        keys, counts = np.unique(_keys(one[differ], other[differ]), return_counts=True)
        nothing = np.zeros_like(counts)
        return Borders(_pairs(keys), *((counts, nothing) if upright else (nothing, counts)))

    @staticmethod
    def sum(parts: Iterable["Borders"]) -> "Borders":
        """Add the borders of several parts of a map."""
        parts = list(parts)
        keys = np.concatenate([np.zeros(0, np.int64), *(_keys(*part.pairs.T) for part in parts)])
        unique, index = np.unique(keys, return_inverse=True)
        upright, level = np.zeros((2, len(unique)), np.int64)
        if parts:
            np.add.at(upright, index, np.concatenate([part.upright for part in parts]))
            np.add.at(level, index, np.concatenate([part.level for part in parts]))
        return Borders(_pairs(unique), upright, level)

    def renumbered(self, numbers: np.ndarray) -> "Borders":
        """Give the regions other numbers; two that get the same one have no border then.

        Args:
            numbers: for each region its new number.
        """
        pairs = numbers[self.pairs]
        differ = pairs[:, 0] != pairs[:, 1]
        return Borders.sum([Borders(pairs[differ], self.upright[differ], self.level[differ])])


def _keys(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Make one number of each pair, which sorts several times faster than the pair."""
    return np.minimum(one, other).astype(np.int64) << 32 | np.maximum(one, other)


def _pairs(keys: np.ndarray) -> np.ndarray:
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1)


class Forest:
    """Sets of numbers that are joined step by step (a union-find structure).

    Args:
        count: the numbers are 0 to ``count - 1``; at first each is a set of its own.
    """

    def __init__(self, count: int):
        self._parents = np.arange(count)

    def root(self, number: int) -> int:
        """Find the number that stands for the set of a number."""
        parents = self._parents
        while (parent := int(parents[number])) != number:
            parents[number] = parents[parent]
            number = parent
        return number

    def join(self, number: int, root: int) -> None:
        """Join two sets; the number that stands for the set of ``root`` then stands for both."""
        self._parents[self.root(number)] = self.root(root)

    def roots(self) -> np.ndarray:
        """List for each number the one that stands for its set."""
        while True:
            above = self._parents[self._parents]
            if (above == self._parents).all():
                return above
            self._parents = above
