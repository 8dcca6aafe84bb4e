"""Plans: cores cover an image once, windows lie on the stride's grid and have their halo."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.datasets.windows import STRIDE, spans
from network.errors import InputError
from network.maps.options import MapOptions
from network.maps.plan import Plan, default_halo

LENGTHS = st.tuples(st.integers(1, 40), st.integers(0, 10)).filter(lambda n: 2 * n[1] < n[0])


@settings(deadline=None)
@given(length=st.integers(1, 5000), lengths=LENGTHS)
def test_spans(length, lengths):
    window, halo = (STRIDE * n for n in lengths)
    found = spans(length, window, halo)
    assert [span.start for span in found] == [0, *(span.stop for span in found[:-1])]
    assert found[-1].stop == length
    for span in found:
        first, last = max(0, span.start - halo), min(length, span.stop + halo)
        assert span.start < span.stop
        assert first % STRIDE == 0
        assert last - first <= window


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    lengths=st.sampled_from([(64, 0), (96, 32), (160, 64)]),
    cores=st.tuples(st.integers(1, 4), st.integers(1, 9)),
)
def test_every_pixel_is_in_one_core_of_one_block(size, lengths, cores):
    window, halo = lengths
    plan = Plan(*size, window, halo, cores)
    blocks = list(plan.blocks())
    assert len(blocks) == len(plan)
    assert len({block.name for block in blocks}) == len(blocks)
    by_core, by_block = np.zeros(size, int), np.zeros(size, int)
    for block in blocks:
        by_block[block.rows, block.columns] += 1
        for part in block.parts:
            by_core[part.core] += 1
            seen = np.zeros(size, int)
            seen[part.window][part.inside] = 1
            assert seen.sum() == seen[part.core].sum() > 0
            for core, side, length in zip(part.core, part.window, size, strict=True):
                assert side.start == max(0, core.start - halo)
                assert side.stop == min(length, core.stop + halo)
    assert (by_core == 1).all()
    assert (by_block == 1).all()


def test_an_image_no_larger_than_a_window_is_seen_whole():
    (block,) = Plan(1024, 700, window=1024, halo=128).blocks()
    (part,) = block.parts
    assert part.window == part.core == (slice(0, 1024), slice(0, 700))


def test_the_default_halo_fits_every_window():
    for window in range(STRIDE, 2048, STRIDE):
        halo = default_halo(window)
        assert Plan(100, 100, window, halo).halo == halo == MapOptions(window=window).halo_width
        assert 2 * halo <= window / 2  # so at most four times the pixels are computed


@pytest.mark.parametrize(
    ("window", "halo", "words"),
    [
        (1000, 128, "window=1000: windows begin at multiples of 32"),
        (0, 0, "window=0"),
        (256, 100, "halo=100: must be a multiple of 32"),
        (256, 128, "less than half of the window of 256"),
        (256, -32, "halo=-32"),
    ],
)
def test_lengths_that_do_not_fit(window, halo, words):
    with pytest.raises(InputError, match=words):
        Plan(100, 100, window, halo)
