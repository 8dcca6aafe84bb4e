"""Bootstrap intervals against SciPy, and their invariants."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from network.evaluation.bootstrap import (
    draw,
    interval,
    mean_iou,
    overall_accuracy,
    paired_difference,
    units,
)


def matrices(seed: int, count: int = 60, k: int = 4, skill: float = 20) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 20, (count, k, k)) + skill * rng.random((count, 1, 1)) * np.eye(k)


def test_scores_are_those_of_pooled_matrices():
    pooled = matrices(0).sum(0)
    hits = np.diag(pooled)
    iou = hits / (pooled.sum(0) + pooled.sum(1) - hits)
    assert mean_iou((0, 1, 2))(pooled[None])[0] == pytest.approx(iou[:3].mean())
    assert overall_accuracy(pooled[None])[0] == pytest.approx(hits.sum() / pooled.sum())


def test_interval_equals_scipy():
    data = matrices(1)
    hits, totals = np.trace(data, axis1=1, axis2=2), data.sum((1, 2))
    expected = bootstrap(
        (hits, totals),
        lambda h, t, axis: h.sum(axis) / t.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    actual = interval(data, overall_accuracy, draws=20_000)
    width = expected.high - expected.low
    assert actual == pytest.approx((expected.low, expected.high), abs=0.03 * width)


def test_draws_hold_as_many_images():
    data = np.ones((7, 2, 2), int)
    assert (draw(data, draws=50) == 7).all()


def test_equal_images_leave_no_doubt():
    data = np.repeat(matrices(2, count=1), 9, axis=0)
    low, high = interval(data, mean_iou((0, 1, 2, 3)))
    assert low == pytest.approx(high)
    assert interval(data[:1], overall_accuracy) is None


def test_pairs_see_what_single_intervals_hide():
    """The second model is a little better on every image, and images differ a lot."""
    one = matrices(3)
    other = one + np.eye(4)
    singles = [interval(data, overall_accuracy) for data in (one, other)]
    assert singles[0][1] > singles[1][0]
    assert paired_difference([one], [other], overall_accuracy)[0] > 0
    assert paired_difference([one], [one], overall_accuracy) == (0, 0)


def test_runs_of_a_model_are_averaged():
    """Two runs, one as much better as the other is worse, are no better than the first model."""
    one = [np.array([[[50, 50], [50, 50]]] * 3)] * 2
    other = [one[0] + d * np.array([[1, -1], [-1, 1]]) for d in (10, -10)]
    assert paired_difference(one, other, overall_accuracy) == pytest.approx((0, 0))
    one_unit = [matrices[:1] for matrices in one]
    assert paired_difference(one_unit, one_unit, overall_accuracy) is None


def test_patches_with_names_of_their_own():
    names = ["north_1", "north_2", "south_1", "other"]
    patches = np.stack([np.eye(2, dtype=int) * n for n in (1, 2, 4, 8)])
    found = units(names, patches, is_cut=True, patch_names=r"(?P<tile>[a-z]+)_\d+")
    assert found[:, 0, 0].tolist() == [3, 4, 8]


def test_patches_are_drawn_by_tile():
    """Patches of a tile are one unit; what has no labels is none."""
    names = ["area1_0_0", "area1_0_1", "area2_0_0_3", "area10_1_0", "other", "area3_0_0"]
    patches = np.stack([np.eye(2, dtype=int) * n for n in (1, 2, 4, 8, 16, 0)])
    assert units(names, patches, is_cut=True)[:, 0, 0].tolist() == [3, 4, 8, 16]
    assert units(names, patches, is_cut=False)[:, 0, 0].tolist() == [1, 2, 4, 8, 16]
    assert units(names[-1:], patches[-1:], is_cut=True).shape == (0, 2, 2)
    assert interval(units(names[:2], patches[:2], is_cut=True), overall_accuracy) is None
