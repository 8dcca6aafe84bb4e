"""The composite loss: its parts by name, their weights, and what is missing."""

import pytest
import torch
import torch.nn.functional as nnf

from network.losses.bicor import BiCoRLoss
from network.losses.pixel import cross_entropy, cross_entropy_and_dice
from network.losses.scatter import fisher_loss
from network.models.output import SegOutput

IGNORE = 6


@pytest.fixture
def output() -> SegOutput:
    return SegOutput(
        logits=torch.randn(2, 6, 32, 32, requires_grad=True),
        aux_logits=torch.randn(2, 6, 32, 32, requires_grad=True),
        heatmaps=[torch.randn(2, 6, 8, 8, requires_grad=True) for _ in range(2)],
        class_embeddings=[torch.randn(2, 6, 16, requires_grad=True) for _ in range(2)],
    )


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(0, 7, (2, 32, 32))


def test_golden_main_and_auxiliary(golden):
    arrays = golden("losses")
    output = SegOutput(arrays["in/logits"], arrays["in/aux_logits"])
    parts = BiCoRLoss(IGNORE)(output, arrays["in/labels"])
    assert set(parts) == {"ce", "dice", "aux_ce"}
    expected = arrays["out/main_plus_0.4_aux"]
    torch.testing.assert_close(sum(parts.values()), expected, atol=1e-5, rtol=0)


def test_parts(output, labels):
    parts = BiCoRLoss(IGNORE)(output, labels)
    ce, dice = cross_entropy_and_dice(output.logits, labels, IGNORE, 0.05)
    up = [nnf.interpolate(h, size=(32, 32), mode="bilinear") for h in output.heatmaps]
    heatmaps = [cross_entropy_and_dice(h, labels, IGNORE, 0.05) for h in up]
    expected = {
        "ce": ce,
        "dice": dice,
        "aux_ce": 0.4 * cross_entropy(output.aux_logits, labels, IGNORE, 0.05),
        "heatmap_ce": 0.1 * (heatmaps[0][0] + heatmaps[1][0]),
        "heatmap_dice": 0.1 * (heatmaps[0][1] + heatmaps[1][1]),
        "fisher": 0.1 * sum(fisher_loss(e) for e in output.class_embeddings),
    }
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value)


def test_reference_terms(output, labels):
    """The released LoveDA config: pairwise scatter, and the last layer once more, unweighted."""
    parts = BiCoRLoss(IGNORE, fisher_pairwise=True, fisher_last=1.0)(output, labels)
    layers = [fisher_loss(e, pairwise=True) for e in output.class_embeddings]
    torch.testing.assert_close(parts["fisher"], 0.1 * sum(layers))
    torch.testing.assert_close(parts["fisher_last"], layers[1])


def test_weight_zero_leaves_a_part_out(output, labels):
    """But for the auxiliary one, whose parameters nothing else reaches."""
    parts = BiCoRLoss(IGNORE, aux=0, heatmap=0, fisher=0)(output, labels)
    assert parts.keys() == {"ce", "dice", "aux_ce"}
    assert parts["aux_ce"] == 0
    assert parts["aux_ce"].requires_grad


def test_batch_of_two_is_no_pair_of_outputs(labels):
    """The released loss takes any tensor of length two for (main, auxiliary)."""
    logits = torch.randn(2, 6, 32, 32)
    assert BiCoRLoss(IGNORE)(SegOutput(logits), labels).keys() == {"ce", "dice"}


def test_no_valid_pixel(output):
    labels = torch.full((2, 32, 32), IGNORE)
    parts = BiCoRLoss(IGNORE)(output, labels)
    fisher = parts.pop("fisher")
    assert fisher > 0  # of the embeddings alone
    assert all(part == 0 for part in parts.values())
    (sum(parts.values()) + fisher).backward()
    for tensor in (output.logits, output.aux_logits, *output.heatmaps):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))
