"""The optimizer AdamW, optionally in Lookahead, and the schedule of the learning rate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import cos, pi
from typing import Any

import torch
from catalyst.contrib.optimizers.lookahead import Lookahead as CatalystLookahead
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from network.errors import InputError
from network.settings import Optim


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


def build_optimizer(network: nn.Module, optim: Optim) -> tuple[Optimizer, LRScheduler]:
    """Build the optimizer of the trainable parameters and its schedule, with one step per epoch.

    Args:
        network: the network; it needs an ``encoder`` if ``optim.encoder_lr`` is given.
        optim: the settings.

    Raises:
        InputError: ``optim.encoder_lr`` is given, but there is no encoder.
    """
    encoder = set() if optim.encoder_lr is None else _encoder_parameters(network, optim.encoder_lr)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [p for p in trainable if p not in encoder]}]
    if encoder:
        of_encoder = [p for p in trainable if p in encoder]
        groups.append({"params": of_encoder, "lr": optim.encoder_lr})
    optimizer: Optimizer = AdamW(groups, lr=optim.lr, weight_decay=optim.weight_decay)
    if optim.lookahead:
        optimizer = Lookahead(optimizer)
    if optim.step:
        return optimizer, StepLR(optimizer, optim.step)
    return optimizer, CosineAnnealingLR(optimizer, T_max=optim.epochs, eta_min=optim.min_lr)


def _encoder_parameters(network: nn.Module, rate: float) -> set[nn.Parameter]:
    encoder: nn.Module | None = getattr(network, "encoder", None)
    if encoder is None:
        raise InputError(
            f"optim.encoder_lr={rate}", "this network has no encoder", "give optim.encoder_lr=None"
        )
    return set(encoder.parameters())


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


def cosine_rate(rate: float, optim: Optim, epoch: int) -> float:
    """Compute the learning rate after some epochs of the cosine schedule.

    Args:
        rate: learning rate of the first epoch.
        optim: the settings.
        epoch: number of finished epochs.
    """
    return optim.min_lr + (rate - optim.min_lr) * (1 + cos(pi * epoch / optim.epochs)) / 2


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
        epoch = schedule["last_epoch"]
        rates = [cosine_rate(base, optim, epoch) for base in schedule["base_lrs"]]
        schedule |= {"T_max": optim.epochs, "_last_lr": rates}
        groups = checkpoint["optimizer_states"][0]["param_groups"]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
    return before[0], rates[0]
