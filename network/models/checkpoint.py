"""Reading checkpoints: our own and those of the released BiCoR-Seg and D2LS code."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from network.errors import InputError
from network.models.reference import from_reference, is_reference

# The Lightning task holds the network under this name.
TASK_PREFIX = "model."
# The settings of the run that wrote a checkpoint stand in it under this name.
SETTINGS_KEY = "settings"


# Whatever torch's reader stumbles over in a file that is something else.
_NOT_A_CHECKPOINT = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    safetensors.SafetensorError,
)


def read_checkpoint(path: Path) -> dict:
    """A checkpoint file as tensors and plain data; pickled objects are never loaded.

    Raises:
        InputError: the file does not exist, is damaged, or holds pickled objects.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; correct its name, or train it first")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than tensors and plain data, or is no checkpoint; save its "
            "'state_dict' alone where it was made, and give that file"
        ) from error
    except _NOT_A_CHECKPOINT as error:
        raise InputError(f"{path}: damaged or not a checkpoint; copy it again") from error
    if not isinstance(checkpoint, Mapping):
        raise InputError(f"{path}: not a checkpoint, it holds a {type(checkpoint).__name__}")
    return dict(checkpoint)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a checkpoint, whatever they are wrapped in.

    Raises:
        InputError: as :func:`read_checkpoint`, or there are no named tensors.
    """
    checkpoint = read_checkpoint(path)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = dict(checkpoint[key])
            break
    tensors = {name: value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path}: no weights in this file; expected a 'state_dict'")
    return tensors


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a checkpoint of ours or of released BiCoR-Seg or D2LS code into ``model``.

    Raises:
        InputError: as :func:`read_tensors`, or the weights are another model's: other names,
            another class count, another encoder.
    """
    state = read_tensors(path)
    if is_reference(state):
        state = from_reference(state, model)
    elif any(name.startswith(TASK_PREFIX) for name in state):
        # Beside the model, a task may hold state of its own.
        state = {
            name.removeprefix(TASK_PREFIX): value
            for name, value in state.items()
            if name.startswith(TASK_PREFIX)
        }
    expected = model.state_dict()
    _check_names(expected.keys(), state.keys(), path)
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(value.shape)}, the model's is "
                f"{tuple(expected[name].shape)}; this checkpoint has other classes, bands or "
                "another encoder, give the config that it was trained with"
            )
    model.load_state_dict(state)


def _check_names(expected: set, found: set, path: Path) -> None:
    missing, foreign = sorted(expected - found), sorted(found - expected)
    if missing or foreign:
        first = f"{missing[0]} is missing" if missing else f"{foreign[0]} is not in the model"
        raise InputError(
            f"{path}: the checkpoint of another model ({len(missing)} names missing, "
            f"{len(foreign)} foreign; {first}); give the config that it was trained with"
        )
