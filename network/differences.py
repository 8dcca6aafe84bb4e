"""Rules that tell which settings change a training, or the predictions of a trained network.

Settings have the same names as in overrides: ``model.dim``, ``data.crop``.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from network.config import Experiment, default_settings, settings
from network.contracts import DescribedNetwork
from network.datasets.schema import normal
from network.errors import InputError, listed, warn
from network.models.segmenter import Segmenter

CLASSES_KEY = "data.classes"
"""Setting of a training that has the names of its classes, in the order of the labels."""

# Settings that a resumed run may change, since weights do not depend on them, nor does the best
# checkpoint: its scores do not, and a resumed run that chooses by the loss keeps its batches.
_FREE = {
    *("name", "data.root", "data.test", "data.workers", "data.val_batch_size"),
    *("data.cache", "data.cache_dir", "data.cache_gb"),
    *(f"model.{name}" for name in Segmenter.compute_settings),
}


def changes_training(key: str) -> bool:
    """Tell whether a resumed run depends on the setting ``key``."""
    return key not in _FREE and not key.startswith(("compute.", "log."))


def defines_training(key: str) -> bool:
    """Tell whether runs that differ in the setting ``key`` are runs of different models.

    The folder of the data does not matter; the digest of its labels tells whether data are equal.
    """
    return changes_training(key) or key == "model.weights"


def training_settings(model: nn.Module) -> frozenset[str]:
    """List the settings of a network that no longer matter after the training.

    Args:
        model: the network; if its class does not list them, the settings that all networks of this
            project share are taken.
    """
    if isinstance(model, DescribedNetwork):
        return model.training_settings
    return Segmenter.training_settings


def changes_predictions(
    key: str, training_only: Collection[str] = Segmenter.training_settings
) -> bool:
    """Tell whether another value of the setting ``key`` changes the predictions of a network.

    Args:
        key: name of the setting.
        training_only: settings that only matter in training, see :func:`training_settings`.
    """
    section, _, name = key.partition(".")
    is_model = section == "model" and name not in training_only
    return is_model or key in ("data.mean", "data.std")


def as_trained(experiment: Experiment, training: Mapping[str, Any] | None) -> Experiment:
    """Take mean and deviation of the bands from a training, where the experiment gives none.

    So a checkpoint keeps those that it was trained with, even if the default is another today.

    Args:
        experiment: the experiment.
        training: settings in the checkpoint; None if it has none.
    """
    if not training:
        return experiment
    recorded = {**default_settings(experiment), **training}
    bands = experiment.dataset.bands
    taken: dict[str, Any] = {}
    for name in ("mean", "std"):
        values = recorded[f"data.{name}"]
        if getattr(experiment.data, name) is None and _is_for_bands(values, bands):
            taken[name] = values
    return replace(experiment, data=replace(experiment.data, **taken)) if taken else experiment


def _is_for_bands(values: object, bands: int) -> bool:
    if not isinstance(values, tuple) or len(values) != bands:
        return False  # comparing the settings raises the error
    return all(isinstance(value, int | float) for value in values)


def check_same_classes(
    training: Mapping[str, Any], experiment: Experiment, checkpoint: Path
) -> None:
    """Compare the classes of a checkpoint with those of an experiment.

    Other names may be a translation, and are only told of. But a name that stands for another label
    would swap classes in maps and scores.

    Args:
        training: settings in the checkpoint; older ones do not have the classes.
        experiment: the experiment.
        checkpoint: path of the checkpoint, for an error.

    Raises:
        InputError: a class has another label.
    """
    known, info = training.get(CLASSES_KEY), experiment.dataset
    if not isinstance(known, list | tuple) or not all(isinstance(name, str) for name in known):
        return
    theirs, ours = ([normal(name).strip() for name in names] for names in (known, info.classes))
    if any(name in ours and ours.index(name) != theirs.index(name) for name in theirs):
        raise InputError(
            checkpoint,
            f"was trained on the classes {listed(theirs, 30)}, in this order, not on those of "
            f"{info.name}: {listed(ours, 30)}",
            "give the config of its training, or train anew",
        )
    renamed = [pair for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1]]
    if renamed and len(theirs) == len(ours):
        names = listed(f"{one} is called {other}" for one, other in renamed)
        warn(f"{checkpoint} was trained on classes of other names: in {info.name}, {names}")


def check_same_settings(
    training: Mapping[str, Any],
    experiment: Experiment,
    checkpoint: Path,
    matters: Callable[[str], bool],
) -> None:
    """Compare the settings that a checkpoint was trained with to those of an experiment.

    Args:
        training: settings in the checkpoint.
        experiment: the experiment.
        checkpoint: path of the checkpoint, for an error.
        matters: function that tells by its key whether a setting is compared.

    Raises:
        InputError: a setting differs.
    """
    training = default_settings(experiment) | dict(training)
    for key, value in settings(experiment).items():
        if matters(key) and key in training and training[key] != value:
            raise InputError(
                checkpoint,
                f"was trained with {key}={training[key]}, not {value}",
                f"give {key}={training[key]}, or train anew",
            )
