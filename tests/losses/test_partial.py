"""Partial cross-entropy: values by hand, torch's loss as a special case, and its gradients."""

import math

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st

from network.errors import InputError
from network.losses.partial import PartialCrossEntropy, partial_focal_loss
from network.losses.weights import class_weights
from network.models.output import SegOutput

IGNORE = 255


def test_by_hand():
    """Two labeled pixels of three classes, p = 2/4 of class 0 and 1/5 of class 2."""
    logits = torch.zeros(1, 3, 1, 3)
    logits[0, 0, 0, 0] = math.log(2)  # 2, 1, 1
    logits[0, 1, 0, 2] = math.log(3)  # 1, 3, 1
    labels = torch.tensor([[[0, IGNORE, 2]]])
    weights = torch.tensor([0.5, 9.0, 3.0])
    terms = [0.5 * 0.5**2 * math.log(2), 3 * 0.8**2 * math.log(5)]
    by_count = partial_focal_loss(logits, labels, IGNORE, weights=weights)
    assert by_count.item() == pytest.approx(sum(terms) / 2)
    by_weight = partial_focal_loss(logits, labels, IGNORE, weights=weights, normalizer="weight")
    assert by_weight.item() == pytest.approx(sum(terms) / 3.5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 1), weighted=st.booleans())
def test_torchs_cross_entropy(seed, share, weighted):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(2, 4, 6, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (2, 6, 5), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) > share] = IGNORE
    labels[0, 0, 0] = 1
    weights = torch.rand(4, generator=generator, dtype=torch.float64) if weighted else None
    found = partial_focal_loss(logits, labels, IGNORE, 0.0, weights, "weight")
    expected = nnf.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
    torch.testing.assert_close(found, expected)


def test_mask_is_the_ignore_label():
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    mask = torch.rand(2, 4, 4) < 0.3
    expected = partial_focal_loss(logits, labels.where(mask, IGNORE), IGNORE)
    assert partial_focal_loss(logits, labels, IGNORE, mask=mask).equal(expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients(gamma):
    """None at pixels without label; finite where the network is all but certain."""
    logits = torch.randn(1, 3, 4, 4)
    logits[0, :, 0, 0] = torch.tensor([200.0, 0, 0])
    logits[0, :, 0, 1] = torch.tensor([200.0, 0, 0])
    logits.requires_grad_()
    labels = torch.full((1, 4, 4), IGNORE)
    labels[0, 0] = torch.tensor([0, 1, 2, IGNORE])
    loss = partial_focal_loss(logits, labels, IGNORE, gamma)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    labeled = (labels != IGNORE)[:, None].expand_as(logits)
    assert not logits.grad[~labeled].any()
    assert logits.grad[0, :2, 0, 1].abs().min() > 0  # surely wrong
    assert logits.grad[0, :, 0, 2].abs().min() > 0


@pytest.mark.parametrize("normalizer", ["count", "weight"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nothing_labeled(normalizer, dtype):
    logits = torch.randn(2, 3, 4, 4, dtype=dtype, requires_grad=True)
    labels = torch.full((2, 4, 4), IGNORE)
    loss = partial_focal_loss(logits, labels, IGNORE, normalizer=normalizer)
    loss.backward()
    assert loss.item() == 0
    assert loss.dtype == torch.float32
    assert not logits.grad.any()


def test_half_precision():
    """Computed in float32: a sum of many float16 losses would overflow."""
    logits = (60 * torch.randn(2, 3, 256, 256)).half()
    labels = torch.randint(0, 3, (2, 256, 256))
    expected = partial_focal_loss(logits.float(), labels, IGNORE)
    assert partial_focal_loss(logits, labels, IGNORE).equal(expected)


def test_loss_of_an_output():
    logits, aux = torch.randn(2, 2, 3, 4, 4)
    labels = torch.randint(0, 3, (2, 4, 4))
    loss = PartialCrossEntropy(IGNORE, gamma=1.0)
    assert loss(SegOutput(logits), labels).keys() == {"partial_ce"}
    loss.set_class_counts([1, 2, 4])
    parts = loss(SegOutput(logits, aux), labels)
    weights = class_weights([1, 2, 4], "inverse", mean="classes")
    expected = [partial_focal_loss(x, labels, IGNORE, 1.0, weights) for x in (logits, aux)]
    assert parts["partial_ce"].equal(expected[0])
    assert parts["aux_ce"].equal(0.4 * expected[1])
    assert not loss.state_dict()
    plain = PartialCrossEntropy(IGNORE, weights="none", counted="dense")
    assert plain.counted is None
    found = plain(SegOutput(logits), labels)["partial_ce"]
    assert found.equal(partial_focal_loss(logits, labels, IGNORE))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "invers"}, "loss.weights=invers.*did you mean 'inverse'"),
        ({"counted": "points"}, "loss.counted=points"),
        ({"normalizer": "mean"}, "loss.normalizer=mean"),
        ({"gamma": -1.0}, r"loss\.gamma=-1\.0: must be at least 0"),
    ],
)
def test_wrong_settings(options, words):
    with pytest.raises(InputError, match=words):
        PartialCrossEntropy(IGNORE, **options)
