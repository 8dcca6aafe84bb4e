"""Cross-entropy and Dice against golden values, libraries and hand computation."""

import math

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import DiceLoss

from network.losses import pixel as module
from network.losses.pixel import _torch_losses, cross_entropy, cross_entropy_and_dice
from network.losses.softmax_sums import softmax_sums

IGNORE = 6


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("losses")


@pytest.mark.parametrize(
    ("labels", "ce", "dice"),
    [
        ("labels", "ce_smooth0.05", "dice_smooth0.05"),
        ("labels_with_ignore6", "ce_with_ignore6_mean_over_valid", "dice_with_ignore6"),
        ("labels_class4_absent", None, "dice_class4_absent"),
    ],
)
def test_golden(arrays, labels, ce, dice):
    actual = cross_entropy_and_dice(arrays["in/logits"], arrays[f"in/{labels}"], IGNORE, 0.05)
    torch.testing.assert_close(actual[1], arrays[f"out/{dice}"], atol=1e-5, rtol=0)
    if ce:
        torch.testing.assert_close(actual[0], arrays[f"out/{ce}"], atol=1e-5, rtol=0)


def random_batch(k: int, share_ignored: float) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 3 * torch.randn(2, k, 7, 9, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, k, (2, 7, 9))
    return logits, labels.masked_fill(torch.rand(2, 7, 9) < share_ignored, 255)


@settings(deadline=None, max_examples=30)
@given(k=st.integers(2, 9), share=st.floats(0, 0.95), smoothing=st.sampled_from([0.0, 0.05, 0.3]))
def test_equals_the_libraries(k, share, smoothing):
    logits, labels = random_batch(k, share)
    if (labels == 255).all():
        return
    ce, dice = cross_entropy_and_dice(logits.float(), labels, 255, smoothing)
    options = {"ignore_index": 255, "label_smoothing": smoothing}
    expected = nnf.cross_entropy(logits.float(), labels, **options)
    torch.testing.assert_close(ce, expected)
    torch.testing.assert_close(cross_entropy(logits.float(), labels, 255, smoothing), expected)
    # The library writes (I + e) / (C / 2 + e): half of our e.
    library = DiceLoss("multiclass", smooth=0.025, ignore_index=255)
    torch.testing.assert_close(dice, library(logits.float(), labels))


def test_by_hand():
    """Two pixels, two classes, both of class 0, p = 3/4 and 1/2; a third is ignored."""
    logits = torch.tensor([3.0, 1.0, 100.0]).log().view(1, 1, 1, 3)
    logits = torch.cat([logits, torch.zeros_like(logits)], dim=1)
    labels = torch.tensor([[[0, 0, 255]]])
    ce, dice = cross_entropy_and_dice(logits, labels, 255)
    torch.testing.assert_close(ce, -torch.tensor([0.75, 0.5]).log().mean())
    # Class 0: I = 1.25, C = 1.25 + 2; class 1 is absent, 0, but in the mean.
    torch.testing.assert_close(dice, torch.tensor((1 - 2.55 / 3.30) / 2))


@pytest.mark.parametrize("function", [cross_entropy, cross_entropy_and_dice])
def test_no_valid_pixel(function):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    losses = function(logits, torch.full((2, 4, 4), 255), 255, 0.05)
    total = sum(losses) if isinstance(losses, tuple) else losses
    assert total == 0
    total.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_gradients():
    logits = torch.randn(1, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[[0, 1, 255], [2, 1, 1]]])

    def total(x):
        return sum(cross_entropy_and_dice(x, labels, 255, 0.05))

    assert torch.autograd.gradcheck(total, logits)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_equals_what_gpus_compute(is_weighted):
    """With weights too, which torch treats in another way."""
    logits, labels = random_batch(4, 0.3)
    options = (logits, labels, 255, 0.05, torch.rand(4) + 0.5 if is_weighted else None)
    torch.testing.assert_close(softmax_sums(*options).losses, _torch_losses(*options, False).sum())
    torch.testing.assert_close(
        softmax_sums(*options, each_pixel=True).losses, _torch_losses(*options, True)
    )


def test_half_precision_logits():
    logits, labels = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8))
    for loss in cross_entropy_and_dice(logits.bfloat16(), labels, 255):
        assert loss.dtype == torch.float32
    torch.testing.assert_close(
        cross_entropy(logits.bfloat16(), labels, 255),
        cross_entropy(logits.bfloat16().float(), labels, 255),
    )


@settings(deadline=None, max_examples=30)
@given(
    k=st.integers(2, 5),
    ignored=st.floats(0, 1),
    share=st.floats(0.01, 0.99),
    smoothing=st.sampled_from([0.0, 0.1]),
    is_weighted=st.booleans(),
)
def test_hard_pixels(k, ignored, share, smoothing, is_weighted):
    """The mean over the largest losses of single pixels, sorted by hand; zero without pixels."""
    logits, labels = random_batch(k, ignored)
    weights = torch.rand(k) + 0.5 if is_weighted else None
    single = nnf.cross_entropy(
        logits, labels, ignore_index=255, label_smoothing=smoothing, reduction="none"
    )
    valid = labels != 255
    if weights is not None:
        single = single * weights[labels.where(valid, 0)]
    found = sorted(single[valid].tolist(), reverse=True)
    kept = found[: math.ceil(share * len(found))]
    expected = sum(kept) / max(len(kept), 1)
    options = (labels, 255, smoothing, weights, share)
    by_autograd = torch.zeros_like(logits)
    if kept:
        hardest = (single * valid).flatten().topk(len(kept)).values
        (by_autograd,) = torch.autograd.grad(hardest.mean(), logits)
    for ce in (cross_entropy(logits, *options), cross_entropy_and_dice(logits, *options)[0]):
        torch.testing.assert_close(ce.item(), expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(torch.autograd.grad(ce, logits)[0], by_autograd)


def test_hard_pixels_cost_one_softmax(monkeypatch):
    """Cross-entropy and Dice take it from the same pass over the logits."""
    monkeypatch.setattr(module, "_torch_losses", None)
    logits, labels = random_batch(3, 0.3)
    assert all(cross_entropy_and_dice(logits, labels, 255, hard_share=0.5))
