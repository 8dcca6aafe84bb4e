"""Intervals of scores by drawing images again.

Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993: percentile intervals. The
images of a test set are drawn with replacement; the scores of a draw come from its pooled
confusion matrix. Patches of one tile resemble and may overlap each other: tiles are drawn whole.
"""

from collections.abc import Callable, Sequence

import numpy as np

from network.datasets.provenance import tile_of_patch

DRAWS = 1000
LEVEL = 0.95

# Pooled confusion matrices (draws, k, k) -> a score for each, nan where there is none.
Statistic = Callable[[np.ndarray], np.ndarray]


def mean_iou(scored: Sequence[int]) -> Statistic:
    """Mean IoU over the scored classes that are in truth or prediction."""

    def score(matrices: np.ndarray) -> np.ndarray:
        hits = np.diagonal(matrices, axis1=1, axis2=2)
        union = matrices.sum(1) + matrices.sum(2) - hits
        with np.errstate(invalid="ignore"):
            iou = np.where(union > 0, hits / union, np.nan)[:, list(scored)]
        return _mean_of_numbers(iou)

    return score


def overall_accuracy(matrices: np.ndarray) -> np.ndarray:
    """Share of the pixels that are right."""
    with np.errstate(invalid="ignore"):
        return np.trace(matrices, axis1=1, axis2=2) / matrices.sum((1, 2))


def units(names: Sequence[str], matrices: np.ndarray, is_cut: bool) -> np.ndarray:
    """Confusion matrices (u, k, k) of what is drawn, from those of images (n, k, k).

    Args:
        is_cut: the images are patches, to be pooled by the tiles that their names tell.
    """
    by_unit: dict[str, np.ndarray] = {}
    for name, matrix in zip(names, matrices, strict=True):
        unit = (is_cut and tile_of_patch(name)) or name
        by_unit[unit] = by_unit.get(unit, 0) + matrix
    # What has no labels says nothing.
    found = [matrix for matrix in by_unit.values() if matrix.any()]
    return np.stack(found) if found else np.zeros((0, *matrices.shape[1:]), matrices.dtype)


def draw(matrices: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """Pooled confusion matrices (draws, k, k) of images drawn again from (n, k, k)."""
    count = len(matrices)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1 / count), size=draws)  # (draws, n)
    return np.tensordot(times, matrices, axes=1)


def interval(
    matrices: np.ndarray, score: Statistic, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float] | None:
    """95 % interval of a score; None with fewer than two units, of which nothing can be said."""
    if len(matrices) < 2:
        return None
    return _percentiles(score(draw(matrices, seed, draws)))


def paired_difference(
    one: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    score: Statistic,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[float, float] | None:
    """95 % interval of ``score(other) - score(one)``, both on the same draws; None as above.

    Args:
        one, other: confusion matrices (u, k, k) of two models on the same units in one order,
            one for each run of the model; the scores of a model are averaged over its runs.
    """
    if len(one[0]) < 2:
        return None
    means = [
        np.mean([score(draw(matrices, seed, draws)) for matrices in runs], axis=0)
        for runs in (one, other)
    ]
    return _percentiles(means[1] - means[0])


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _mean_of_numbers(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, without nan; nan where there is nothing else."""
    is_number = ~np.isnan(values)
    total = np.where(is_number, values, 0).sum(-1)
    return np.where(is_number.any(-1), total / np.maximum(is_number.sum(-1), 1), np.nan)
