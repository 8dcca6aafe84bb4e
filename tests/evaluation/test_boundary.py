"""Boundary scores against hand computation and a naive implementation by distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt

from network.datasets.windows import separate_windows
from network.evaluation.boundary import BoundaryCounts, Part, band_width

IGNORED = 255


def naive(prediction, labels, k, width, tolerance):
    """(boundary IoU, boundary F1) by class, from chessboard distances to each class's outside."""
    valid = labels != IGNORED
    iou, f1 = [], []
    for label in range(k):
        masks = [(one == label) & valid for one in (prediction, labels)]
        bands, lines = [], []
        for one, mask in zip((prediction, labels), masks, strict=True):
            other = valid & (one != label)
            far = np.full(mask.shape, 10**6)
            to_other = distance_transform_cdt(~other, "chessboard") if other.any() else far
            padded = np.pad(np.ones_like(mask), 1)
            to_edge = distance_transform_cdt(padded, "chessboard")[1:-1, 1:-1]
            bands.append(mask & (np.minimum(to_other, to_edge) <= width))
            lines.append(mask & (to_other <= 1))
        union = (bands[0] | bands[1]).sum()
        iou.append((bands[0] & bands[1]).sum() / union if union else None)
        hits = []
        for line, other in (lines, lines[::-1]):
            near = np.zeros_like(line)
            if other.any():
                near = distance_transform_cdt(~other, "chessboard") <= tolerance
            hits.append((line & near).sum() / max(line.sum(), 1))
        total = sum(hits)
        if not lines[0].any() and not lines[1].any():
            f1.append(None)
        else:
            f1.append(2 * hits[0] * hits[1] / total if total else 0.0)
    return iou, f1


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(1, 5),
    tolerance=st.integers(1, 4),
    ignored=st.sampled_from([0.0, 0.2]),
)
def test_equals_naive_distances(seed, width, tolerance, ignored):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 4, (2, 6, 5))
    prediction, labels = np.kron(blocks, np.ones((4, 5), int)).astype(np.uint8)
    labels[rng.random(labels.shape) < ignored] = IGNORED
    counts = BoundaryCounts(4, IGNORED, width, tolerance)
    counts.update(prediction, labels)
    iou, f1 = naive(prediction, labels, 4, width, tolerance)
    assert counts.iou() == pytest.approx(iou)
    assert counts.f1() == pytest.approx(f1)


def square(left: int) -> np.ndarray:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, left : left + 10] = 1
    return labels


def test_by_hand():
    """A square of 10 x 10 that is predicted two pixels beside its place."""
    counts = BoundaryCounts(2, IGNORED, width=1, tolerance=2)
    counts.update(square(7), square(5))
    # Rings of 36 pixels; of the common 8 columns top and bottom rows are shared, no side is.
    assert counts.iou()[1] == pytest.approx(16 / (36 + 36 - 16))
    assert counts.f1() == [1.0, 1.0]  # nowhere more than two pixels apart
    strict = BoundaryCounts(2, IGNORED, width=1, tolerance=1)
    strict.update(square(7), square(5))
    # Of either ring nine pixels of each row match, and the two of a side that are beside a row.
    assert strict.f1()[1] == pytest.approx((9 + 9 + 2) / 36)


def test_perfect_and_absent():
    counts = BoundaryCounts(3, IGNORED, width=2, tolerance=1)
    counts.update(square(5), square(5))
    assert counts.iou() == [1.0, 1.0, None]
    assert counts.f1() == [1.0, 1.0, None]


def test_images_add_up():
    both, parts = BoundaryCounts(2, IGNORED, 2, 1), []
    for left in (3, 7):
        one = BoundaryCounts(2, IGNORED, 2, 1)
        parts.append(one.update(square(left), square(5)))
        both.update(square(left), square(5))
    np.testing.assert_array_equal(both.counts, sum(parts))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(1, 9),
    tolerance=st.integers(0, 4),
    side=st.integers(3, 20),
    more=st.integers(0, 2),
)
def test_parts_add_up_to_the_image(seed, width, tolerance, side, more):
    """However an image is cut, with enough context the counts are those of the whole."""
    rng = np.random.default_rng(seed)
    prediction, labels = np.kron(rng.integers(0, 3, (2, 6, 7)), np.ones((4, 4), int))
    labels[rng.random(labels.shape) < 0.1] = IGNORED
    whole = BoundaryCounts(3, IGNORED, width, tolerance)
    whole.update(prediction, labels)
    parts = BoundaryCounts(3, IGNORED, width, tolerance)
    size, reach = labels.shape, parts.reach + more
    for core in separate_windows(*size, side, keep_rest=True):
        window = tuple(
            slice(max(0, one.start - reach), min(length, one.stop + reach))
            for one, length in zip(core, size, strict=True)
        )
        parts.update(prediction[window], labels[window], Part(window, core, size))
    np.testing.assert_array_equal(parts.counts, whole.counts)


def test_too_little_context_is_noticed():
    """The test above could fail: without context, a boundary at the cut is lost."""
    labels = np.repeat([[0] * 8 + [1] * 8], 16, axis=0)
    left = slice(0, 16), slice(0, 8)
    counts = BoundaryCounts(2, IGNORED, width=2, tolerance=1)
    counts.update(labels[left], labels[left], Part(left, left, labels.shape))
    assert counts.counts[4].tolist() == [0, 0]


def test_width_of_cheng():
    assert band_width(1024, 1024) == 29
    assert band_width(4, 4) == 1
