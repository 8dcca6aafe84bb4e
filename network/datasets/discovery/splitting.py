"""Splits of images into those to train on, to choose the model by and to test on."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

_PART = re.compile(r"(.+?)[ _-]\d+([ _-]\d+)?")
"""The name of a part of a larger image, which ends in its number, or in its row and column."""

_SHARE = 0.15
"""Share of the pixels that test, and also val, get at least."""

_DRAWS = 300
_LEAST = 3
"""Fewest units that can be drawn for three splits."""


def parents_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Group names of images by the larger image that they may be parts of.

    Names that differ only in a number at the end are parts of one image. If there would be too few
    such images, or if most have one part, every image counts by itself.

    Args:
        names: names of the images.

    Returns:
        The names of each parent.

    Examples:
        >>> parents_of(["a_1", "a_2", "b_1", "b_2", "c_1"])
        {'a': ['a_1', 'a_2'], 'b': ['b_1', 'b_2'], 'c': ['c_1']}
        >>> parents_of(["img_1", "img_2"])
        {'img_1': ['img_1'], 'img_2': ['img_2']}
    """
    for short in (_without_number, _without_numbers):
        found: dict[str, list[str]] = {}
        for name in names:
            found.setdefault(short(name), []).append(name)
        if len(found) >= _LEAST and len(names) > len(found):
            return found
    return {name: [name] for name in names}


def _without_number(name: str) -> str:
    return re.sub(r"(?<=.)[ _-]\d+$", "", name)


def _without_numbers(name: str) -> str:
    match = _PART.fullmatch(name)
    return match[1] if match else name


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
