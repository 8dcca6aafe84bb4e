"""The steps of the training task: rates, parts of the loss, and networks that return nonsense."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from network.config import override
from network.errors import InputError
from network.losses.joint import JointLoss
from network.models.output import SegOutput
from network.training.task import SegmentationTask
from network.training.train import train
from tests.conftest import tiny_experiment


class Wrong(nn.Module):
    """Returns something else than it should."""

    def __init__(self, result):
        super().__init__()
        self.scale, self.result = nn.Parameter(torch.ones(())), result

    def forward(self, image):
        return self.result(image * self.scale)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda x: x, "model: returns a Tensor; return SegOutput"),
        (lambda x: SegOutput(x), r"logits of the shape \(2, 3, 32, 32\), not \(2, 6, 32, 32\)"),
        (lambda x: SegOutput(x[..., ::4, ::4].repeat(1, 2, 1, 1)), r"the shape \(2, 6, 8, 8\)"),
        (lambda x: SegOutput([x]), "model: returns a list; return SegOutput"),
        (lambda x: SegOutput(x.repeat(1, 2, 1, 1), x), r"returns aux_logits of the shape \(2, 3"),
    ],
)
def test_what_a_network_returns(tmp_path, result, words):
    task = SegmentationTask(tiny_experiment(tmp_path), model=Wrong(result))
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(InputError, match=words):
        task.training_step({"image": images, "labels": images[:, 0]}, 0)


@pytest.mark.slow
def test_a_training_that_is_refused_leaves_no_run(tmp_path, monkeypatch):
    """Its number is free again, so version_0 is the first one with weights."""
    monkeypatch.chdir(tmp_path)
    experiment = tiny_experiment(tmp_path / "data")
    with pytest.raises(InputError, match="return SegOutput"):
        train(replace(experiment, model=partial(Wrong, lambda x: x)), accelerator="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert train(experiment, accelerator="cpu").name == "version_0"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda x: x.mean(), "loss: returns a Tensor; return a dict of the weighted parts"),
        (lambda x: (x.mean(),), "loss: returns a tuple"),
        (lambda x: {}, "loss: returns an empty dict"),
        (lambda x: {"ce": 1.0}, "loss: its part 'ce' is a float"),
        (lambda x: {"ce": None}, "loss: its part 'ce' is a NoneType"),
        (lambda x: {"ce": x}, r"loss: its part 'ce' is a \(2, 6, 32, 32\)"),
        (
            lambda x: {"loss": x.mean(), "ce": x.mean()},
            "loss: names a part 'loss'; no part is loss, mIoU",
        ),
        (lambda x: {"mIoU": x.mean()}, "loss: names a part 'mIoU'"),
        (lambda x: {3: x.mean()}, "loss: names a part 3"),
    ],
)
def test_what_a_loss_returns(tmp_path, result, words):
    task = SegmentationTask(tiny_experiment(tmp_path))
    task.loss = Wrong(lambda output: None)
    task.loss.forward = lambda output, labels: result(output.logits)
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(InputError, match=words):
        task.training_step({"image": images, "labels": images[:, 0]}, 0)


def test_a_loss_with_another_ignored_label(tmp_path):
    experiment = replace(tiny_experiment(tmp_path), loss=partial(JointLoss, 255))
    with pytest.raises(InputError, match=r"loss: ignores the label 255, .* has 6; give 6"):
        SegmentationTask(experiment)


class Spy(torch.optim.SGD):
    """Notes the rate of each step."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.5)
        self.rates: list[float] = []

    def step(self, closure=None):
        self.rates.append(self.param_groups[0]["lr"])


def test_the_warm_up_ends_at_the_rate_of_the_schedule(tmp_path):
    experiment = override(tiny_experiment(tmp_path), ["optim.warmup=4"])
    task = SegmentationTask(experiment)
    spy = Spy(task.parameters())
    for step in range(7):
        task._trainer = SimpleNamespace(global_step=step)
        task.optimizer_step(0, step, spy)
        assert spy.param_groups[0]["lr"] == 0.5  # from which the schedule goes on
    assert spy.rates == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.5]


class Sign(nn.Module):
    """Six classes; the logit of the first is a weight times the first band, the others are 0."""

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, image):
        logits = image.new_zeros(len(image), 6, *image.shape[2:])
        return SegOutput(torch.cat([self.weight * image[:, :1], logits[:, 1:]], dim=1))


class Mean(nn.Module):
    """The mean of all logits, times a factor."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, output, labels):
        return {"mean": self.factor * output.logits.mean()}


def test_the_part_of_unlabeled_images_by_hand(tmp_path):
    """The average labels, the network learns; unknown and unsure pixels do not count."""
    teacher = ["optim.ema=0.9", "teacher.weight=0.5", "teacher.threshold=0.9", "teacher.mix=0"]
    experiment = override(tiny_experiment(tmp_path), [*teacher, "data.unlabeled=val"])
    task = SegmentationTask(experiment, model=Sign())
    task.setup("fit")
    task.average.average["weight"].fill_(50.0)
    task.normalize = nn.Identity()
    task.loss = Mean(0.0)
    images = torch.zeros(2, 3, 32, 32)
    images[:, 0] = 1.0
    images[0, 0, :, 16:] = 0.01  # there the average gives the first class 0.25 only
    known = torch.ones(2, 32, 32, dtype=torch.bool)
    known[1, 8:] = False
    strong = images.clone()
    strong[1] *= 3
    batch = {"image": images, "labels": torch.zeros(2, 32, 32), "unlabeled": images}
    loss = task.training_step(batch | {"known": known, "strong": strong}, 0)
    counted = torch.tensor([32 * 16, 8 * 32])
    logits = torch.tensor([[1.0, 0, 0, 0, 0, 0], [3.0, 0, 0, 0, 0, 0]])
    losses = -logits.log_softmax(dim=1)[:, 0]
    torch.testing.assert_close(loss.detach(), 0.5 * (losses * counted).sum() / (2 * 32 * 32))


def test_the_validation_loss_is_a_mean_over_pixels(tmp_path):
    """Not over batches: of one image alone, nearly all pixels are ignored."""
    task = SegmentationTask(tiny_experiment(tmp_path), model=Sign())
    task.normalize = nn.Identity()
    task.loss = Mean(1.0)
    ignore = task.experiment.dataset.ignore_index
    for value, count in ((6.0, 32 * 32), (60.0, 8)):
        labels = torch.full((1, 32, 32), ignore)
        labels.view(-1)[:count] = 0
        batch = {"image": torch.full((1, 3, 32, 32), value), "labels": {"full": labels}}
        task.validation_step(batch, 0)
    expected = (1.0 * 32 * 32 + 10.0 * 8) / (32 * 32 + 8)
    assert task.val_loss.compute().item() == pytest.approx(expected)


def test_names_that_differ_in_a_dot_are_logged_apart(tmp_path, monkeypatch):
    """Classes may be called no.1 and no_1; torch forbids dots in the names of modules."""
    task, found = SegmentationTask(tiny_experiment(tmp_path)), {}
    monkeypatch.setattr(task, "log", lambda name, mean, **_: found.update({name: mean.compute()}))
    task._log_shared({"val/IoU/no.1": 0.25, "val/IoU/no_1": 0.75, "type": 0.5})
    assert found == {"val/IoU/no.1": 0.25, "val/IoU/no_1": 0.75, "type": 0.5}
