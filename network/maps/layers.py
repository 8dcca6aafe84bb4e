"""Layers of a map, computed from the logits of each window."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from network.arrays import Array, arrays_of
from network.errors import InputError
from network.prediction import check_numbers

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
            (bands, h, w), uint8 for labels and float32 from 0 to 1 for shares. None if the
            predictor gives the values with the logits.
    """

    name: str
    description: str
    is_share: bool
    per_class: bool
    compute: Callable[[Array, Array], Array] | None

    def bands(self, classes: int) -> int:
        """Number of bands."""
        return classes if self.per_class else 1


def _labels(logits: Array, _: Any) -> Array:
    return arrays_of(logits).best(logits)[1][None]


def _confidence(_: Any, probabilities: Array) -> Array:
    return arrays_of(probabilities).largest(probabilities)[None]


def _probabilities(_: Any, probabilities: Array) -> Array:
    return probabilities


def _entropy(_: Any, probabilities: Array) -> Array:
    found = arrays_of(probabilities).entropy(probabilities, axis=0)
    return found / math.log(len(probabilities))


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
DISAGREEMENT = Layer(
    "disagreement",
    "how much the views of test-time augmentation disagree, from 0 to 1",
    is_share=True,
    per_class=False,
    compute=None,
)
LAYERS = {layer.name: layer for layer in (LABELS, CONFIDENCE, PROBABILITIES, ENTROPY, DISAGREEMENT)}


def check_layers(layers: Sequence[Layer], views: int) -> None:
    """Raise an :class:`InputError` if layers need more views than there are.

    Args:
        layers: the layers.
        views: number of views of the test-time augmentation, 1 without one.
    """
    if DISAGREEMENT in layers and views < 2:
        raise InputError(
            "disagreement=True",
            "compares the views of a test-time augmentation, and there is only one view",
            "use tta=lr or tta=dihedral",
        )


def channels(classes: int, layers: Sequence[Layer]) -> int:
    """Count the channels that a predictor gives for these layers.

    They are the logits of the classes. If the disagreement is one of the layers, it comes last.
    """
    return classes + (DISAGREEMENT in layers)


def compute_layers(scores: Array, layers: Sequence[Layer]) -> dict[str, np.ndarray]:
    """Compute the stored values of layers.

    Args:
        scores: (c, h, w) of one core, the logits of the k classes and what :func:`channels` says.
        layers: the layers.

    Returns:
        For each layer by name (bands, h, w) uint8.

    Raises:
        InputError: some logits are no numbers.
    """
    arrays = arrays_of(scores)
    logits = scores[:-1] if DISAGREEMENT in layers else scores
    # A sum is enough, and on a GPU one number is copied instead of one of each pixel.
    check_numbers(float(arrays.largest(logits).sum()))
    shares = logits
    if any(layer.is_share for layer in layers):
        shares = arrays.softmax(arrays.float32(logits), axis=0)
    found = {}
    for layer in layers:
        values = layer.compute(logits, shares) if layer.compute else arrays.float32(scores[-1:])
        if layer.is_share:
            values = arrays.rounded(values * STEPS)
        found[layer.name] = arrays.to_numpy(values)
    return found
