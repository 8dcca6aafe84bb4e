"""Points: how many, where, always the same; sparse masks; and what augmentation does to them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.datasets.resize import resize_labels, resize_points
from network.datasets.transforms import TrainTransform
from network.errors import InputError
from network.points.rules import MIN_COMPONENT, MODES, PointRule, draw_points, paint_points
from network.settings import Data

IGNORE = 255
K = 4


def blocks(seed: int, height: int = 60, width: int = 90) -> np.ndarray:
    """Labels in blocks of 10 x 10, some ignored."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, K + 1, (height // 10, width // 10))
    labels = np.kron(small, np.ones((10, 10), int)).astype(np.uint8)
    return np.where(labels == K, IGNORE, labels).astype(np.uint8)


rules = st.one_of(
    st.builds(
        PointRule,
        mode=st.sampled_from(["uniform", "per_class", "grid"]),
        budget=st.integers(1, 6000),
        seed=st.integers(0, 9),
    ),
    st.builds(
        PointRule,
        mode=st.sampled_from(["uniform", "per_class", "grid"]),
        share=st.floats(0.01, 100),
    ),
    st.just(PointRule(mode="component")),
)


@settings(max_examples=60, deadline=None)
@given(rule=rules, seed=st.integers(0, 99))
def test_points_lie_on_classes_and_are_drawn_again(rule, seed):
    labels = blocks(seed)
    points = draw_points("one", labels, K, rule)
    assert len(np.unique(points, axis=0)) == len(points)
    assert (labels[tuple(points.T)] < K).all()
    np.testing.assert_array_equal(draw_points("one", labels, K, rule), points)


@settings(max_examples=30, deadline=None)
@given(budget=st.integers(1, 6000), seed=st.integers(0, 99))
def test_counts(budget, seed):
    labels = blocks(seed)
    valid = int((labels < K).sum())
    uniform = draw_points("one", labels, K, PointRule(budget=budget))
    assert len(uniform) == min(budget, valid)
    per_class = draw_points("one", labels, K, PointRule(mode="per_class", budget=budget))
    drawn = np.bincount(labels[tuple(per_class.T)], minlength=K)
    assert drawn.tolist() == [min(budget, int((labels == c).sum())) for c in range(K)]


def test_shares():
    labels = blocks(1)
    valid = int((labels < K).sum())
    assert len(draw_points("a", labels, K, PointRule(share=22.2))) == round(0.222 * valid)
    assert len(draw_points("a", labels, K, PointRule(share=1e-6))) == 1


def test_images_and_seeds_differ():
    labels = blocks(3)
    first = draw_points("one", labels, K, PointRule(budget=50))
    for name, seed in (("two", 0), ("one", 1)):
        other = draw_points(name, labels, K, PointRule(budget=50, seed=seed))
        assert (first != other).any()


def test_uniform_has_the_shares_of_the_classes():
    labels = np.repeat(np.uint8([0, 1, 1, 1]), 10000).reshape(200, 200)
    drawn = labels[tuple(draw_points("x", labels, 2, PointRule(budget=4000)).T)]
    assert drawn.mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("shape", [(2000, 50), (50, 2000), (1000, 100), (300, 300)])
@pytest.mark.parametrize("budget", [1, 2, 5, 10])
def test_a_grid_of_few_points(shape, budget):
    """Rows and columns are whole numbers, so their product may differ a little from the budget."""
    points = draw_points("x", np.zeros(shape, np.uint8), 1, PointRule(mode="grid", budget=budget))
    assert 0.8 * budget <= len(points) <= 1.2 * budget


def test_grid_spreads():
    """One point in each cell."""
    labels = np.zeros((60, 90), np.uint8)
    points = draw_points("x", labels, 1, PointRule(mode="grid", budget=54))
    cells = points // (10, 10)
    assert len(points) == 54
    assert len(np.unique(cells, axis=0)) == 54


def test_component_has_its_innermost_pixel():
    labels = np.full((40, 60), IGNORE, np.uint8)
    labels[5:20, 5:20] = 0  # its middle is 12, 12
    labels[30:40, 0:25] = 0  # at the edge of the image, which is a border
    labels[5:15, 30:40] = 1  # 100 pixels are too few
    labels[15:40, 41:42] = 1
    points = draw_points("x", labels, 2, PointRule(mode="component"))
    assert points[0].tolist() == [12, 12]
    assert len(points) == 2
    assert points[1][0] in (34, 35)
    assert 4 <= points[1][1] <= 20
    assert MIN_COMPONENT == 100


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999))
def test_component_counts(seed):
    labels = cv2.resize(blocks(seed, 40, 40), (160, 160), interpolation=cv2.INTER_NEAREST)
    points = draw_points("x", labels, K, PointRule(mode="component"))
    drawn = labels[tuple(points.T)]
    for label in range(K):
        mask = (labels == label).astype(np.uint8)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        assert (drawn == label).sum() == (boxes[1:count, 4] > 100).sum()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "unifrm", "budget": 5}, "mode=unifrm.*did you mean 'uniform'"),
        ({"mode": "component", "budget": 5}, "mode=component"),
        ({}, "either a budget or a share"),
        ({"budget": 5, "share": 1.0}, "either a budget or a share"),
        ({"budget": 0}, "budget=0: expected 1 or more"),
        ({"share": 101.0}, "share=101"),
        ({"budget": 1, "seed": -1}, "seed=-1"),
    ],
)
def test_wrong_rules(options, words):
    with pytest.raises(InputError, match=words):
        PointRule(**options)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), radius=st.integers(0, 5), mode=st.sampled_from(list(MODES)))
