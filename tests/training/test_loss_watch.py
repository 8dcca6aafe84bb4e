"""A training ends at the first loss that is not finite, and saves nothing that is not finite."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from network.config import Experiment
from network.errors import InputError
from network.losses.joint import JointLoss
from network.models.checkpoint import first_not_finite
from network.models.output import SegOutput
from network.settings import Optim
from network.training.loss_watch import LossWatch
from network.training.train import train

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"loss": NAN, "ce": 1.0, "dice": NAN}, "step 7: the loss is nan (its dice nan); lower"),
        ({"loss": INF, "ce": INF, "dice": 2.0}, "step 7: the loss is inf (its ce inf); lower"),
        ({"loss": NAN, "ce": INF, "dice": -INF}, "the loss is nan (its ce inf, dice -inf)"),
    ],
)
def test_the_part_is_named(parts, told):
    values = {name: torch.tensor(value) for name, value in parts.items()}
    with pytest.raises(InputError) as caught:
        LossWatch().look(values, "step 7: {}; lower it".format)
    assert told in str(caught.value)


def test_finite_losses_pass():
    watch = LossWatch()
    for value in (0.0, -3.0, 1e38):
        watch.look({"loss": torch.tensor(value)}, str)
        watch.check()


def test_where_a_first_number_is_not_finite():
    state = {
        "a": torch.ones(2),
        "b": [{"c": torch.tensor([1, 2])}, {"d": torch.tensor([1.0, INF])}],
    }
    assert first_not_finite(state) == "b.1.d"
    state["b"][1]["d"][1] = 0.0
    assert first_not_finite(state) is None
    assert (
        first_not_finite({"empty": torch.zeros(0), "half": torch.tensor(NAN).bfloat16()}) == "half"
    )


class LateLoss(JointLoss):
    """Goes wrong in the second epoch: in its loss, in the gradient alone, or in the validation."""

    kind = "loss"

    def __init__(self) -> None:
        super().__init__(6)
        self.calls = {True: 0, False: 0}

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        parts = super().forward(output, labels)
        is_training = output.logits.requires_grad
        self.calls[is_training] += 1
        if self.calls[is_training] > 1:
            if self.kind == "gradient" and is_training:
                output.logits.register_hook(lambda gradient: gradient * NAN)
            elif is_training == (self.kind == "loss"):
                parts["dice"] = parts["dice"] * NAN
        return parts


class LossLate(LateLoss):
    kind = "loss"


class GradientLate(LateLoss):
    kind = "gradient"


class ValidationLate(LateLoss):
    kind = "validation"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (LossLate, "epoch 2 of 5, step 1 of 1: the loss is nan (its dice nan); train anew with a"),
        (
            GradientLate,
            "epoch 2 of 5: the loss of the validation is not finite; train",
        ),
        (
            ValidationLate,
            "epoch 2 of 5: the loss of the validation is not finite; train",
        ),
    ],
)
def test_the_epoch_before_stays(tiny: Experiment, loss, told):
    wrong = replace(tiny, loss=loss, optim=Optim(epochs=5))
    with pytest.raises(InputError) as caught:
        train(wrong, accelerator="cpu")
    assert str(caught.value).startswith(told)
    assert "epochs before are kept" in str(caught.value)
    for name in ("best", "last"):
        saved = torch.load(Path(f"model_weights/tiny/version_0/{name}.ckpt"), weights_only=True)
        assert saved["epoch"] == 0
        assert first_not_finite([saved["state_dict"], saved.get("optimizer_states")]) is None


def test_one_batch_of_a_validation(tiny):
    """A mean that leaves out what is no number would hide it."""
    data = replace(tiny.data, train="val", val="train", repeat=2, val_batch_size=1)
    wrong = replace(tiny, loss=ValidationLate, data=data)
    with pytest.raises(InputError, match="epoch 1 of 1: the loss of the validation is not finite"):
        train(wrong, accelerator="cpu")


def test_without_validation_weights_are_looked_at(tiny):
    data = replace(tiny.data, val=None)
    wrong = replace(tiny, loss=GradientLate, optim=Optim(epochs=2), data=data)
    with pytest.raises(InputError, match=r"last\.ckpt: not written, model\..* is not finite after"):
        train(wrong, accelerator="cpu")
    saved = torch.load("model_weights/tiny/version_0/last.ckpt", weights_only=True)
    assert saved["epoch"] == 0


class Masked(nn.Module):
    """A network with a constant that is meant to be infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 1)
        self.register_buffer("mask", torch.tensor(-INF))

    def forward(self, image: Tensor, details: bool = False) -> SegOutput:
        return SegOutput(self.layer(image))


@pytest.mark.slow
def test_constants_of_a_network_may_be_infinite(tiny):
    run = train(replace(tiny, model=Masked, loss=lambda: JointLoss(6)), accelerator="cpu")
    assert torch.load(run / "last.ckpt", weights_only=True)["state_dict"]["model.mask"] == -INF
