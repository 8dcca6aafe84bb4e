"""Which settings make two trainings, or the predictions of two networks, different.

Settings are named as overrides name them: ``model.dim``, ``data.crop``.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from network.config import Experiment, default_settings, settings
from network.contracts import DescribedNetwork
from network.errors import InputError
from network.models.segmenter import Segmenter

# What a resumed run may change: neither its weights nor its choice of the best depend on it.
_FREE = {
    *("name", "data.root", "data.test", "data.workers", "data.val_batch_size"),
    *(f"model.{name}" for name in Segmenter.compute_settings),
}


def changes_training(key: str) -> bool:
    """Tell whether a resumed run depends on the setting ``key``."""
    return key not in _FREE and not key.startswith("compute.")


def defines_training(key: str) -> bool:
    """Tell whether runs that differ in the setting ``key`` are runs of different models.

    Where the data lies is left to the digest of its labels.
    """
    return changes_training(key) or key == "model.weights"


def training_settings(model: nn.Module) -> frozenset[str]:
    """The settings of a network that it no longer depends on once it is trained.

    Args:
        model: whose class says so; else the names that all networks here have in common count.
    """
    if isinstance(model, DescribedNetwork):
        return model.training_settings
    return Segmenter.training_settings


def changes_predictions(
    key: str, training_only: Collection[str] = Segmenter.training_settings
) -> bool:
    """Tell whether a trained network predicts otherwise with another setting ``key``.

    Args:
        training_only: see :func:`training_settings`.
    """
    section, _, name = key.partition(".")
    is_model = section == "model" and name not in training_only
    return is_model or key in ("data.mean", "data.std")


def check_same_settings(
    training: Mapping[str, Any],
    experiment: Experiment,
    checkpoint: Path,
    matters: Callable[[str], bool],
) -> None:
    """Compare the settings that a checkpoint was trained with to those of ``experiment``.

    Args:
        training: settings in the checkpoint.
        checkpoint: its path, for an error.
        matters: which of them are compared, by key.

    Raises:
        InputError: one differs.
    """
    training = default_settings(experiment) | dict(training)
    for key, value in settings(experiment).items():
        if matters(key) and key in training and training[key] != value:
            raise InputError(
                checkpoint,
                f"was trained with {key}={training[key]}, not {value}",
                f"give {key}={training[key]}, or train anew",
            )
