"""Counts of images: by hand, there and back through the file, and pooled into what is reported."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from network.datasets.info import VAIHINGEN
from network.evaluation.records import (
    RECORDS_FILE,
    Counter,
    ImageRecord,
    add_record,
    read_records,
)
from network.evaluation.scores import compute_scores
from network.evaluation.summary import summarize

INFO = replace(VAIHINGEN, classes=("a", "b"), palette=((1, 1, 1), (2, 2, 2)), ignore_index=2)
INFO = replace(INFO, scored=(0, 1))


def count(prediction, labels, margin=(0, 0), confidence=0.75):
    prediction = torch.as_tensor(prediction)
    sure = torch.full(prediction.shape, confidence)
    return Counter(INFO, 1).count(sure, prediction, torch.as_tensor(labels).byte(), margin)


def random_counts(seed: int, margin=(0, 0)):
    rng = np.random.default_rng(seed)
    return count(rng.integers(0, 2, (12, 10)), rng.integers(0, 3, (12, 10)), margin)


def test_by_hand():
    prediction = [[0, 0, 1], [0, 1, 1], [1, 1, 1]]
    labels = [[0, 0, 0], [0, 1, 2], [0, 1, 1]]
    counts = count(prediction, labels, margin=(1, 0))
    # Below the first row: one 0 that is right, one 0 called 1, three 1 that are right.
    assert counts.matrix.tolist() == [[1, 1], [0, 3]]
    assert counts.padding_matrix.tolist() == [[2, 1], [0, 0]]
    assert counts.padding.tolist() == [2, 1]
    # Five pixels at a confidence of 0.75, four of them right.
    assert counts.calibration.sum(axis=1).tolist() == [5, 3.75, 4]


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    prediction, labels = rng.integers(0, 2, (30, 20)), rng.integers(0, 3, (30, 20))
    valid = labels != 2
    expected = confusion_matrix(labels[valid], prediction[valid])
    np.testing.assert_array_equal(count(prediction, labels).matrix, expected)


def test_there_and_back(tmp_path):
    records = [ImageRecord(str(n), {"full": random_counts(n)}) for n in range(3)]
    for record in records[:2]:
        add_record(tmp_path, record)
    path = tmp_path / RECORDS_FILE
    path.write_bytes(path.read_bytes()[:-20])  # a process that was killed
    assert list(read_records(tmp_path)) == ["0"]
    add_record(tmp_path, records[2])
    found = read_records(tmp_path)
    assert list(found) == ["0", "2"]
    for key, value in vars(records[2].counts["full"]).items():
        np.testing.assert_array_equal(getattr(found["2"].counts["full"], key), value)
    assert read_records(tmp_path / "nowhere") == {}


def test_pooled_scores_are_those_of_all_pixels():
    counts = [random_counts(n) for n in range(6)]
    records = [ImageRecord(str(n), {"full": c}) for n, c in enumerate(counts)]
    summary = summarize(records, "full", INFO)
    pooled = sum(c.matrix for c in counts)
    assert compute_scores(pooled, INFO).overall.items() < summary.scores.overall.items()
    assert summary.other_padding is None
    low, high = summary.intervals["mIoU"]
    assert low < summary.scores.overall["mIoU"] < high
    mious = {str(n): compute_scores(c.matrix, INFO).overall["mIoU"] for n, c in enumerate(counts)}
    assert summary.worst == sorted(mious.items(), key=lambda pair: pair[1])


def test_intervals_of_patches_are_over_their_tiles():
    counts = [random_counts(n) for n in range(18)]
    patches = [ImageRecord(f"area{n // 3}_0_{n % 3}", {"full": c}) for n, c in enumerate(counts)]
    tiles = []
    for first in range(0, 18, 3):
        of_tile = [vars(c) for c in counts[first : first + 3]]
        pooled = {key: sum(values[key] for values in of_tile) for key in of_tile[0]}
        tiles.append(ImageRecord(f"area{first // 3}", {"full": type(counts[0])(**pooled)}))
    whole = replace(INFO, tiles=None, patched=False)
    found = summarize(patches, "full", INFO).intervals
    assert found == summarize(tiles, "full", whole).intervals
    assert found["mIoU"] != summarize(patches, "full", whole).intervals["mIoU"]


@pytest.mark.parametrize("labeled", [False, True])
def test_both_padding_policies(labeled):
    """Whichever the masks were cut with, the scores of the other are at hand."""
    rng = np.random.default_rng(1)
    prediction = rng.integers(0, 2, (12, 10))
    inside = rng.integers(0, 2, (12, 10))
    inside[:4] = 2
    padded = inside.copy()
    padded[:4] = 0
    counts = count(prediction, padded if labeled else inside, margin=(4, 0))
    summary = summarize([ImageRecord("x", {"full": counts})], "full", INFO)
    with_padding = compute_scores(count(prediction, padded).matrix, INFO)
    without = compute_scores(count(prediction, inside).matrix, INFO)
    expected = (with_padding, without) if labeled else (without, with_padding)
    assert expected[0].overall.items() < summary.scores.overall.items()
    assert summary.other_padding == expected[1]


def test_eroded_masks_have_no_boundaries():
    """They ignore them: what is left at the image's edge would say nothing."""
    record = ImageRecord("x", {"full": random_counts(0), "eroded": random_counts(0)})
    full, eroded = (summarize([record], kind, INFO).scores for kind in ("full", "eroded"))
    for name, values in full.by_class.items():
        assert None not in values
        nothing = name in ("boundary_IoU", "boundary_F1")
        assert eroded.by_class[name] == ((None, None) if nothing else values)


@pytest.mark.parametrize("count", [1, 5, 6])
def test_few_images_have_no_interval(count):
    records = [ImageRecord(str(n), {"full": random_counts(n)}) for n in range(count)]
    summary = summarize(records, "full", INFO)
    assert summary.units == count
    assert summary.intervals.keys() == ({"mIoU", "OA"} if count == 6 else set())
