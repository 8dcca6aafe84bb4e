"""The optimizer AdamW, optionally in Lookahead, and the schedule of the learning rate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import cos, pi
from typing import Any

import torch
from catalyst.contrib.optimizers.lookahead import Lookahead as CatalystLookahead
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from network.contracts import LayeredEncoder, encoder_of
from network.errors import InputError
from network.settings import Optim

SCALE = "lr_scale"
"""Key of the factor on the learning rate of a group, as timm calls it."""


class Lookahead(CatalystLookahead):
    """The Lookahead optimizer of catalyst (Zhang et al., NeurIPS 2019), with a loadable state.

    The parent class uses ``id()`` as keys of its slow weights, which are invalid in another
    process, and its ``load_state_dict`` fails. Here they are saved in the order of the parameters.

    Args:
        optimizer: the inner optimizer.
        k: number of its steps between two steps of the slow weights.
        alpha: step size of the slow weights.
    """

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5):
        super().__init__(optimizer, k=k, alpha=alpha)
        # The parent skips torch's own constructor; this adds the hooks that torch needs.
        self.__setstate__({})

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        slow = [self.state[parameter].get("slow_param") for parameter in self._parameters()]
        return {**self.optimizer.state_dict(), "slow_params": slow}

    def load_state_dict(self, state_dict: dict) -> None:
        state = dict(state_dict)
        slow_params = state.pop("slow_params")
        self.optimizer.load_state_dict(state)
        # Loading replaces the groups and the state of the inner optimizer.
        self.param_groups, self.fast_state = self.optimizer.param_groups, self.optimizer.state
        for parameter, slow in zip(self._parameters(), slow_params, strict=True):
            self.state[parameter].clear()
            if slow is not None:
                self.state[parameter]["slow_param"] = slow.to(parameter, copy=True)

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


class LayerCosineLR(CosineAnnealingLR):
    """The cosine schedule for groups whose rates differ by a factor, also at its end.

    The factor is the entry ``lr_scale`` of a group.
    """

    def get_lr(self) -> list[float | Tensor]:
        ends = [self.eta_min * group[SCALE] for group in self.optimizer.param_groups]
        return [
            cosine_rate(base, end, self.last_epoch, self.T_max)
            for base, end in zip(self.base_lrs, ends, strict=True)
        ]


def build_optimizer(network: nn.Module, optim: Optim) -> tuple[Optimizer, LRScheduler]:
    """Build the optimizer of the trainable parameters and its schedule, with one step per epoch.

    Args:
        network: the network; it needs an ``encoder`` if ``optim.encoder_lr`` is given, and a
            :class:`network.contracts.LayeredEncoder` if ``optim.layer_decay`` is not 1.
        optim: the settings.

    Raises:
        InputError: the network has no such encoder.
    """
    optimizer: Optimizer = AdamW(
        _groups(network, optim), lr=optim.lr, weight_decay=optim.weight_decay
    )
    if optim.lookahead:
        optimizer = Lookahead(optimizer)
    if optim.step:
        return optimizer, StepLR(optimizer, optim.step)
    if optim.layer_decay < 1:
        return optimizer, LayerCosineLR(optimizer, optim.epochs, optim.min_lr)
    return optimizer, CosineAnnealingLR(optimizer, T_max=optim.epochs, eta_min=optim.min_lr)


def _groups(network: nn.Module, optim: Optim) -> list[dict[str, Any]]:
    """Sort the trainable parameters into groups of one learning rate each, the decoder's first."""
    encoder = set() if optim.encoder_lr is None else _encoder_parameters(network, optim.encoder_lr)
    scales = {} if optim.layer_decay == 1 else layer_scales(network, optim.layer_decay)
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        in_encoder, scale = parameter in encoder, scales.get(parameter, 1.0)
        rate = optim.encoder_lr if in_encoder and optim.encoder_lr is not None else optim.lr
        group = {"params": [], "lr": rate * scale} | ({SCALE: scale} if scales else {})
        groups.setdefault((in_encoder, -scale), group)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def layer_scales(network: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """Compute the factors on the learning rates of the layers of a network's encoder.

    The factor is ``decay`` to the power of one more than the number of layers after the
    parameter's own.

    Args:
        network: the network.
        decay: factor from each layer to the one before it.

    Returns:
        The factor of each parameter of the pretrained encoder.

    Raises:
        InputError: the network has no encoder that tells its layers.
    """
    encoder = encoder_of(network)
    if not isinstance(encoder, LayeredEncoder):
        raise InputError(
            f"optim.layer_decay={decay}",
            "this network has no encoder that tells its layers",
            "give optim.layer_decay=1",
        )
    numbers = encoder.layer_numbers()
    count = max(numbers.values()) + 1
    return {parameter: decay ** (count - number) for parameter, number in numbers.items()}


def _encoder_parameters(network: nn.Module, rate: float) -> set[nn.Parameter]:
    encoder = encoder_of(network)
    if encoder is None:
        raise InputError(
            f"optim.encoder_lr={rate}", "this network has no encoder", "give optim.encoder_lr=None"
        )
    return set(getattr(encoder, "body", encoder).parameters())  # without the new pyramid


@contextmanager
def scaled_rates(groups: Sequence[dict[str, Any]], factor: float) -> Iterator[None]:
    """Multiply the learning rates of an optimizer's groups in this block, as for a warm-up.

    Args:
        groups: the groups; afterwards they have their rates again, from which the schedule goes on.
        factor: the factor.
    """
    rates = [group["lr"] for group in groups]
    for group in groups:
        group["lr"] *= factor
    try:
        yield
    finally:
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate


def cosine_rate(rate: Any, end: float, epoch: int, epochs: int) -> Any:
    """Compute the learning rate after some epochs of the cosine schedule.

    Args:
        rate: learning rate of the first epoch, a number or a tensor.
        end: learning rate at the end of the cosine.
        epoch: number of finished epochs.
        epochs: number of all epochs.
    """
    return end + (rate - end) * (1 + cos(pi * epoch / epochs)) / 2


def extend_schedule(checkpoint: dict, optim: Optim) -> tuple[float, float]:
    """Extend the schedule in a checkpoint of a shorter run to ``optim.epochs`` epochs.

    The checkpoint holds the schedule with its old length, after which a cosine would rise again.
    Each rate is computed from the last one, so length and rates must be set. A step schedule does
    not depend on the length.

    Args:
        checkpoint: checkpoint of Lightning; its rates and its schedule are changed.
        optim: the settings of the longer run.

    Returns:
        The learning rate of the first parameters in the next epoch, before and after the change.
    """
    schedule = checkpoint["lr_schedulers"][0]
    before = schedule["_last_lr"]
    rates = list(before)
    if "T_max" in schedule:
        epoch, groups = schedule["last_epoch"], checkpoint["optimizer_states"][0]["param_groups"]
        rates = [
            cosine_rate(base, optim.min_lr * group.get(SCALE, 1.0), epoch, optim.epochs)
            for base, group in zip(schedule["base_lrs"], groups, strict=True)
        ]
        schedule |= {"T_max": optim.epochs, "_last_lr": rates}
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
    return before[0], rates[0]
