"""The exponential moving average of a network's weights."""

import torch
from torch import Tensor, nn

from network.errors import InputError

TRAINED_KEY = "training_state"
"""Key of a checkpoint whose ``state_dict`` is the average: the weights that are trained."""


class WeightAverage:
    """The moving average of all parameters and buffers of a network.

    After step t, average = d * average + (1 - d) * weights with d = min(decay, (1 + t) / (10 + t)).
    So the first weights have no lasting effect, as in TensorFlow's ``ExponentialMovingAverage``.
    Whole numbers, such as the counters of batch normalization, and tensors with infinite constants
    are copied.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 1992; for segmentation with a teacher,
    Tarvainen and Valpola, NeurIPS 2017. Lightning's own callback averages the whole task, with the
    counts of its metrics.

    Args:
        network: the network.
        decay: largest decay, 0 to 1.

    Raises:
        InputError: two layers of the network share a tensor.
    """

    def __init__(self, network: nn.Module, decay: float):
        _check_apart(network)
        self.decay, self.steps = decay, 0
        self.average = {name: value.clone() for name, value in _tensors(network).items()}
        # The mean of two infinite values, as of a mask, is no number.
        self.copied = {
            name
            for name, value in self.average.items()
            if not value.is_floating_point() or value.isinf().any()
        }

    def move(self, device: torch.device) -> None:
        """Move the average to the device of the network."""
        self.average = {name: value.to(device) for name, value in self.average.items()}

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Take the weights after an optimizer step into the average, each step once.

        Args:
            network: the network.
            steps: number of finished steps, from 1.
        """
        if steps <= self.steps:
            return
        self.steps = steps
        share = 1 - min(self.decay, (1 + steps) / (10 + steps))
        for name, value in _tensors(network).items():
            if name in self.copied:
                self.average[name].copy_(value)
            else:
                self.average[name].lerp_(value, share)

    @torch.no_grad()
    def swap(self, network: nn.Module) -> None:
        """Exchange the weights of the network and the average, in place."""
        for name, value in _tensors(network).items():
            kept = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(kept)

    def save(self, checkpoint: dict, prefix: str) -> None:
        """Make the average the weights of a checkpoint, and keep those that are trained beside it.

        Args:
            checkpoint: checkpoint of Lightning. If it can be resumed from, it also gets the weights
                that are trained.
            prefix: prefix of the network's tensors in it.
        """
        state = checkpoint["state_dict"]
        if "optimizer_states" in checkpoint:
            checkpoint[TRAINED_KEY] = {name: state[prefix + name] for name in self.average}
        state |= {prefix + name: value for name, value in self.average.items()}

    def load(self, checkpoint: dict, prefix: str) -> None:
        """Take the average out of a checkpoint, and make the trained weights its weights again.

        Args:
            checkpoint: checkpoint of Lightning that a training resumes from. It has both, see
                :func:`network.training.resume.restore`.
            prefix: prefix of the network's tensors in it.
        """
        state, trained = checkpoint["state_dict"], checkpoint[TRAINED_KEY]
        for name, value in self.average.items():
            value.copy_(state[prefix + name])
        self.steps = checkpoint["global_step"]
        checkpoint["state_dict"] = state | {prefix + n: value for n, value in trained.items()}


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.state_dict().items()}


def _check_apart(network: nn.Module) -> None:
    """Require that each tensor has one name, since a shared one would be exchanged twice."""
    names: dict[int, str] = {}
    for found in (network.named_parameters, network.named_buffers):
        for name, value in found(remove_duplicate=False):
            other = names.setdefault(id(value), name)
            if other != name:
                raise InputError(
                    "optim.ema",
                    f"{name} and {other} of the model are one tensor",
                    "give optim.ema=0",
                )
