"""The sums in blocks against those by autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from network.losses import softmax_sums as module
from network.losses.pixel import cross_entropy_and_dice
from network.losses.softmax_sums import plain_softmax_sums, softmax_sums


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks that are smaller than an image, and divide no image evenly."""
    monkeypatch.setattr(module, "BLOCK", 17)


def random_case(k, share_ignored, is_resized, is_weighted):
    size = (3, 4) if is_resized else (11, 9)
    logits = 3 * torch.randn(2, k, *size, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, k, (2, 11, 9))
    labels = labels.masked_fill(torch.rand(labels.shape) < share_ignored, 255)
    return logits, labels, torch.rand(k) + 0.5 if is_weighted else None


@settings(deadline=None, max_examples=30)
@given(
    k=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.4, 1.0]),
    is_resized=st.booleans(),
    is_weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1]),
    each_pixel=st.booleans(),
)
def test_equals_autograd(k, share, is_resized, is_weighted, smoothing, each_pixel):
    logits, labels, weights = random_case(k, share, is_resized, is_weighted)
    options = labels, 255, smoothing, weights
    expected = plain_softmax_sums(logits, *options, each_pixel=each_pixel)
    actual = softmax_sums(logits, *options, each_pixel=each_pixel)
    assert actual.losses.shape == (labels.shape if each_pixel else ())
    torch.testing.assert_close(actual, expected)
    assert torch.equal(actual.pixels.sum(), (labels != 255).sum())
    gradients = [torch.randn_like(found) for found in expected[:3]]
    torch.testing.assert_close(
        torch.autograd.grad(actual[:3], logits, gradients),
        torch.autograd.grad(expected[:3], logits, gradients),
    )


@pytest.mark.parametrize("each_pixel", [False, True])
def test_gradcheck(each_pixel):
    logits, labels, weights = random_case(3, 0.3, True, True)
    assert torch.autograd.gradcheck(
        lambda x: softmax_sums(x, labels, 255, 0.1, weights, each_pixel=each_pixel)[:3],
        logits,
        atol=1e-6,
    )


def test_ignored_pixels_may_have_any_logits():
    """Infinite logits where nothing is labeled change neither the sums nor the other gradients."""
    logits, labels, _ = random_case(3, 0.3, False, False)
    spoiled = logits.detach().masked_fill(labels[:, None] == 255, 1e30).requires_grad_()
    pairs = [
        torch.autograd.grad(sum(cross_entropy_and_dice(x, labels, 255, 0.1)), x)[0]
        for x in (logits, spoiled)
    ]
    torch.testing.assert_close(*pairs)


def test_not_a_number_is_told():
    logits = torch.full((1, 2, 3, 3), torch.nan)
    assert all(
        loss.isnan() for loss in cross_entropy_and_dice(logits, torch.zeros(1, 3, 3).long(), 255)
    )


def test_autocast_changes_nothing():
    logits, labels, weights = random_case(4, 0.2, True, True)
    logits = logits.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = softmax_sums(logits, labels, 255, 0.1, weights)
    expected = softmax_sums(logits, labels, 255, 0.1, weights)
    assert all(map(torch.equal, mixed, expected))


def test_half_precision_keeps_its_type():
    logits, labels, weights = random_case(4, 0.2, False, True)
    logits = logits.detach().bfloat16().requires_grad_()
    sums = softmax_sums(logits, labels, 255, 0.1, weights)
    assert {found.dtype for found in sums[:3]} == {torch.float32}
    sum(found.sum() for found in sums[:3]).backward()
    assert logits.grad.dtype == torch.bfloat16
