"""The losses of activation refinement, by hand and by their invariants."""

import math

import pytest
import torch
from torch.nn import functional

from network.buildings.losses import balanced_soft_cross_entropy, multi_scale_consistency


def test_pixel_loss_by_hand():
    """Two pixels of background and one of a building: each class weighs a half."""
    logits = torch.tensor([[[[1.0, 0.0, 2.0, 5.0]], [[0.0, 3.0, 0.5, 5.0]]]])  # (1, 2, 1, 4)
    seed = torch.tensor([[[0, 0, 1, 255]]])

    def soft(own, other):
        log_own = own - math.log(math.exp(own) + math.exp(other))
        log_other = other - math.log(math.exp(own) + math.exp(other))
        return -0.85 * log_own - 0.15 * log_other

    expected = 0.5 * ((soft(1, 0) + soft(0, 3)) / 2 + soft(0.5, 2))
    assert balanced_soft_cross_entropy(logits, seed).item() == pytest.approx(expected)


def test_pixel_loss_is_torch_s_where_classes_are_balanced():
    """As many pixels of both classes: label smoothing of 2 epsilon, by torch."""
    logits = torch.randn(2, 2, 4, 4)
    seed = torch.tensor([0, 1]).repeat(16).reshape(2, 4, 4)
    expected = functional.cross_entropy(logits, seed, label_smoothing=0.3)
    torch.testing.assert_close(balanced_soft_cross_entropy(logits, seed, 0.15), expected)


@pytest.mark.parametrize("labels", [(0, 255), (1, 255), (255, 255)])
def test_a_class_may_be_missing(labels):
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    seed = torch.tensor(labels).repeat(2).reshape(1, 2, 2)
    loss = balanced_soft_cross_entropy(logits, seed)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert (loss == 0) == (set(labels) == {255})


def test_consistency_is_zero_where_all_agree():
    logits = torch.randn(2, 2, 4, 4)
    seed = torch.zeros(2, 4, 4, dtype=torch.long)
    assert multi_scale_consistency([logits] * 3, seed, confidence=0.0).item() == pytest.approx(
        0, abs=1e-6
    )


def test_consistency_by_torch_s_divergence():
    """A sum over scales of KL(P_i || M), a mean over pixels; all three get a gradient."""
    views = [(4 * torch.randn(2, 2, 3, 3)).requires_grad_() for _ in range(3)]
    seed = torch.zeros(2, 3, 3, dtype=torch.long)
    loss = multi_scale_consistency(views, seed, confidence=0.5)
    p = [view.softmax(dim=1) for view in views]
    mean = (sum(p) / 3).clamp(1e-3, 1 - 1e-3)
    pixels = sum(functional.kl_div(mean.log(), own, reduction="none") for own in p).sum(dim=1)
    torch.testing.assert_close(loss, pixels.mean())
    assert loss > 0
    loss.backward()
    assert all(view.grad.abs().max() > 0 for view in views)


def test_unsure_images_do_not_count():
    """Of two images one is sure somewhere; where its seed is ignored that does not help."""
    sure, unsure = torch.zeros(1, 2, 2, 2), 0.1 * torch.randn(1, 2, 2, 2)
    sure[0, 0, 0, 0] = 5.0
    views = [torch.cat([sure, unsure]), torch.cat([sure + 0.3 * torch.randn(1, 2, 2, 2), unsure])]
    seed = torch.zeros(2, 2, 2, dtype=torch.long)
    both = multi_scale_consistency(views, seed, confidence=0.8)
    alone = multi_scale_consistency([view[:1] for view in views], seed[:1], confidence=0.8)
    torch.testing.assert_close(both, alone / 2)
    seed[0, 0, 0] = 255
    assert multi_scale_consistency(views, seed, confidence=0.8) == 0
