"""Calibration error against torchmetrics and hand computation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from network.evaluation.calibration import Calibration


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), bins=st.integers(2, 20))
def test_equals_torchmetrics(seed, bins):
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(2, 5, 9, 8, generator=generator)).softmax(1)
    labels = torch.randint(0, 6, (2, 9, 8), generator=generator)  # 5 is ignored
    confidence, prediction = probabilities.max(dim=1)
    calibration = Calibration(bins)
    for i in range(2):
        calibration.update(confidence[i], prediction[i] == labels[i], labels[i] != 5)
    expected = multiclass_calibration_error(probabilities, labels, 5, bins, ignore_index=5)
    assert calibration.error() == pytest.approx(expected.item(), abs=1e-6)


def test_by_hand():
    calibration = Calibration(2)
    confidence = torch.tensor([0.4, 0.5, 0.8, 1.0, 0.9])
    correct = torch.tensor([True, False, True, True, False])
    valid = torch.tensor([True, True, True, True, False])
    calibration.update(confidence, correct, valid)
    assert calibration.counts[0].tolist() == [2, 2]  # a half still belongs to the lower bin
    # |0.9 - 1| + |1.8 - 2| over four pixels
    assert calibration.error() == pytest.approx(0.3 / 4)


def test_nothing_to_score():
    assert Calibration().error() is None
