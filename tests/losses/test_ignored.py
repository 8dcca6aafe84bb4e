"""A batch in which every label is ignored gives every loss a finite value and gradient."""

import pytest
import torch

from network.buildings.losses import balanced_soft_cross_entropy, multi_scale_consistency
from network.losses.bicor import BiCoRLoss
from network.losses.d2ls import D2LSLoss
from network.losses.joint import JointLoss
from network.losses.partial import PartialCrossEntropy
from network.losses.pixel import cross_entropy
from network.losses.weights import RULES
from network.models.output import SegOutput

IGNORED = 6
LOSSES = {
    "bicor": BiCoRLoss(IGNORED),
    "d2ls": D2LSLoss(IGNORED),
    "joint": JointLoss(IGNORED),
    "joint without smoothing": JointLoss(IGNORED, smoothing=0.0),
    "bicor weighted": BiCoRLoss(IGNORED, weights="sqrt_inverse"),
    "d2ls weighted": D2LSLoss(IGNORED, weights=(1.0, 2.0, 0.0, 1.0, 1.0, 1.0)),
    **{
        f"partial {rule} {normalizer}": PartialCrossEntropy(
            IGNORED, weights=rule, normalizer=normalizer
        )
        for rule in ("none", *RULES)
        for normalizer in ("count", "weight")
    },
}


def leaf(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("batch", [1, 2])
def test_losses_of_a_training(name, batch):
    loss = LOSSES[name]
    if getattr(loss, "counted", None):
        loss.set_class_counts([5, 0, 3, 1, 0, 2])
    tensors = [leaf(batch, 6, 8, 8), leaf(batch, 6, 8, 8), leaf(batch, 6, 2, 2), leaf(batch, 6, 4)]
    output = SegOutput(tensors[0], tensors[1], [tensors[2]], [tensors[3]])
    parts = loss(output, torch.full((batch, 8, 8), IGNORED))
    assert all(part.isfinite() for part in parts.values()), parts
    sum(parts.values()).backward()
    assert all(t.grad is None or t.grad.isfinite().all() for t in tensors)
    assert tensors[0].grad is not None


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits, labels: cross_entropy(logits, labels, IGNORED),
        lambda logits, labels: balanced_soft_cross_entropy(logits, labels, ignore_index=IGNORED),
        lambda logits, labels: multi_scale_consistency(
            [logits, 2 * logits], labels, ignore_index=IGNORED
        ),
    ],
)
def test_losses_by_themselves(loss):
    logits = leaf(2, 6, 8, 8)
    value = loss(logits, torch.full((2, 8, 8), IGNORED))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
