"""Samples of folders, which are made when they are asked for."""

from pathlib import Path

import numpy as np
import pytest

from network.datasets.samples import FolderSamples, Sample, joined, names_of, sizes_of


def folder(name: str, kinds: tuple[str, ...] = ("full",)) -> FolderSamples:
    names = [f"{name}{number}" for number in range(3)]
    return FolderSamples(
        names,
        [f"{name}/images/{one}.tif" for one in names],
        {kind: [f"{name}/{kind}/{one}.png" for one in names] for kind in kinds},
        np.array([(10, 20), (30, 40), (50, 60)]),
    )


def test_each_sample():
    samples = folder("a")
    second = Sample(
        name="a1",
        image=Path("a/images/a1.tif"),
        size=(30, 40),
        masks={"full": Path("a/full/a1.png")},
    )
    assert samples[1] == samples[-2] == second
    assert samples[1:] == [second, samples[2]]
    assert list(samples) == [samples[0], second, samples[2]]
    assert all(type(side) is int for side in samples[1].size)  # they are printed and stored
    with pytest.raises(IndexError):
        samples[3]


@pytest.mark.parametrize("kinds", [("full", "eroded"), ("eroded", "full")])
def test_joined(kinds):
    """Also if the kinds of masks stand in another order, of which training takes the first."""
    parts = [folder("a", ("full", "eroded")), folder("b", kinds)]
    found = joined(parts)
    assert isinstance(found, FolderSamples) == (kinds == ("full", "eroded"))
    assert list(found) == [*parts[0], *parts[1]]
    assert next(iter(found[-1].masks)) == kinds[0]
    assert names_of(found) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert sizes_of(found).tolist() == 2 * [[10, 20], [30, 40], [50, 60]]


def test_one_part_stays_as_it_is():
    part = folder("a")
    assert joined([part]) is part
