"""Blocks are assigned so that no single change would make the shares better."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from network.datasets.on_earth.stratify import assign


def costs(counts: np.ndarray, owners: np.ndarray, shares: np.ndarray) -> float:
    amounts = np.column_stack([counts, counts.sum(axis=1)]).astype(float)
    amounts = amounts[:, amounts.any(axis=0)]
    amounts /= amounts.sum(axis=0)
    have = np.array([amounts[owners == split].sum(axis=0) for split in range(len(shares))])
    return float((((have - shares[:, None]) ** 2).sum(axis=1) / shares).sum())


@given(st.integers(0, 1000), st.integers(3, 12), st.integers(1, 4), st.integers(2, 3))
def test_no_move_and_no_swap_is_better(seed, blocks, classes, splits):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 1000, (blocks, classes)) * (rng.random((blocks, classes)) < 0.6)
    counts[0] += 1
    shares = rng.dirichlet(np.full(splits, 5.0))
    owners = assign(counts, shares, seed)
    assert set(owners) == set(range(splits))
    found = costs(counts, owners, shares)
    for block, split in itertools.product(range(blocks), range(splits)):
        moved = owners.copy()
        moved[block] = split
        if len(set(moved)) == splits:
            assert costs(counts, moved, shares) > found - 1e-9
    for one, other in itertools.combinations(range(blocks), 2):
        swapped = owners.copy()
        swapped[[one, other]] = owners[[other, one]]
        assert costs(counts, swapped, shares) > found - 1e-9


def test_shares_of_many_blocks_are_those_of_the_whole():
    rng = np.random.default_rng(7)
    counts = rng.poisson([500, 100, 3], (300, 3)) * rng.integers(0, 2, (300, 3))
    wanted = np.array([0.7, 0.15, 0.15])
    owners = assign(counts, wanted, seed=1)
    have = np.array([counts[owners == split].sum(axis=0) for split in range(3)])
    np.testing.assert_allclose(have / counts.sum(axis=0), wanted[:, None] * [1, 1, 1], atol=0.003)


def test_a_rare_class_is_shared():
    """It is in 3 of 30 blocks, and each split gets one."""
    counts = np.full((30, 2), 100)
    counts[:, 1] = 0
    counts[[4, 11, 22], 1] = 5
    for seed in range(10):
        owners = assign(counts, np.array([1, 1, 1]) / 3, seed)
        assert sorted(owners[[4, 11, 22]]) == [0, 1, 2]
        assert np.bincount(owners).tolist() == [10, 10, 10]


def test_the_seed_counts():
    counts = np.random.default_rng(0).integers(1, 100, (40, 3))
    shares = np.array([0.5, 0.5])
    assert (assign(counts, shares, 3) == assign(counts, shares, 3)).all()
    assert (assign(counts, shares, 3) != assign(counts, shares, 4)).any()
