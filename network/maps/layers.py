"""Layers of a map, computed from the logits of each window."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

NO_DATA = 255
"""Value of all layers where the image has no data."""

STEPS = 250
"""Number of steps of stored shares: 0 is 0, and 250 is 1."""


@dataclass(frozen=True)
class Layer:
    """One file of a map.

    Attributes:
        name: what it is called in file names: ``NAME_confidence.tif``. The labels have no name.
        description: what its values are.
        is_share: whether values are shares from 0 to 1, stored as 0 to 250.
        per_class: whether there is one band for each class.
        compute: turns logits (k, h, w) and, for shares, probabilities (k, h, w) into values
            (bands, h, w), uint8 for labels and float32 from 0 to 1 for shares.
    """

    name: str
    description: str
    is_share: bool
    per_class: bool
    compute: Callable[[Tensor, Tensor], Tensor]

    def bands(self, classes: int) -> int:
        """Number of bands."""
        return classes if self.per_class else 1


def _labels(logits: Tensor, _: Any) -> Tensor:
    # Several times faster than argmax on a CPU.
    return logits.max(dim=0, keepdim=True).indices.to(torch.uint8)


def _confidence(_: Any, probabilities: Tensor) -> Tensor:
    return probabilities.amax(dim=0, keepdim=True)


def _probabilities(_: Any, probabilities: Tensor) -> Tensor:
    return probabilities


def _entropy(_: Any, probabilities: Tensor) -> Tensor:
    bits = torch.special.entr(probabilities).sum(dim=0, keepdim=True)
    return bits / math.log(len(probabilities))


LABELS = Layer("", "class", is_share=False, per_class=False, compute=_labels)
CONFIDENCE = Layer(
    "confidence",
    "largest probability of the classes",
    is_share=True,
    per_class=False,
    compute=_confidence,
)
PROBABILITIES = Layer(
    "probabilities",
    "probability of each class",
    is_share=True,
    per_class=True,
    compute=_probabilities,
)
ENTROPY = Layer(
    "entropy",
    "entropy of the probabilities, as a share of the largest possible one",
    is_share=True,
    per_class=False,
    compute=_entropy,
)
LAYERS = {layer.name: layer for layer in (LABELS, CONFIDENCE, PROBABILITIES, ENTROPY)}


def compute_layers(logits: Tensor, layers: Sequence[Layer]) -> dict[str, np.ndarray]:
    """Compute the stored values of layers.

    Args:
        logits: (k, h, w) of one core.
        layers: the layers.

    Returns:
        For each layer by name (bands, h, w) uint8.
    """
    shares = logits.float().softmax(dim=0) if any(layer.is_share for layer in layers) else logits
    found = {}
    for layer in layers:
        values = layer.compute(logits, shares)
        if layer.is_share:
            values = (values * STEPS).round_().to(torch.uint8)
        found[layer.name] = values.cpu().numpy()
    return found
