"""Splits that share out parents, and each class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.datasets.discovery.splitting import draw_splits, in_blocks, parents_of


@pytest.mark.parametrize(
    ("names", "parents"),
    [
        (
            ["jp_2.1_0", "jp_2.1_1", "jp_2.2_0", "tile_3_0", "tile_3_1"],
            ["jp_2.1", "jp_2.2", "tile_3"],
        ),
        (["a_0_0", "a_0_1", "b_0_0", "b_1_0", "c_0_0"], ["a_0", "b_0", "b_1", "c_0"]),
        (["a_1", "a_2", "b_1"], ["a_1", "a_2", "b_1"]),  # two parents are too few
        (["img_1", "img_2", "img_3", "img_4"], ["img_1", "img_2", "img_3", "img_4"]),
        (["x", "y", "z"], ["x", "y", "z"]),
    ],
)
def test_parents(names, parents):
    found = parents_of(names)
    assert sorted(found) == parents
    assert sorted(name for own in found.values() for name in own) == sorted(names)


def test_row_and_column_behind_the_name():
    names = [f"{parent}_{row}_{column}" for parent in "abc" for row in range(2) for column in "0"]
    assert parents_of(names).keys() == {"a", "b", "c"}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1000), min_size=3, max_size=3), min_size=1, max_size=12))
def test_each_unit_is_in_one_split(counts):
    amounts = {f"u{n}": np.array(row) for n, row in enumerate(counts)}
    found = draw_splits(amounts)
    assert sorted(name for own in found.values() for name in own) == sorted(amounts)
    assert list(found) == ["train", "val", "test"][: len(amounts)]
    assert all(found.values())
    assert draw_splits(amounts) == found


def test_splits_are_like_the_whole():
    """A class that few units have is trained on, and units of one kind are not all in one split."""
    amounts = {f"a{n}": np.array([100, 0, 0]) for n in range(10)}
    amounts |= {f"b{n}": np.array([0, 100, 0]) for n in range(10)}
    amounts["c"] = np.array([50, 50, 5])
    found = draw_splits(amounts)
    assert "c" in found["train"]
    assert len(found["train"]) > len(found["val"]) + len(found["test"])
    for split in ("val", "test"):
        assert {name[0] for name in found[split]} >= {"a", "b"}


def test_blocks_on_the_ground():
    """Along the longer side, in one piece each."""
    places = {f"{x}-{y}": (float(x), float(y)) for x in range(10) for y in range(2)}
    found = in_blocks(places)
    assert [len(found[split]) for split in ("train", "val", "test")] == [14, 3, 3]
    ends = {split: [places[name][0] for name in own] for split, own in found.items()}
    assert max(ends["train"]) <= min(ends["val"]) <= max(ends["val"]) <= min(ends["test"])
