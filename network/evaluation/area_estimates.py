"""Areas and accuracies of a map with their standard errors, from a stratified random sample.

Counting the pixels of a class on a map gives a wrong area, since the map has errors. A sample of
points whose class is known from a better source, the reference, corrects it and tells how sure the
result is. The points are drawn at random within each class of the map, the strata.

Source: Olofsson et al., "Good practices for estimating area and assessing accuracy of land change",
Remote Sensing of Environment 148 (2014), pages 42 to 57. With the areas A_i of the strata on the
map, their shares W_i = A_i / sum(A), and n_ij points in stratum i (row) whose reference class is j
(column), n_i of them in the row:

    p_ij   = W_i n_ij / n_i                                 proportion of area in cell i, j   (4)
    p_i. and p_.j are the sums of row i and of column j
    O      = sum_i p_ii                                     overall accuracy                  (1)
    U_i    = p_ii / p_i.                                    user's accuracy of class i        (2)
    P_j    = p_jj / p_.j                                    producer's accuracy of class j    (3)
    V(O)   = sum_i W_i^2 U_i (1 - U_i) / (n_i - 1)          variance of O                     (5)
    V(U_i) = U_i (1 - U_i) / (n_i - 1)                      variance of U_i                   (6)
    V(P_j) = [N_j^2 (1 - P_j)^2 U_j (1 - U_j) / (n_j - 1)
              + P_j^2 sum_{i != j} N_i^2 (n_ij / n_i) (1 - n_ij / n_i) / (n_i - 1)] / M_j^2   (7)
             with the pixels N_i of stratum i and M_j = sum_i N_i n_ij / n_i; areas can take the
             place of pixels, since the factor between them cancels
    V(p_.j) = sum_i W_i^2 (n_ij / n_i) (1 - n_ij / n_i) / (n_i - 1)                          (10)
    area_j = p_.j sum(A),  standard error sqrt(V(p_.j)) sum(A)                          (11, 12)
    95 % interval: plus and minus 1.96 standard errors                                       (13)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPREAD = 1.96
"""Number of standard errors on each side of an estimate, for its 95 % interval."""

FEWEST = 2
"""The smallest number of points in a stratum; its variance cannot be estimated from one."""


@dataclass(frozen=True)
class Estimate:
    """An estimate and its standard error.

    Attributes:
        value: the estimate.
        error: its standard error.
        most: largest possible value; the smallest one is 0.
    """

    value: float
    error: float
    most: float = 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, cut at the smallest and the largest possible value."""
        margin = SPREAD * self.error
        return max(0.0, self.value - margin), min(self.most, self.value + margin)


@dataclass(frozen=True)
class AreaEstimates:
    """The areas and the accuracies of the classes of a map.

    Attributes:
        counts: (k, k) number of points; rows = class on the map (stratum), columns = reference.
        mapped: (k,) area of each class on the map.
        proportions: (k, k) estimated proportions of the area, which sum to 1.
        overall: overall accuracy.
        users: user's accuracy of each class; None for a class that is not on the map.
        producers: producer's accuracy of each class; None for a class that is estimated to have no
            area.
        areas: area of each class, in the unit of ``mapped``.
    """

    counts: np.ndarray
    mapped: np.ndarray
    proportions: np.ndarray
    overall: Estimate
    users: tuple[Estimate | None, ...]
    producers: tuple[Estimate | None, ...]
    areas: tuple[Estimate, ...]


def few_points(counts: np.ndarray, mapped: np.ndarray) -> list[int]:
    """List the strata that have fewer points than an estimate needs.

    Args:
        counts: (k, k) number of points, rows = strata.
        mapped: (k,) area of each stratum.
    """
    short = (mapped > 0) & (counts.sum(1) < FEWEST)
    return [int(label) for label in np.flatnonzero(short)]


def estimate_areas(
    counts: Sequence[Sequence[int]] | np.ndarray, mapped: Sequence[float] | np.ndarray
) -> AreaEstimates:
    """Estimate the areas and the accuracies of the classes of a map; the module has the equations.

    Args:
        counts: (k, k) number of points; rows = class on the map (stratum), columns = reference.
        mapped: (k,) area of each class on the map, in any unit.

    Raises:
        ValueError: a stratum with an area has fewer than two points, a stratum without one has
            points, or there is no area at all.

    Examples:
        >>> found = estimate_areas([[97, 3], [3, 297]], [200, 800])
        >>> round(found.overall.value, 3), round(found.overall.error, 4)
        (0.986, 0.0057)
        >>> round(found.areas[0].value), round(found.areas[0].error, 1)
        (202, 5.7)
    """
    counts, mapped = np.asarray(counts, np.int64), np.asarray(mapped, np.float64)
    k, points, total = len(mapped), counts.sum(1), float(mapped.sum())
    if counts.shape != (k, k) or not total > 0 or (mapped < 0).any() or (counts < 0).any():
        raise ValueError("counts must be (k, k) and areas (k,), none negative, not all areas zero")
    if few_points(counts, mapped) or (points[mapped == 0] > 0).any():
        raise ValueError("each stratum needs two points, and an area if it has points")
    weights = mapped / total
    shares = counts / np.maximum(points, 1)[:, None]  # n_ij / n_i
    spread = shares * (1 - shares) / np.maximum(points - 1, 1)[:, None]  # variances of the shares
    proportions = weights[:, None] * shares
    columns = proportions.sum(0)
    right, right_spread = shares.diagonal(), spread.diagonal()
    errors = np.sqrt((weights[:, None] ** 2 * spread).sum(0))
    return AreaEstimates(
        counts=counts,
        mapped=mapped,
        proportions=proportions,
        overall=Estimate(
            float(proportions.trace()), math.sqrt(float((weights**2 * right_spread).sum()))
        ),
        users=tuple(
            Estimate(float(right[i]), math.sqrt(right_spread[i])) if points[i] else None
            for i in range(k)
        ),
        producers=tuple(_producer(j, mapped, shares, spread) for j in range(k)),
        areas=tuple(
            Estimate(float(total * share), float(total * error), most=total)
            for share, error in zip(columns, errors, strict=True)
        ),
    )


def _producer(
    j: int, mapped: np.ndarray, shares: np.ndarray, spread: np.ndarray
) -> Estimate | None:
    """Estimate the producer's accuracy of a class, equations 3 and 7."""
    area = float((mapped * shares[:, j]).sum())
    if not area:
        return None
    value = float(mapped[j] * shares[j, j]) / area
    terms = mapped**2 * spread[:, j]
    own, others = terms[j], terms.sum() - terms[j]
    variance = ((1 - value) ** 2 * own + value**2 * others) / area**2
    return Estimate(value, math.sqrt(max(0.0, variance)))
