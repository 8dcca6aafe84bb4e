"""The settings of composite losses reach each of their parts, and the loss of D2LS by hand."""

import math
import re

import pytest
import torch

from network.errors import InputError
from network.losses.bicor import BiCoRLoss
from network.losses.d2ls import D2LSLoss
from network.losses.joint import JointLoss
from network.losses.pixel import cross_entropy, cross_entropy_and_dice
from network.losses.scatter import fisher_loss
from network.models.output import SegOutput

IGNORE = 6


@pytest.fixture
def output() -> SegOutput:
    torch.manual_seed(0)
    return SegOutput(
        logits=torch.randn(2, 6, 16, 16),
        aux_logits=torch.randn(2, 6, 16, 16),
        class_embeddings=[torch.randn(2, 6, 8)],
    )


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(0, 7, (2, 16, 16), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("loss", [JointLoss, BiCoRLoss, D2LSLoss])
def test_hard_pixels_alone_count_in_both_cross_entropies(loss, output, labels):
    parts = loss(IGNORE, smoothing=0.1, hard_share=0.25)(output, labels)
    ce, dice = cross_entropy_and_dice(output.logits, labels, IGNORE, smoothing=0.1, hard_share=0.25)
    aux = cross_entropy(output.aux_logits, labels, IGNORE, smoothing=0.1, hard_share=0.25)
    torch.testing.assert_close(parts["ce"], ce)
    torch.testing.assert_close(parts["dice"], dice)
    torch.testing.assert_close(parts["aux_ce"], 0.4 * aux)
    every = loss(IGNORE, smoothing=0.1)(output, labels)
    assert parts["ce"] > every["ce"]
    assert parts["aux_ce"] > every["aux_ce"]


@pytest.mark.parametrize("loss", [JointLoss, BiCoRLoss, D2LSLoss])
@pytest.mark.parametrize("share", [0.0, -0.5, 1.1])
def test_shares_of_hard_pixels_out_of_range(loss, share):
    with pytest.raises(InputError, match=f"loss.hard_share={share}"):
        loss(IGNORE, hard_share=share)


def test_the_contrastive_part_of_d2ls(output, labels):
    """Its between-class scatter is a mean over pairs of classes, computed here one by one."""
    parts = D2LSLoss(IGNORE, contrastive=0.3)(output, labels)
    (dictionary,) = output.class_embeddings
    means = dictionary.mean(dim=0)
    within = (dictionary - means).square().sum(dim=2).mean()
    pairs = [(means[i] - means[j]).square().sum() for i in range(6) for j in range(i)]
    expected = 0.3 * within / (torch.stack(pairs).mean() + 1e-6)
    torch.testing.assert_close(parts["contrastive"], expected)
    torch.testing.assert_close(fisher_loss(dictionary, pairwise=True), expected / 0.3)
    assert "contrastive" not in D2LSLoss(IGNORE, contrastive=0.0)(output, labels)


@pytest.mark.parametrize(
    ("loss", "values", "words"),
    [
        (JointLoss, {"smoothing": 1.5}, "loss.smoothing=1.5: must be at least 0 and below 1"),
        (JointLoss, {"smoothing": -1}, "loss.smoothing=-1"),
        (JointLoss, {"aux": -3}, "loss.aux=-3: must be at least 0"),
        (BiCoRLoss, {"heatmap": math.nan}, "loss.heatmap=nan"),
        (BiCoRLoss, {"fisher": -1}, "loss.fisher=-1"),
        (D2LSLoss, {"contrastive": math.inf}, "loss.contrastive=inf"),
    ],
)
def test_numbers_that_make_no_loss(loss, values, words):
    with pytest.raises(InputError, match=re.escape(words)):
        loss(255, **values)
