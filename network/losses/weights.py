"""Weights of the classes in a loss, given as numbers or computed from numbers of pixels.

Sources of the rules: the inverse frequency and its square root are common practice (the root is
used, for example, by Mikolov et al., NeurIPS 2013, and Mahajan et al., ECCV 2018, to draw rare
items); effective numbers of samples are from Cui et al., CVPR 2019. Median frequencies (Eigen and
Fergus, ICCV 2015) have no name here: up to a factor that the normalization removes they are inverse
frequencies, if the pixels of a class are compared with those of all images.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from network.errors import InputError, nearest
from network.settings import require

Weights = tuple[float, ...] | str | None
"""One number for each class, the name of a rule, or None (or ``"none"``) for no weights."""

BETA = 0.9999

RULES = {
    "inverse": torch.reciprocal,
    "sqrt_inverse": torch.rsqrt,
    "effective": lambda counts: 1 / (1 - BETA**counts),
}
"""Functions from numbers of pixels to weights, of any size."""


def check_part_weights(**weights: float) -> None:
    """Raise an :class:`InputError` if the weight of a part of a loss is negative or not finite.

    Args:
        weights: the weights by the names of their settings.
    """
    for name, value in weights.items():
        require(0 <= value < math.inf, f"loss.{name}", value, "at least 0")


def class_weights(
    counts: Sequence[int] | Tensor,
    weights: tuple[float, ...] | str,
    max_ratio: float | None = None,
    mean: Literal["pixels", "classes"] = "pixels",
) -> Tensor:
    """Compute weights of the classes from their numbers of pixels.

    A class without pixels gets the largest weight of the others.

    Args:
        counts: (k,) number of pixels of each class.
        weights: a rule, by which rare classes weigh more: ``"inverse"``: 1 / count;
            ``"sqrt_inverse"``: its square root; ``"effective"``: 1 / (1 - beta^count) with beta
            0.9999, which is the same for all classes of more than some 50,000 pixels. Or one number
            for each class, of which only the ratios matter.
        max_ratio: largest ratio of two weights of a rule: larger weights are lowered to the
            smallest one times this number. By default, and for given numbers, there is no limit.
        mean: what has the mean 1: ``"pixels"``, the weights of all labeled pixels, so that the loss
            stays about as large as without weights; ``"classes"``, the weights of the classes that
            have pixels.

    Returns:
        (k,) float32

    Raises:
        InputError: there are fewer or more numbers than classes.

    Examples:
        >>> class_weights([300, 100, 0], "inverse", mean="classes")
        tensor([0.5000, 1.5000, 1.5000])
        >>> class_weights([800, 200], "inverse")  # 800 * 0.625 + 200 * 2.5 = 1000
        tensor([0.6250, 2.5000])
        >>> class_weights([800, 200], (1.0, 6.0))
        tensor([0.5000, 3.0000])
    """
    counts = torch.as_tensor(counts, dtype=torch.float64)
    has_pixels = counts > 0
    if not has_pixels.any():
        return torch.ones(len(counts))
    if isinstance(weights, str):
        found = RULES[weights](counts.clamp(min=1))
        if max_ratio is not None:
            found = found.clamp(max=max_ratio * found[has_pixels].min())
        found = found.where(has_pixels, found[has_pixels].max())
    else:
        if len(weights) != len(counts):
            raise InputError(
                f"loss.weights={weights}",
                f"{len(weights)} numbers, but there are {len(counts)} classes",
                "give one number for each class",
            )
        found = torch.tensor(weights, dtype=torch.float64)
    shares = counts if mean == "pixels" else has_pixels.double()
    average = (found * shares).sum() / shares.sum()
    if not average:
        raise InputError(
            f"loss.weights={weights}",
            "no class with a weight above 0 has training pixels",
            "raise the weight of a class that has some",
        )
    return (found / average).float()


class WeightedLoss(nn.Module):
    """The base of losses that can weight the classes.

    The weights need numbers of pixels, which the training sets before it begins
    (:meth:`set_class_counts`). Until then, all weights are 1.

    Args:
        weights: see :func:`class_weights`; None or ``"none"`` for no weights.
        max_ratio: see :func:`class_weights`.
        counted: the masks whose pixels are counted, see :class:`network.contracts.CountingLoss`.
        mean: see :func:`class_weights`.

    Raises:
        InputError: a value is out of range.
    """

    class_weights: Tensor | None
    """(k,) weights of the classes; None if all are 1."""

    counted: str | None
    """The masks whose pixels are counted; None if nothing needs to be counted."""

    def __init__(
        self,
        weights: Weights,
        max_ratio: float | None,
        counted: str = "labels",
        mean: Literal["pixels", "classes"] = "pixels",
    ):
        super().__init__()
        _check(weights, max_ratio)
        self.weights = None if weights == "none" else weights
        self.max_ratio, self.mean = max_ratio, mean
        self.counted = None if self.weights is None else counted
        # Class weights belong to the experiment and its data, so they are not saved.
        self.register_buffer("class_weights", None, persistent=False)

    def set_class_counts(self, counts: Sequence[int]) -> None:
        """Set the class weights from pixel counts; not to be called if ``counted`` is None.

        Args:
            counts: (k,) number of pixels of each class, in the masks that ``counted`` names.

        Raises:
            InputError: see :func:`class_weights`.
        """
        assert self.weights is not None
        self.class_weights = class_weights(counts, self.weights, self.max_ratio, self.mean)

    def describe(self, classes: Sequence[str]) -> str:
        """Write the weights as text, with the name of each class.

        Args:
            classes: the names.
        """
        weights = [1.0] * len(classes) if self.class_weights is None else self.class_weights
        return ", ".join(f"{name} {float(w):.3g}" for name, w in zip(classes, weights, strict=True))


def _check(weights: Weights, max_ratio: float | None) -> None:
    known = ("none", *RULES)
    if isinstance(weights, str):
        if weights not in known:
            raise InputError(
                f"loss.weights={weights}",
                f"must be one of {', '.join(known)}, or one number for each class"
                f"{nearest(weights, known)}",
            )
    elif weights is not None and not (all(0 <= w < math.inf for w in weights) and any(weights)):
        raise InputError(f"loss.weights={weights}", "must be numbers of at least 0, some above 0")
    if max_ratio is not None and not 1 <= max_ratio < math.inf:
        raise InputError(f"loss.max_ratio={max_ratio}", "must be at least 1, or None for no limit")
