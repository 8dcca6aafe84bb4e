"""Functions in blocks of rows, and the modulation of features, against autograd."""

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st

from network.models import row_blocks
from network.models.d2ls import D2LS
from network.models.head import PixelShuffleHead
from network.models.modulation import _modulate, modulate
from network.models.row_blocks import by_rows
from network.models.sum_product import _sum_product, sum_product


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def assert_equal_gradients(function, plain, *inputs):
    expected, actual = plain(*inputs), function(*inputs)
    torch.testing.assert_close(actual, expected)
    gradient = torch.randn_like(expected)
    needed = [x for x in inputs if x.requires_grad]
    torch.testing.assert_close(
        torch.autograd.grad(actual, needed, gradient),
        torch.autograd.grad(expected, needed, gradient),
    )


@settings(deadline=None, max_examples=30)
@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 9),
    block=st.sampled_from([1, 40, 130, 10**6]),
    is_shared=st.booleans(),
    is_frozen=st.booleans(),
)
def test_blocks_change_nothing(batch, rows, block, is_shared, is_frozen):
    """One map of all images and one that they may share; vectors of images and of all."""
    features = double(batch, rows, 4, 5)
    position = double(1 if is_shared else batch, rows, 4, 5).detach()
    vectors, weight = double(1 if is_shared else batch, 3, 5), double(5)
    weight.requires_grad_(not is_frozen)

    def plain(features, position, vectors, weight):
        product = nnf.gelu((features + position) * weight).flatten(1, 2) @ vectors.mT
        maps = product.unflatten(1, features.shape[1:3]).movedim(-1, 1)
        return maps.repeat_interleave(2, dim=2)

    def function(features, position, *vectors):
        return by_rows(plain, [features, position], *vectors, dim=2, scale=2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "BLOCK", block)
        assert_equal_gradients(function, plain, features, position, vectors, weight)


def test_head_in_blocks(monkeypatch):
    monkeypatch.setattr(row_blocks, "BLOCK", 100)
    head = PixelShuffleHead(32).double()
    torch.nn.init.uniform_(head.norm.weight)
    norm = head.norm.weight, head.norm.bias
    vectors = double(2, 4, 2)
    assert_equal_gradients(
        lambda x, v, *_: head.segment(x, v),
        lambda x, v, *norm: head._segment(x, v, *norm),
        *(double(2, 5, 3, 32), vectors, *norm),
    )


def test_autocast_is_that_of_the_forward_pass(monkeypatch):
    monkeypatch.setattr(row_blocks, "BLOCK", 50)
    head, features, vectors = PixelShuffleHead(32), torch.randn(1, 4, 4, 32), torch.randn(1, 3, 2)
    features.requires_grad_()

    def gradient(function):
        with torch.autocast("cpu", torch.bfloat16):
            logits = function()
        assert logits.dtype == torch.bfloat16
        return torch.autograd.grad(logits.float().square().sum(), features)[0]

    norm = head.norm.weight, head.norm.bias
    torch.testing.assert_close(
        gradient(lambda: head.segment(features, vectors)),
        gradient(lambda: head._segment(features, vectors, *norm)),
    )


def test_d2ls_in_blocks(monkeypatch):
    """Both attentions of D2LS, with all parameters."""
    torch.manual_seed(0)
    model = D2LS(3, "test_convnext", None, dim=16, layers=1).double().train()
    image = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradients():
        output = model(image)
        total = output.logits.square().mean() + output.aux_logits.square().mean()
        return total, *torch.autograd.grad(total, parameters, allow_unused=True)

    whole = gradients()
    monkeypatch.setattr(row_blocks, "BLOCK", 64)
    torch.testing.assert_close(gradients(), whole)


def test_d2ls_predicts_in_blocks(monkeypatch):
    torch.manual_seed(0)
    model = D2LS(3, "test_convnext", None, dim=16, layers=1).eval()
    image = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        whole = model(image).logits
        monkeypatch.setattr(row_blocks, "BLOCK", 64)
        torch.testing.assert_close(model(image).logits, whole)


def test_sum_product():
    inputs = double(2, 3, 1), double(2, 3, 4), double(2, 7, 4), double(1, 7, 4).detach()
    assert_equal_gradients(sum_product, _sum_product, *inputs)
    assert torch.autograd.gradcheck(sum_product, inputs)


def test_modulation():
    inputs = double(2, 7, 3), double(2, 3, 4), double(2, 3, 4), double(2, 7, 4)
    assert_equal_gradients(modulate, _modulate, *inputs)
    assert torch.autograd.gradcheck(modulate, inputs)
