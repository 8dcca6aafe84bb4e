"""Functions to read checkpoints of this project and of the released BiCoR-Seg and D2LS code."""

import pickle
import zipfile
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from network.errors import InputError
from network.factories import is_plain
from network.models.reference import from_reference, is_reference

# The Lightning task holds the network under this name.
TASK_PREFIX = "model."
# A checkpoint holds the settings of its run under this name.
SETTINGS_KEY = "settings"

# Parts of a name that torch adds when it wraps a module (compiled, sharded, recomputed).
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# The part that DataParallel, DDP and AveragedModel add; a network may also have it itself.
_PARALLEL = "module"

_MOST_NESTED = 4

# Errors of torch's reader in files that are no checkpoints.
_NOT_A_CHECKPOINT = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    MemoryError,
    OverflowError,
    AssertionError,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
)


def read_checkpoint(path: Path) -> dict:
    """Read a checkpoint file as tensors and plain data; pickled objects are never loaded.

    Raises:
        InputError: the file does not exist, is damaged, or holds pickled objects.
    """
    check_readable(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_archive(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            path,
            "holds more than tensors and plain data, or is no checkpoint",
            "save its 'state_dict' alone where it was made, and give that file",
        ) from error
    except _NOT_A_CHECKPOINT as error:
        raise InputError(path, "damaged or not a checkpoint", "copy it again") from error
    if not isinstance(checkpoint, Mapping):
        raise InputError(path, f"not a checkpoint, it holds a {type(checkpoint).__name__}")
    _check_settings(checkpoint.get(SETTINGS_KEY, {}), path)
    return dict(checkpoint)


def check_readable(path: Path) -> None:
    """Raise an :class:`InputError` if there is no file ``path``."""
    if path.exists() and not path.is_file():
        raise InputError(path, "a folder or a device, not a file", "name a checkpoint in it")
    if not path.is_file():
        raise InputError(path, "no such checkpoint", "correct its name, or train it first")


def _check_archive(path: Path) -> None:
    """Refuse an archive that torch cannot have written, before anything is unpacked.

    Such an archive is compressed, or its records are larger than the file. torch itself checks
    neither the unpacked size of a record nor its checksum.
    """
    if not zipfile.is_zipfile(path):  # the format of torch before 1.6
        return
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        is_packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if is_packed or sum(record.file_size for record in records) > path.stat().st_size:
            raise InputError(
                path,
                "its records are compressed, which torch does not do",
                "save it again by torch.save where it was made",
            )
        for record in records:
            if record.CRC:  # 0 if its writer has left it out
                with archive.open(record) as content:
                    while content.read(1 << 20):
                        pass


def _check_settings(settings: object, path: Path) -> None:
    if not isinstance(settings, Mapping) or not is_plain(dict(settings)):
        raise InputError(
            path,
            f"its '{SETTINGS_KEY}' are no settings of a run",
            "remove that entry, and give the config that it was trained with",
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint file, without the names of wrappers.

    Raises:
        InputError: see :func:`read_checkpoint` and :func:`named_tensors`.
    """
    tensors = named_tensors(read_checkpoint(path), path)
    while all(name.startswith(f"{_PARALLEL}.") for name in tensors):
        tensors = _renamed(tensors, lambda parts: parts[1:], path)
    return tensors


def named_tensors(checkpoint: Mapping, path: Path) -> dict[str, Tensor]:
    """Find the named tensors in the content of a checkpoint.

    Args:
        checkpoint: content of the file.
        path: path of the file, for an error.

    Raises:
        InputError: there are no tensors, or some cannot belong to a network: their names are no
            text, they are sparse or quantized, have no values, or are expanded views of smaller
            data.
    """
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    tensors = {name: value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(path, "no weights in this file", "expected a 'state_dict'")
    for name, value in tensors.items():
        if not isinstance(name, str):
            raise InputError(
                path,
                f"a weight is named by {name!r}, not by text",
                "save the 'state_dict' of the network",
            )
        if not is_dense(value):
            raise InputError(
                path,
                f"{name} is no dense tensor with all its values",
                "save the 'state_dict' of the network itself, neither sparse nor quantized nor "
                "expanded nor on 'meta'",
            )
    return _renamed(tensors, lambda parts: [part for part in parts if part not in _WRAPPERS], path)


def is_dense(value: Tensor) -> bool:
    """Tell whether a tensor is of the plain kind and has all its values in memory."""
    if value.is_meta or value.is_quantized or value.is_nested or value.layout != torch.strided:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _renamed(tensors: dict[str, Tensor], rename: Any, path: Path) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for name, value in tensors.items():
        new = ".".join(rename(name.split(".")))
        if new in result:
            raise InputError(
                path,
                f"two tensors would both be named {new}, one of them is {name}",
                "save one network alone",
            )
        result[new] = value
    return result


def load_weights(model: nn.Module, path: Path, checkpoint: Mapping | None = None) -> None:
    """Load a checkpoint of this project or of released BiCoR-Seg or D2LS code into a model.

    Args:
        model: the model.
        path: path of the checkpoint.
        checkpoint: content of the checkpoint, if it is already read.

    Raises:
        InputError: see :func:`read_tensors`; or the weights belong to another model, with other
            names, another number of classes or another encoder; or some are not finite.
    """
    checkpoint = read_checkpoint(path) if checkpoint is None else checkpoint
    expected = model.state_dict()
    state = weights_for(model, named_tensors(checkpoint, path), path)
    _check_names(expected.keys(), state.keys(), path)
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise InputError(
                path,
                f"{name} has shape {tuple(value.shape)}, the model's is "
                f"{tuple(expected[name].shape)}",
                "this checkpoint has other classes, bands or another encoder, give the config "
                "that it was trained with",
            )
        if kind_of(value) != kind_of(expected[name]):
            raise InputError(
                path,
                f"{name} holds {value.dtype} where the model has {expected[name].dtype}",
                "save the weights as they were trained",
            )
    check_finite(state, expected, path)
    model.load_state_dict(state)


def weights_for(model: nn.Module, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Rename the tensors of a checkpoint to the names of a model, and leave out those of a task.

    Args:
        model: the model.
        state: named tensors of the checkpoint.
        path: path of the checkpoint, for an error.
    """
    known = model.state_dict().keys()
    if is_reference(state):
        try:
            return from_reference(_renamed(state, _without_parallel, path), model)
        except (LookupError, ValueError, RuntimeError) as error:
            raise InputError(
                path,
                f"looks like a checkpoint of the released code, but its names differ ({error})",
                "copy it again",
            ) from error
    state = _renamed(state, lambda parts: _as_known(parts, known), path)
    if any(name.startswith(TASK_PREFIX) for name in state) and not state.keys() & known:
        # A task may have its own state beside the model.
        state = {
            name.removeprefix(TASK_PREFIX): value
            for name, value in state.items()
            if name.startswith(TASK_PREFIX)
        }
    return state


def _without_parallel(parts: list[str]) -> list[str]:
    return [part for part in parts if part != _PARALLEL]


def _as_known(parts: list[str], known: Container[str]) -> list[str]:
    """Drop as few of DDP's parts from a name as are needed to get a name of the model."""
    places = [place for place, part in enumerate(parts) if part == _PARALLEL]
    for count in range(len(places) + 1):
        for dropped in combinations(places[:_MOST_NESTED], count):
            kept = [part for place, part in enumerate(parts) if place not in dropped]
            name = ".".join(kept)
            if name in known or name.removeprefix(TASK_PREFIX) in known:
                return kept
    return parts


def kind_of(value: Tensor) -> str:
    """Tell the kind of a tensor's numbers; loading into the same kind only rounds."""
    if value.is_complex():
        return "complex"
    return "real" if value.is_floating_point() else "whole"


def check_finite(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raise an :class:`InputError` if a weight is not finite; it names the first one.

    Args:
        state: the weights.
        expected: weights of a new network; those that are not finite there are constants.
        path: path of the checkpoint, for the error.
    """
    constants = {name for name in expected if first_not_finite({name: expected[name]})}
    name = first_not_finite({n: value for n, value in state.items() if n not in constants})
    if name:
        raise InputError(
            path,
            f"{name} is not finite, so the network cannot predict",
            "take an earlier checkpoint, or train anew with a lower optim.lr",
        )


def first_not_finite(state: Any, name: str = "") -> str | None:
    """Find the first tensor in nested dicts and lists that is not finite.

    This waits only once for values on a GPU.

    Args:
        state: the dict or list.
        name: name of ``state``, with which the result begins.

    Returns:
        Name of the tensor; None if all are finite.
    """
    floats = [(where, value) for where, value in _floats(state, name) if value.numel()]
    if not floats:
        return None
    flags = [value.isfinite().all() for _, value in floats]
    by_device: dict[torch.device, list[Tensor]] = {}
    for flag in flags:
        by_device.setdefault(flag.device, []).append(flag)
    if all(bool(torch.stack(group).all()) for group in by_device.values()):
        return None
    return next(where for (where, _), flag in zip(floats, flags, strict=True) if not flag)


def _floats(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        if state.is_floating_point() or state.is_complex():
            # torch cannot tell whether numbers of 8 bits are finite.
            yield name, state.detach().float() if state.element_size() == 1 else state.detach()
        return
    entries: Iterable[tuple[Any, Any]]
    if isinstance(state, Mapping):
        entries = state.items()
    elif isinstance(state, list | tuple):
        entries = enumerate(state)
    else:
        entries = ()
    for key, value in entries:
        yield from _floats(value, f"{name}.{key}" if name else str(key))


def _check_names(expected: Iterable[str], found: Iterable[str], path: Path) -> None:
    missing, foreign = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or foreign:
        first = f"{missing[0]} is missing" if missing else f"{foreign[0]} is not in the model"
        raise InputError(
            path,
            f"the checkpoint of another model ({len(missing)} names missing, {len(foreign)} "
            f"foreign; {first})",
            "give the config that it was trained with",
        )
