"""Splits of images into those to train on, to choose the model by and to test on."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

_PARTS = (
    "(?P<tile>.+)[ _-][0-9]+",
    "(?P<tile>.+?)[ _-][0-9]+([ _-][0-9]+)?",
)
"""Names of parts of a larger image, which end in a number, or in a row and a column."""

_SHARE = 0.15
"""Share of the pixels that test, and also val, get at least."""

_DRAWS = 300
_LEAST = 3
"""Fewest units that can be drawn for three splits."""


def tile_pattern(names: Sequence[str]) -> str:
    """Find out which part of the names is that of the larger image that they may be parts of.

    Names that differ only in a number at the end are parts of one image. If there would be too few
    such images, or if all have one part, every image counts by itself.

    Args:
        names: names of the images.

    Returns:
        A regular expression with a group ``tile``, as :class:`DatasetInfo` has it; empty if every
        image counts by itself.
    """
    for pattern in _PARTS:
        tiles = {_tile_of(name, pattern) for name in names}
        if _LEAST <= len(tiles) < len(names):
            return pattern
    return ""


def parents_of(names: Sequence[str], pattern: str | None = None) -> dict[str, list[str]]:
    """Group names of images by the larger image that they may be parts of.

    Args:
        names: names of the images.
        pattern: where the names say the larger image; by default as :func:`tile_pattern` finds.

    Returns:
        The names of each parent.

    Examples:
        >>> parents_of(["a_1", "a_2", "b_1", "b_2", "c_1"])
        {'a': ['a_1', 'a_2'], 'b': ['b_1', 'b_2'], 'c': ['c_1']}
        >>> parents_of(["img_1", "img_2"])
        {'img_1': ['img_1'], 'img_2': ['img_2']}
    """
    pattern = tile_pattern(names) if pattern is None else pattern
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_tile_of(name, pattern), []).append(name)
    return found


def _tile_of(name: str, pattern: str) -> str:
    match = re.fullmatch(pattern, name)
    return match["tile"] if match else name


def draw_splits(
    amounts: Mapping[str, np.ndarray], splits: Sequence[str] = ("train", "val", "test")
) -> dict[str, list[str]]:
    """Share out units among splits, so that each split has about the same shares of the classes.

    Of many random draws with a fixed seed, the best one is taken. If there are fewer units than
    splits, the last splits get none.

    Args:
        amounts: number of pixels of each class (k,) in each unit.
        splits: names of the splits. The first gets what the others leave.

    Returns:
        The units of each split that has some, in the order of ``amounts``.
    """
    names, counts = list(amounts), np.stack(list(amounts.values())).astype(float)
    splits = splits[: len(names)]
    total = counts.sum(axis=0)
    rng = np.random.default_rng(0)
    # Half by pixels and half by number, so that a few large units are not all of train.
    sizes = 0.5 * counts.sum(axis=1) / max(1.0, total.sum()) + 0.5 / len(names)
    best: tuple[float, np.ndarray] | None = None
    for _ in range(_DRAWS if len(splits) > 1 else 1):
        owner = _drawn(sizes, len(splits), rng)
        badness = max(_badness(counts[owner == n].sum(axis=0), total) for n in range(len(splits)))
        badness += sum(abs(sizes[owner == n].sum() - _SHARE) for n in range(1, len(splits)))
        missing = np.count_nonzero((counts[owner == 0].sum(axis=0) == 0) & (total > 0))
        if best is None or badness + missing < best[0]:
            best = badness + missing, owner
    assert best is not None
    return {
        split: [name for name, own in zip(names, best[1], strict=True) if own == number]
        for number, split in enumerate(splits)
    }


def _drawn(sizes: np.ndarray, splits: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the split of each unit, so that each but the first has the share that it needs.

    Args:
        sizes: share of each unit in all (n,).
        splits: number of splits.
        rng: source of randomness.
    """
    owner, order = np.zeros(len(sizes), int), rng.permutation(len(sizes)).tolist()
    for split in range(1, splits):
        size = 0.0
        while len(order) > splits - split and (not size or size < _SHARE):
            unit = order.pop()
            owner[unit], size = split, size + sizes[unit]
    return owner


def _badness(counts: np.ndarray, total: np.ndarray) -> float:
    """Tell how far the shares of the classes are from those in all units, from 0 to 1."""
    if not counts.sum():
        return 1.0
    return float(np.abs(counts / counts.sum() - total / total.sum()).sum() / 2)


def in_blocks(places: Mapping[str, tuple[float, float]]) -> dict[str, list[str]]:
    """Share out images by their place: each split is one block, so few images of two touch.

    Args:
        places: x and y of the middle of each image.

    Returns:
        The images of each split.
    """
    xy = np.array(list(places.values()))
    axis = int(np.ptp(xy, axis=0).argmax())
    order = sorted(places, key=lambda name: (places[name][axis], places[name][1 - axis]))
    few = max(1, round(_SHARE * len(order)))
    return {
        "train": order[: -2 * few],
        "val": order[-2 * few : -few],
        "test": order[-few:],
    }


def touch(boxes: Sequence[Sequence[tuple[float, float, float, float]]]) -> bool:
    """Tell whether a box of one group touches a box of another group, or nearly so.

    Args:
        boxes: left, bottom, right and top of each box of each group. Boxes are near if their gap is
            less than a hundredth of their size.
    """
    groups = [np.array(group) for group in boxes if len(group)]
    for number, group in enumerate(groups):
        for other in groups[number + 1 :]:
            for box in group:
                near = 0.01 * (box[2:] - box[:2])
                reach = np.concatenate([box[:2] - near, box[2:] + near])
                is_near = (other[:, :2] <= reach[2:]) & (other[:, 2:] >= reach[:2])
                if is_near.all(axis=1).any():
                    return True
    return False
