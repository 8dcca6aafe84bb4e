"""Errors at borders, counted by hand in six rows and columns."""

import numpy as np
import pytest

from network.explanation.borders import BorderErrors

TRUTH = np.array(
    [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [2, 2, 2, 2, 2, 2],
        [9, 9, 9, 2, 2, 2],
    ],
    np.uint8,
)


@pytest.fixture
def errors() -> BorderErrors:
    prediction = TRUTH.copy()
    prediction[0, 2] = 1  # beside class 1
    prediction[0, 0] = prediction[3, 1] = 1  # two pixels or more from class 1
    prediction[3, 5] = 2  # above class 2
    prediction[5, 5] = 0  # far of class 0
    prediction[5, 0] = 0  # not counted
    found = BorderErrors(3, 1)
    found.update(prediction, TRUTH)
    return found


def test_by_hand(errors):
    np.testing.assert_array_equal(errors.near, [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(errors.far, [[0, 2, 0], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(errors.right, [9, 11, 8])
    np.testing.assert_array_equal(errors.pixels, [12, 12, 9])
    # In row 4, four pixels of class 2 touch class 0 and four touch class 1, corners included.
    np.testing.assert_array_equal(errors.reach, [[0, 4, 3], [4, 0, 3], [4, 4, 0]])


def test_a_larger_distance_and_more_images(errors):
    wide = BorderErrors(3, 2)
    prediction = np.where(TRUTH == 0, 1, TRUTH).astype(np.uint8)
    for _ in range(2):
        wide.update(prediction, TRUTH)
    assert wide.near[0, 1] == 2 * 8
    assert wide.far[0, 1] == 2 * 4
    rows = errors.rows(("a", "b", "c"))
    assert [row["wrong"] for row in rows] == [3, 0, 0, 1, 1, 0]
    assert rows[0] == {
        "truth": "a",
        "prediction": "b",
        "pixels_of_truth": 12,
        "pixels_near_prediction": 4,
        "wrong": 3,
        "wrong_near": 1,
        "wrong_far": 2,
    }
