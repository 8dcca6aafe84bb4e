"""The weights that a training begins with, from a checkpoint or a pretrained encoder."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from network.card import CARD_KEY
from network.config import Experiment, settings
from network.differences import CLASSES_KEY, as_trained
from network.errors import InputError
from network.evaluation.protocol import DATA_SET_KEY, SEEN_KEYS
from network.factories import parameters
from network.models.checkpoint import SETTINGS_KEY, named_tensors, read_checkpoint
from network.models.transfer import Taken, take_weights
from network.writing import file_hash

_COUNT = "num_classes"


@dataclass(frozen=True)
class Begun:
    """A record of the weights that a training began with.

    Args:
        record: what the checkpoints of the training keep of the weights: their path and sha256, and
            the settings of their own training that say which data they have seen.
        taken: the weights that were taken.
    """

    record: dict[str, Any]
    taken: Taken


def normalized_as(experiment: Experiment, path: Path) -> Experiment:
    """Take mean and deviation of the bands from a checkpoint of the same encoder and pixels.

    Its weights expect them. Values that the experiment gives come first. The values for another
    type of pixels mean something else, since they are shares of its largest value, or pixel values.

    Args:
        experiment: the experiment.
        path: the checkpoint file.

    Raises:
        InputError: the checkpoint cannot be read.
    """
    checkpoint = read_checkpoint(path)
    known, card = checkpoint.get(SETTINGS_KEY, {}), checkpoint.get(CARD_KEY) or {}
    key, info = "model.encoder", experiment.dataset
    is_same = known.get(key) == settings(experiment).get(key)
    # Older code did not store the type, and mostly had unsigned values of 8 bits.
    is_same &= (card.get("bits", 8), card.get("values", "unsigned")) == (info.bits, info.values)
    return as_trained(experiment, known) if is_same else experiment


def begin_with(experiment: Experiment, path: Path) -> tuple[nn.Module, Begun]:
    """Build the network and load the weights of a checkpoint that fit.

    Pretrained weights are only loaded if the checkpoint has no fitting encoder.

    Args:
        experiment: the experiment.
        path: the checkpoint file.

    Raises:
        InputError: the checkpoint cannot be read, or none of its weights fit.
    """
    checkpoint = read_checkpoint(path)
    known = checkpoint.get(SETTINGS_KEY, {})
    state = named_tensors(checkpoint, path)
    own = experiment.dataset.classes
    theirs = known.get(CLASSES_KEY)
    if theirs is None and known.get(DATA_SET_KEY) == experiment.dataset.name:
        theirs = own  # older code did not store the classes
    if theirs is not None and not (
        isinstance(theirs, list | tuple) and all(isinstance(name, str) for name in theirs)
    ):
        raise InputError(
            path, f"its {CLASSES_KEY} are no names", "remove them, or take another checkpoint"
        )
    model = experiment.build_model(pretrained=False)
    take = partial(
        take_weights,
        state=state,
        path=path,
        own=own,
        theirs=theirs,
        class_dims=_class_dims(experiment.model, model),
    )
    taken = take(model)
    if not taken.has_encoder:
        model = experiment.build_model()
        taken = take(model)
    seen = {key: known[key] for key in SEEN_KEYS if key in known}
    return model, Begun({"path": str(path), "sha256": file_hash(path), "settings": seen}, taken)


def _class_dims(factory: Callable, model: nn.Module) -> dict[str, int] | None:
    """Find the dimension of each tensor that grows with the number of classes; None if unknown.

    To find it, the network is built again with one more class, on the meta device, which takes no
    memory.
    """
    try:
        more = _with_more_classes(factory)
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in more().state_dict().items()}
    except (TypeError, ValueError, KeyError, RuntimeError, InputError):
        return None  # the factory takes no number of classes, or needs real memory
    dims = {}
    for name, value in model.state_dict().items():
        grown = shapes.get(name, value.shape)
        if len(grown) == value.ndim:
            differing = [dim for dim in range(value.ndim) if grown[dim] != value.shape[dim]]
            if len(differing) == 1:
                dims[name] = differing[0]
    return dims


def _with_more_classes(factory: Callable) -> Callable[[], nn.Module]:
    options = {"weights": None} if "weights" in parameters(factory) else {}
    whole = partial(factory, **options)
    bound = inspect.signature(whole.func).bind_partial(*whole.args, **whole.keywords)
    bound.apply_defaults()
    bound.arguments[_COUNT] += 1
    return partial(whole.func, *bound.args, **bound.kwargs)
