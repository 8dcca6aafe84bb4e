"""Area estimates: the published example, hand computation, the bootstrap, and many samples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.errors import InputError
from network.evaluation.area_estimates import SPREAD, Estimate, estimate_areas, few_points
from network.evaluation.on_earth.strata import allocate

# Olofsson et al. 2014, section 5: deforestation, forest gain, stable forest, stable non-forest.
COUNTS = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = PIXELS * 30 * 30 / 10_000


def test_the_published_example():
    """All numbers that the paper prints in its section 5 and its table 9."""
    found = estimate_areas(COUNTS, HECTARES)
    areas = [(round(one.value), round(SPREAD * one.error)) for one in found.areas]
    assert areas == [(21_158, 6158), (11_686, 3756), (285_770, 15_510), (581_386, 16_282)]
    assert round(found.overall.value, 3) == 0.947
    assert round(SPREAD * found.overall.error, 3) == 0.018
    users = [(round(one.value, 2), round(SPREAD * one.error, 2)) for one in found.users]
    assert users == [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    producers = [(round(one.value, 2), round(SPREAD * one.error, 2)) for one in found.producers]
    assert producers == [(0.75, 0.21), (0.85, 0.25), (0.93, 0.03), (0.96, 0.02)]
    printed = [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    np.testing.assert_allclose(found.proportions, printed, atol=5.1e-5)


def by_hand(counts, pixels):
    """The equations one by one, with loops, and equation 7 in pixels as the paper has it."""
    k = len(counts)
    n = [sum(row) for row in counts]
    total = sum(pixels)
    weights = [number / total for number in pixels]
    users = [counts[i][i] / n[i] for i in range(k)]
    overall = sum(weights[i] * users[i] for i in range(k))
    overall_error = math.sqrt(
        sum(weights[i] ** 2 * users[i] * (1 - users[i]) / (n[i] - 1) for i in range(k))
    )
    producers = []
    for j in range(k):
        estimated = sum(pixels[i] / n[i] * counts[i][j] for i in range(k))
        if not estimated:
            producers.append(None)
            continue
        accuracy = pixels[j] / n[j] * counts[j][j] / estimated
        first = pixels[j] ** 2 * (1 - accuracy) ** 2 * users[j] * (1 - users[j]) / (n[j] - 1)
        others = sum(
            pixels[i] ** 2 * counts[i][j] / n[i] * (1 - counts[i][j] / n[i]) / (n[i] - 1)
            for i in range(k)
            if i != j
        )
        variance = (first + accuracy**2 * others) / estimated**2
        producers.append((accuracy, math.sqrt(variance)))
    shares = [
        (
            sum(weights[i] * counts[i][j] / n[i] for i in range(k)),
            math.sqrt(
                sum(
                    weights[i] ** 2 * counts[i][j] / n[i] * (1 - counts[i][j] / n[i]) / (n[i] - 1)
                    for i in range(k)
                )
            ),
        )
        for j in range(k)
    ]
    return (overall, overall_error), producers, shares


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(
        st.lists(st.integers(0, 60), min_size=3, max_size=3), min_size=3, max_size=3
    ).filter(lambda rows: all(sum(row) > 1 for row in rows)),
    pixels=st.lists(st.integers(1, 10**6), min_size=3, max_size=3),
)
def test_equations(counts, pixels):
    """Also with the second form of equation 10, and areas in another unit than pixels."""
    found = estimate_areas(counts, np.array(pixels) * 0.09)
    overall, producers, shares = by_hand(counts, pixels)
    close = {"rel": 1e-9, "abs": 1e-9}
    assert (found.overall.value, found.overall.error) == pytest.approx(overall, **close)
    for one, expected in zip(found.producers, producers, strict=True):
        assert (one is None) == (expected is None)
        if one is not None:
            assert (one.value, one.error) == pytest.approx(expected, **close)
    total = 0.09 * sum(pixels)
    for one, (share, error) in zip(found.areas, shares, strict=True):
        assert one.value / total == pytest.approx(share, **close)
        assert one.error / total == pytest.approx(error, rel=1e-6, abs=1e-7)
    assert found.proportions.sum() == pytest.approx(1)
    assert sum(one.value for one in found.areas) == pytest.approx(total)


@pytest.mark.parametrize(("points", "lowest"), [(500, 0.93), (100, 0.86)])
def test_many_samples_of_a_known_map(points, lowest):
    """Unbiased, with intervals that hold the truth in about 95 of 100 samples.

    With few points, the intervals of a class that is rare on the map are too short.
    """
    rng = np.random.default_rng(0)
    pixels = np.array([2000, 8000, 30_000])  # of each class on the map
    shares = np.array([[0.8, 0.15, 0.05], [0.05, 0.85, 0.1], [0.02, 0.04, 0.94]])
    truth = pixels @ shares  # area of each class
    right = (pixels * shares.diagonal()).sum() / pixels.sum()
    producers = pixels * shares.diagonal() / truth
    areas, hits, errors = [], [], []
    for _ in range(3000):
        counts = np.stack([rng.multinomial(points, row) for row in shares])
        found = estimate_areas(counts, pixels)
        areas.append([one.value for one in found.areas])
        errors.append([one.error for one in found.areas])
        estimates = [*found.areas, found.overall, *found.producers]
        known = [*truth, right, *producers]
        pairs = zip(estimates, known, strict=True)
        hits.append([one.interval[0] <= value <= one.interval[1] for one, value in pairs])
    areas = np.array(areas)
    noise = areas.std(0) / math.sqrt(len(areas))
    assert (np.abs(areas.mean(0) - truth) < 4 * noise).all()
    # The stated error is the deviation over samples.
    np.testing.assert_allclose(np.sqrt((np.array(errors) ** 2).mean(0)), areas.std(0), rtol=0.05)
    coverage = np.mean(hits, axis=0)
    assert (coverage > lowest).all()
    assert (coverage < 0.97).all()


def test_counting_pixels_is_biased():
    """Which is why the sample is needed: the map of the paper has 15 % less deforestation."""
    found = estimate_areas(COUNTS, HECTARES)
    assert found.mapped[0] / found.areas[0].value == pytest.approx(0.851, abs=0.001)


def test_a_perfect_map_has_no_error():
    found = estimate_areas([[9, 0], [0, 9]], [3, 7])
    assert [(one.value, one.error) for one in found.areas] == [(3, 0), (7, 0)]
    assert found.overall.interval == (1, 1)


def test_classes_of_one_side_only():
    """A class that the map lacks, and one that nothing turns out to be."""
    found = estimate_areas([[8, 2, 0], [0, 0, 0], [5, 5, 0]], [10, 0, 90])
    assert found.users[1] is None
    assert found.producers[2] is None
    assert found.producers[1].value == 0
    assert [round(one.value, 6) for one in found.areas] == [53, 47, 0]


def test_intervals_end_where_areas_do():
    assert Estimate(0.01, 0.1).interval == (0, 0.01 + SPREAD * 0.1)
    assert Estimate(9, 1, most=10).interval == (9 - SPREAD, 10)


@pytest.mark.parametrize(
    ("counts", "mapped"),
    [
        ([[1, 0], [0, 9]], [3, 7]),
        ([[0, 0], [0, 9]], [3, 7]),
        ([[5, 5], [0, 9]], [0, 7]),
        ([[5, 5], [0, 9]], [-1, 7]),
        ([[5, 5], [0, 9]], [0, 0]),
        ([[5, 5, 1], [0, 9, 1]], [1, 7]),
    ],
)
def test_no_estimate(counts, mapped):
    with pytest.raises(ValueError, match=r"two points|counts must be"):
        estimate_areas(counts, mapped)


def test_strata_with_few_points():
    counts = np.array([[1, 0, 0], [0, 0, 0], [2, 3, 4]])
    assert few_points(counts, np.array([1.0, 0.0, 5.0])) == [0]
    assert few_points(counts, np.array([1.0, 1.0, 5.0])) == [0, 1]


@settings(max_examples=80, deadline=None)
@given(
    pixels=st.lists(st.integers(0, 500), min_size=1, max_size=6),
    minimum=st.integers(2, 30),
    points=st.integers(1, 400),
)
def test_allocation(pixels, minimum, points):
    """All points, no class below the minimum, none above its pixels, the rest in proportion."""
    pixels = np.array(pixels)
    least = np.minimum(minimum, pixels)
    names = "abcdef"[: len(pixels)]
    if least.sum() > points or pixels.sum() < points:
        with pytest.raises(InputError, match=r"too few points|only"):
            allocate(pixels * 1.0, pixels, points, minimum, names)
        return
    found = allocate(pixels * 1.0, pixels, points, minimum, names)
    assert found.sum() == points
    assert (found >= least).all()
    assert (found <= pixels).all()
    free = (found > least) & (found < pixels)
    exact = pixels[free] * found[free].sum() / max(1, pixels[free].sum())
    assert (np.abs(found[free] - exact) < 2).all()
