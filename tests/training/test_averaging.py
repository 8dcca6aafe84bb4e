"""The moving average of weights, by hand and against torch's own."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from network.errors import InputError
from network.training.averaging import TRAINED_KEY, WeightAverage
from network.training.resume import _check_trained


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def change(model: nn.Module, step: int) -> None:
    torch.manual_seed(step)
    model(torch.randn(2, 2, 4, 4))  # moves the means of the batch normalization
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_by_hand():
    """d is 2 / 11 after the first step, 3 / 12 after the second, and never more than 0.2."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(11.0)
    average = WeightAverage(model, decay=0.2)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average.update(model, 1)
    assert average.average["weight"].item() == pytest.approx(2.0)
    average.update(model, 1)  # a step counts once, although several batches make it
    assert average.average["weight"].item() == pytest.approx(2.0)
    average.update(model, 2)
    assert average.average["weight"].item() == pytest.approx(2.0 * 0.2)


def test_equals_torch():
    def rule(averaged, current, steps):
        decay = min(0.7, (1 + steps) / (10 + steps))
        return decay * averaged + (1 - decay) * current

    model = network()
    library = AveragedModel(model, avg_fn=rule, use_buffers=False)
    library.n_averaged.fill_(1)  # with 0 it would copy the first weights
    average = WeightAverage(model, decay=0.7)
    for step in range(1, 30):
        change(model, step)
        average.update(model, step)
        library.n_averaged.fill_(step)
        library.update_parameters(model)
    for name, value in library.module.named_parameters():
        torch.testing.assert_close(average.average[name], value.detach())
    assert average.average["1.num_batches_tracked"] == 29
    own = average.average["1.running_mean"]
    assert not torch.allclose(own, model.state_dict()["1.running_mean"])


def test_swapping_twice_changes_nothing():
    model = network()
    average = WeightAverage(model, decay=0.9)
    change(model, 1)
    average.update(model, 1)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    mean = {n: v.clone() for n, v in average.average.items()}
    average.swap(model)
    assert all(v.equal(mean[n]) for n, v in model.state_dict().items())
    average.swap(model)
    assert all(v.equal(before[n]) for n, v in model.state_dict().items())
    assert all(v.equal(mean[n]) for n, v in average.average.items())


def test_infinite_constants_stay():
    """Such as the mask of an attention."""
    model = network()
    model.register_buffer("mask", torch.tensor([0.5, -torch.inf]))
    average = WeightAverage(model, decay=0.9)
    for step in range(1, 4):
        change(model, step)
        average.update(model, step)
    assert average.average["mask"].tolist() == [0.5, -torch.inf]


def test_a_checkpoint_may_hold_infinite_constants():
    model = network()
    model.register_buffer("mask", torch.tensor([0.5, -torch.inf]))
    optim = SimpleNamespace(ema=0.9)
    task = SimpleNamespace(model=model, experiment=SimpleNamespace(optim=optim))
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    resumed = SimpleNamespace(path=Path("last.ckpt"), content={TRAINED_KEY: trained})
    _check_trained(resumed, task)
    trained["0.weight"][0] = torch.inf
    with pytest.raises(InputError, match=r"last\.ckpt: 0\.weight is not finite"):
        _check_trained(resumed, task)


def test_shared_tensors_are_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with pytest.raises(InputError, match=r"optim\.ema: 1\.weight and 0\.weight .* are one tensor"):
        WeightAverage(model, decay=0.9)
