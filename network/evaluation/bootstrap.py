"""Confidence intervals of scores, from random draws of the test images (bootstrap).

Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993: percentile intervals. The
images of a test set are drawn with replacement. The scores of a draw come from its pooled
confusion matrix. Patches of one tile resemble each other and may overlap, so whole tiles are drawn.
"""

from collections.abc import Callable, Sequence

import numpy as np

from network.datasets.provenance import tile_of_patch

DRAWS = 1000
LEVEL = 0.95

FEWEST = 6
"""Number of units below which draws of them are no 95 % interval.

Of five units, all differ in the same direction by chance in 6 % of the cases (2 x 0.5 ** 5). And
their draws can hardly be better than the best of them, or worse than the worst.
"""

# Takes pooled confusion matrices (draws, k, k); gives one score for each draw, nan without one.
Statistic = Callable[[np.ndarray], np.ndarray]


def mean_iou(scored: Sequence[int]) -> Statistic:
    """Make the statistic that computes the mean IoU of scored classes.

    Classes that are neither in the truth nor in the prediction do not count.

    Args:
        scored: indices of the scored classes.
    """

    def score(matrices: np.ndarray) -> np.ndarray:
        hits = np.diagonal(matrices, axis1=1, axis2=2)
        union = matrices.sum(1) + matrices.sum(2) - hits
        with np.errstate(invalid="ignore"):
            iou = np.where(union > 0, hits / union, np.nan)[:, list(scored)]
        return _mean_of_numbers(iou)

    return score


def overall_accuracy(matrices: np.ndarray) -> np.ndarray:
    """Compute the share of correct pixels for each confusion matrix of (draws, k, k)."""
    with np.errstate(invalid="ignore"):
        return np.trace(matrices, axis1=1, axis2=2) / matrices.sum((1, 2))


def units(
    names: Sequence[str], matrices: np.ndarray, is_cut: bool, patch_names: str = ""
) -> np.ndarray:
    """Pool the confusion matrices of images by the units that are drawn: images or whole tiles.

    Args:
        names: names of the images.
        matrices: (n, k, k), one for each image.
        is_cut: whether the images are patches; these are pooled by the tiles in their names.
        patch_names: where these names say the tile, see
            :func:`network.datasets.provenance.tile_of_patch`.

    Returns:
        (u, k, k), one for each unit that has labels.
    """
    by_unit: dict[str, np.ndarray] = {}
    for name, matrix in zip(names, matrices, strict=True):
        unit = (is_cut and tile_of_patch(name, patch_names)) or name
        by_unit[unit] = by_unit.get(unit, 0) + matrix
    # A unit without labels says nothing about the scores.
    found = [matrix for matrix in by_unit.values() if matrix.any()]
    return np.stack(found) if found else np.zeros((0, *matrices.shape[1:]), matrices.dtype)


def draw(matrices: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """Draw units with replacement and pool their confusion matrices.

    Args:
        matrices: (n, k, k), one for each unit.
        seed: seed of the draws.
        draws: number of draws.

    Returns:
        (draws, k, k)
    """
    count = len(matrices)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1 / count), size=draws)  # (draws, n)
    return np.tensordot(times, matrices, axes=1)


def interval(
    matrices: np.ndarray, score: Statistic, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float] | None:
    """Compute the 95 % interval of a score.

    Args:
        matrices: (u, k, k) confusion matrices of the units.
        score: the score.
        seed: seed of the draws.
        draws: number of draws.

    Returns:
        The lower and the upper end; None with fewer than :data:`FEWEST` units.
    """
    if len(matrices) < FEWEST:
        return None
    return _percentiles(score(draw(matrices, seed, draws)))


def paired_difference(
    one: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    score: Statistic,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[float, float] | None:
    """Compute the 95 % interval of the difference ``score(other) - score(one)`` of two models.

    Both models are scored on the same draws, and their scores are averaged over their runs.

    Args:
        one: (u, k, k) confusion matrices of the units, for each run of the first model.
        other: the same for the second model, with the same units in the same order.
        score: the score.
        seed: seed of the draws.
        draws: number of draws.

    Returns:
        The lower and the upper end; None with fewer than two units, which allow no interval.
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
    """Compute the mean over the last axis without its nan; nan if there are no numbers."""
    is_number = ~np.isnan(values)
    total = np.where(is_number, values, 0).sum(-1)
    return np.where(is_number.any(-1), total / np.maximum(is_number.sum(-1), 1), np.nan)
