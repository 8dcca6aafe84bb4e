"""The subject of a test: a network with the weights of a checkpoint, or an exported file."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from network.compute import find_device
from network.config import Experiment, settings
from network.differences import as_trained, changes_predictions, check_same_settings
from network.errors import InputError
from network.evaluation.stamp import ExportedStamp
from network.exported.choice import Backend
from network.exported.load import is_exported, load_exported
from network.factories import innermost
from network.models.segmenter import Segmenter
from network.prediction import ImagePredictor
from network.predictor import Predictor, load_network
from network.writing import file_hash


@dataclass(frozen=True)
class Subject:
    """A network or a file that is tested.

    Attributes:
        experiment: the experiment, with the normalization of the training and the precision of the
            test.
        training: settings of the training; None if they are unknown.
        sha256: digest of the checkpoint or the file.
        predictor: makes the predictor, from the options ``tta``, ``patch``, ``overlap`` and
            ``batch_size`` of :class:`network.prediction.ImagePredictor`.
        exported: what the stamp says of an exported file; None for a checkpoint.
    """

    experiment: Experiment
    training: dict[str, Any] | None
    sha256: str
    predictor: Callable[..., ImagePredictor]
    exported: ExportedStamp | None = None


def load_subject(
    experiment: Experiment, path: Path, device: str, backend: Backend | None = None
) -> Subject:
    """Load a checkpoint, or open an exported file.

    Args:
        experiment: the experiment.
        path: the checkpoint or the file.
        device: name of the device, see :func:`network.compute.find_device`.
        backend: how an exported file is run.

    Raises:
        InputError: the checkpoint or the file cannot be used, or does not fit the experiment.
    """
    backend = backend or Backend()
    if is_exported(path):
        backend.check_device(device)
        return _exported(experiment, path, backend)
    backend.check_checkpoint(path)
    target = find_device(device)
    trained = load_network(experiment, path)
    make = partial(
        Predictor.of,
        trained.experiment,
        trained.model,
        device=target,
        ground_resolution=trained.ground_resolution,
    )
    return Subject(trained.experiment, trained.training, file_hash(path), make)


def _restored(training: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Give settings that were written as JSON, which has no tuples, their types back.

    Args:
        training: settings of the training, from JSON.
        own: settings of the experiment. Those with the same JSON are the same.
    """

    def restored(key: str, value: Any) -> Any:
        if key in own and json.loads(json.dumps(own[key])) == value:
            return own[key]
        return tuple(value) if isinstance(value, list) else value

    return {key: restored(key, value) for key, value in training.items()}


def _exported(experiment: Experiment, path: Path, backend: Backend) -> Subject:
    network = load_exported(path, backend)
    ours, theirs = experiment.dataset, network.card.info
    for name, words in (("classes", "classes"), ("bands", "bands"), ("dtype", "values")):
        if getattr(ours, name) != getattr(theirs, name):
            raise InputError(
                path,
                f"was trained on other {words} than those of {ours.name}",
                f"test it with the config of its training, on {theirs.name}",
            )
    training = _restored(network.record.training, settings(experiment))
    experiment = as_trained(experiment, training)
    if training:
        model = innermost(experiment.model)
        training_only = getattr(model, "training_settings", Segmenter.training_settings)
        matters = partial(changes_predictions, training_only=training_only)
        check_same_settings(training, experiment, path, matters)
    compute = replace(experiment.compute, precision=network.precision)
    stamp = ExportedStamp(
        format=network.record.format,
        backend=network.backend,
        runtime=network.runtime,
        checkpoint=network.record.checkpoint,
        checkpoint_sha256=network.record.checkpoint_sha256,
        bits=network.identity.get("bits"),
    )
    return Subject(
        replace(experiment, compute=compute),
        training or None,
        network.sha256,
        partial(network.predictor, info=experiment.dataset),
        stamp,
    )