def test_painted_masks_tell_the_truth(seed, radius, mode):
    labels = blocks(seed)
    rule = PointRule(mode=mode, budget=None if mode == "component" else 20)
    points = draw_points("x", labels, K, rule)
    mask = paint_points(points, labels[tuple(points.T)], labels.shape, IGNORE, radius, labels)
    labeled = mask != IGNORE
    np.testing.assert_array_equal(mask[labeled], labels[labeled])
    rows, columns = np.nonzero(labeled)
    assert labeled[tuple(points.T)].all()
    if len(points):
        offsets = np.stack([rows, columns], 1)[:, None] - points[None]
        assert ((offsets**2).sum(-1).min(1) <= (radius + 0.5) ** 2).all()
    if not radius:
        assert labeled.sum() == len(points)


def test_discs_of_two_classes():
    """Without truth, what both cover is left out, but for the points themselves."""
    points, labels = np.array([[5, 5], [5, 7]]), np.array([0, 1])
    mask = paint_points(points, labels, (11, 13), IGNORE, 2)
    assert mask[5].tolist() == [IGNORE] * 3 + [0, 0, 0, IGNORE, 1, 1, 1] + [IGNORE] * 3
    assert mask[3, 5] == 0
    assert mask[3, 7] == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.3, 2.5), count=st.integers(1, 30))
def test_scaling_loses_no_point(seed, scale, count):
    rng = np.random.default_rng(seed)
    labels = np.full((40, 50), IGNORE, np.uint8)
    places = rng.choice(20 * 25, count, replace=False)
    # Far enough from each other to stay apart.
    rows, columns = places // 25 * 2 // 4 * 4, places % 25 * 2 // 4 * 4
    labels[rows, columns] = rng.integers(0, K, count)
    count = (labels != IGNORE).sum()
    height, width = round(40 * scale), round(50 * scale)
    scaled = resize_points(labels, height, width, IGNORE)
    assert scaled.shape == (height, width)
    if scale <= 1:
        assert (scaled != IGNORE).sum() == count
        rows, columns = np.nonzero(scaled != IGNORE)
        # Each lies where nearest scaling back finds its label.
        back = ((rows + 0.5) / height * 40).astype(int), ((columns + 0.5) / width * 50).astype(int)
        near = [
            labels[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3] for r, c in zip(*back, strict=True)
        ]
        assert all(
            value in window for value, window in zip(scaled[rows, columns], near, strict=True)
        )
    else:
        assert (scaled != IGNORE).sum() >= count
        np.testing.assert_array_equal(scaled, resize_labels(labels, height, width))


def test_augmentation_moves_points_with_their_image():
    """The image says at each pixel which label stands there; halved, all points remain."""
    data = Data(crop=32, scales=(0.5,), mosaic=0.0, max_class_share=1.0)
    rng = np.random.default_rng(0)
    dense = np.kron(rng.integers(0, K, (8, 8)), np.ones((8, 8), int)).astype(np.uint8)
    points = draw_points("x", dense, K, PointRule(mode="grid", budget=64))
    mask = paint_points(points, dense[tuple(points.T)], dense.shape, IGNORE)
    image = np.repeat((60 * dense)[..., None], 3, axis=2)
    for sparse, kept in ((True, 64), (False, None)):
        transform = TrainTransform(data, IGNORE, sparse=sparse)
        for seed in range(8):
            out, labels = transform(lambda _: (image, mask), 0, 1, np.random.default_rng(seed))
            labeled = labels != IGNORE
            colors = out[labeled][:, 0].astype(int)
            # Bilinear halving of blocks of 8 averages pixels of one block.
            assert (abs(colors - 60 * labels[labeled].astype(int)) <= 1).all()
            if kept:
                assert labeled.sum() >= kept - 2  # two may meet at a border of cells
            else:
                assert labeled.sum() < 40


def test_sparse_is_only_about_labels():
    data = replace(Data(), crop=32, scales=(0.5, 1.0))
    rng = np.random.default_rng(1)
    image, labels = rng.integers(0, 256, (70, 70, 3), np.uint8), blocks(5, 70, 70)
    outputs = [
        TrainTransform(data, IGNORE, sparse=sparse)(
            lambda _: (image, labels), 0, 1, np.random.default_rng(7)
        )[0]
        for sparse in (False, True)
    ]
    np.testing.assert_array_equal(*outputs)
