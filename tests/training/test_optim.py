"""AdamW in Lookahead: the algorithm by hand, and a state that can be loaded again."""

import pytest
import torch
from torch import nn
from torch.optim import SGD

from network.errors import InputError
from network.models.bicor import BiCoRSeg
from network.settings import Optim
from network.training.optim import Lookahead, build_optimizer, extend_schedule


def test_lookahead_by_hand():
    """Steps of 1 downward; after the first and each fifth further step, half way back to slow."""
    parameter = nn.Parameter(torch.tensor(0.0))
    optimizer = Lookahead(SGD([parameter], lr=1.0))
    values = []
    for _ in range(7):
        optimizer.zero_grad()
        parameter.sum().backward()
        optimizer.step()
        values.append(parameter.item())
    # Slow starts at the first step's -1; the sixth step reaches -6, half way back is -3.5.
    assert values == [-1, -2, -3, -4, -5, -3.5, -4.5]


def steps(network: nn.Module, optimizer, count: int, start: int) -> None:
    for index in range(start, start + count):
        generator = torch.Generator().manual_seed(index)
        optimizer.zero_grad()
        network(torch.randn(3, 4, generator=generator)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("lookahead", [True, False])
@pytest.mark.parametrize("stop", [0, 3, 5, 6, 8])
def test_resuming_equals_going_on(tmp_path, lookahead, stop):
    """Weights after 12 steps are the same, to the last bit, if state went through a file."""
    optim = Optim(lr=1e-2, epochs=3, lookahead=lookahead)
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer, scheduler = build_optimizer(network, optim)
    steps(network, optimizer, stop, 0)
    if stop:
        scheduler.step()
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
    }
    torch.save(state, tmp_path / "last.ckpt")
    steps(network, optimizer, 12 - stop, stop)

    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    resumed = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    resumed.load_state_dict(state["network"])
    optimizer, scheduler = build_optimizer(resumed, optim)
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    steps(resumed, optimizer, 12 - stop, stop)
    for ours, theirs in zip(resumed.parameters(), network.parameters(), strict=True):
        assert ours.equal(theirs)


def test_schedule():
    """A cosine from lr to min_lr over the epochs; frozen parameters are left out."""
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    optimizer, scheduler = build_optimizer(network, Optim(lr=1e-2, epochs=4))
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    middle = (1e-2 + 1e-6) / 2
    assert rates[0] == 1e-2
    assert rates[2] == pytest.approx(middle)
    assert rates[4] == pytest.approx(1e-6)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["weight_decay"] == 0.01


def test_encoder_has_a_rate_of_its_own():
    """Every parameter is in one group, each on its own cosine."""
    network = nn.Module()
    network.encoder, network.head = nn.Linear(2, 2), nn.Linear(2, 1)
    optim = Optim(lr=1e-2, encoder_lr=1e-3, epochs=2, lookahead=False)
    optimizer, scheduler = build_optimizer(network, optim)
    groups = {group["lr"]: group["params"] for group in optimizer.param_groups}
    assert groups.keys() == {1e-2, 1e-3}
    assert {id(p) for p in groups[1e-3]} == {id(p) for p in network.encoder.parameters()}
    assert {id(p) for p in groups[1e-2]} == {id(p) for p in network.head.parameters()}
    optimizer.step()
    scheduler.step()
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([(1e-2 + 1e-6) / 2, (1e-3 + 1e-6) / 2])


@pytest.mark.parametrize("lookahead", [False, True])
def test_steps(lookahead):
    """A tenth after every two epochs, of each group's own rate."""
    network = nn.Module()
    network.encoder, network.head = nn.Linear(2, 2), nn.Linear(2, 2)
    optim = Optim(lr=1e-2, encoder_lr=1e-3, step=2, epochs=5, lookahead=lookahead)
    optimizer, scheduler = build_optimizer(network, optim)
    rates = []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    falls = [1, 1, 0.1, 0.1, 0.01]
    assert rates == [pytest.approx([1e-2 * fall, 1e-3 * fall]) for fall in falls]


def test_rate_of_an_encoder_that_there_is_not():
    with pytest.raises(InputError, match=r"optim\.encoder_lr=0\.1: this network has no encoder"):
        build_optimizer(nn.Linear(1, 1), Optim(encoder_lr=0.1))


def test_rates_fall_with_depth():
    """The last of four blocks has half the rate, and so on down to the embedding's 1 / 32."""
    network = BiCoRSeg(4, "test_vit3", None, dim=32, out_indices=(0, 1, 2, 3))
    optim = Optim(lr=1e-2, min_lr=1e-3, layer_decay=0.5, epochs=2, lookahead=False)
    optimizer, scheduler = build_optimizer(network, optim)
    names = {p: name for name, p in network.named_parameters()}

    def rates() -> dict[str, float]:
        return {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}

    assert rates().keys() == set(names.values())
    for share in (1, (1 + 0.1) / 2, 0.1):  # begin, middle and end of the cosine
        for name, rate in rates().items():
            expected = 1e-2 * share
            if name.startswith("encoder.body.model.blocks."):
                expected *= 0.5 ** (4 - int(name.split(".")[4]))
            elif name.startswith("encoder.body"):
                expected *= 0.5**5
            assert rate == pytest.approx(expected), name
        optimizer.step()
        scheduler.step()
    # The log shows the rate of the first group, which is the decoder's.
    assert "encoder" not in names[optimizer.param_groups[0]["params"][0]]


def test_depth_and_a_rate_of_the_encoder():
    """The new pyramid is no pretrained part; frozen parameters have no group."""
    network = BiCoRSeg(4, "test_vit", None, dim=32)
    optim = Optim(lr=1e-2, encoder_lr=1e-3, layer_decay=0.5, step=1, epochs=2)
    optimizer, _ = build_optimizer(network, optim)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([1e-2, *(1e-3 * 0.5**n for n in range(1, 8))])
    pyramid = next(network.encoder.pyramid.parameters())
    assert any(p is pyramid for p in optimizer.param_groups[0]["params"])
    frozen = BiCoRSeg(4, "test_vit", None, dim=32, freeze=True)
    for chosen in (optim, Optim(), Optim(encoder_lr=1e-3)):
        assert len(build_optimizer(frozen, chosen)[0].param_groups) == 1


def test_a_longer_schedule_with_depth():
    """After an epoch, the rates are those of a run that was planned longer from the beginning."""
    network = BiCoRSeg(4, "test_vit", None, dim=32)
    short, long = (Optim(lr=1e-2, min_lr=1e-3, layer_decay=0.5, epochs=n) for n in (2, 5))
    expected = build_optimizer(network, long)
    optimizer, scheduler = build_optimizer(network, short)
    for one in (expected, (optimizer, scheduler)):
        one[0].step()
        one[1].step()
    states = {"optimizer_states": [optimizer.state_dict()]}
    states["lr_schedulers"] = [scheduler.state_dict()]
    extend_schedule(states, long)
    rates = [group["lr"] for group in states["optimizer_states"][0]["param_groups"]]
    assert rates == pytest.approx([group["lr"] for group in expected[0].param_groups])
    assert states["lr_schedulers"][0]["_last_lr"] == rates


def test_depth_of_what_has_no_layers():
    with pytest.raises(InputError, match=r"optim\.layer_decay=0\.9: this network has no encoder"):
        build_optimizer(nn.Linear(1, 1), Optim(layer_decay=0.9))
    with pytest.raises(InputError, match=r"optim\.layer_decay=1\.1: must be above 0 and at most"):
        Optim(layer_decay=1.1)
