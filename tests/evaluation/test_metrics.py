"""Scores against golden values, scikit-learn, and hand computation."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from network.datasets.info import LOVEDA, VAIHINGEN
from network.evaluation.metrics import ConfusionMatrix
from network.evaluation.scores import compute_scores

TWO = replace(
    VAIHINGEN, classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), ignore_index=2, scored=(0, 1)
)


def scores_of(prediction: torch.Tensor, labels: torch.Tensor, info=VAIHINGEN):
    matrix = ConfusionMatrix(info.num_classes)
    matrix.update(prediction, labels)
    return compute_scores(matrix.compute(), info)


def test_golden(golden):
    arrays = golden("metrics")
    matrix = ConfusionMatrix(6)
    # In two parts: the matrix is pooled.
    for i in range(2):
        matrix.update(arrays["in/predictions"][i : i + 1], arrays["in/labels"][i : i + 1])
    expected = arrays["out/confusion_matrix_rows_truth"]
    torch.testing.assert_close(matrix.compute().double(), expected)
    scores = compute_scores(matrix.compute(), VAIHINGEN)
    assert scores.by_class["IoU"] == pytest.approx(arrays["out/iou"].tolist())
    assert scores.by_class["F1"] == pytest.approx(arrays["out/f1"].tolist())
    assert scores.overall["OA"] == pytest.approx(arrays["out/oa"].item())
    assert scores.overall["mIoU"] == pytest.approx(arrays["out/iou"][:5].mean().item())
    assert scores.overall["mIoU_all_classes"] == pytest.approx(arrays["out/iou"].mean().item())


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), share_ignored=st.floats(0, 0.9))
def test_equals_scikit_learn(seed, share_ignored):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 7, (2, 20, 20), generator=generator)
    prediction = torch.randint(0, 7, (2, 20, 20), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < share_ignored] = LOVEDA.ignore_index
    valid = labels != LOVEDA.ignore_index
    truth, guess = labels[valid].numpy(), prediction[valid].numpy()
    scores = scores_of(prediction, labels, LOVEDA)
    if scores.absent or None in scores.by_class["precision"] + scores.by_class["recall"]:
        return
    options = {"average": None, "labels": range(7)}
    assert scores.by_class["IoU"] == pytest.approx(sk.jaccard_score(truth, guess, **options))
    assert scores.by_class["F1"] == pytest.approx(sk.f1_score(truth, guess, **options))
    assert scores.by_class["precision"] == pytest.approx(
        sk.precision_score(truth, guess, **options)
    )
    assert scores.by_class["recall"] == pytest.approx(sk.recall_score(truth, guess, **options))
    assert scores.overall["OA"] == pytest.approx(sk.accuracy_score(truth, guess))


@pytest.mark.parametrize("ignored", [6, 7, 200, 255])
def test_labels_out_of_range_are_dropped(ignored):
    labels = torch.tensor([[[0, 1, ignored]]], dtype=torch.uint8)
    matrix = ConfusionMatrix(6)
    matrix.update(torch.tensor([[[0, 0, 0]]]), labels)
    assert matrix.compute().sum() == 2


def test_by_hand():
    """Truth a a a b, prediction a a b b."""
    scores = scores_of(torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 0, 0, 1]]]), TWO)
    assert scores.by_class["IoU"] == pytest.approx((2 / 3, 1 / 2))
    assert scores.by_class["precision"] == pytest.approx((1.0, 1 / 2))
    assert scores.by_class["recall"] == pytest.approx((2 / 3, 1.0))
    assert scores.by_class["F1"] == pytest.approx((4 / 5, 2 / 3))
    assert scores.overall["OA"] == pytest.approx(3 / 4)


def test_absent_class_has_no_score():
    """In neither truth nor prediction: left out of the mean, and named."""
    scores = scores_of(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]))
    assert scores.by_class["IoU"][:3] == (
        0.5,
        0.0,
        None,
    )  # predicted without truth is 0, not absent
    assert scores.by_class["recall"][1] is None
    assert scores.absent == ("LowVeg", "Tree", "Car", "Clutter")
    assert scores.overall["mIoU"] == pytest.approx(0.25)


def test_nothing_to_score():
    scores = scores_of(torch.tensor([[[0, 1]]]), torch.tensor([[[6, 6]]]))
    assert set(scores.overall.values()) == {None}
