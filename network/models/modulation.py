"""The modulation of pixel features by the probable classes of each pixel."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from network.models.precision import current_autocast


def modulate(probability: Tensor, scale: Tensor, shift: Tensor, features: Tensor) -> Tensor:
    """Compute p scale * F + p shift: each pixel has its own mixture of the scales and shifts.

    The mixtures have as many values as the features. They cost little, so the backward pass
    computes them again instead of keeping them.

    Args:
        probability: p (b, s, k).
        scale: (b, k, d)
        shift: (b, k, d)
        features: F (b, s, d).

    Returns:
        (b, s, d)
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return _modulate(probability, scale, shift, features)
    result: Tensor = _Modulation.apply(probability, scale, shift, features)
    return result


def _modulate(probability: Tensor, scale: Tensor, shift: Tensor, features: Tensor) -> Tensor:
    return (probability @ shift).addcmul_(features, probability @ scale)


class _Modulation(torch.autograd.Function):
    """See :func:`modulate`."""

    @staticmethod
    def forward(
        ctx: Any, probability: Tensor, scale: Tensor, shift: Tensor, features: Tensor
    ) -> Tensor:
        ctx.save_for_backward(probability, scale, shift, features)
        ctx.autocast = current_autocast(features.device)
        return _modulate(probability, scale, shift, features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        inputs = ctx.saved_tensors
        probability, scale, shift, features = inputs
        with ctx.autocast():
            of_mixture = gradient * features  # the gradient of p scale
            of_probability = gradient @ shift.mT + of_mixture @ scale.mT
            of_scale, of_shift = probability.mT @ of_mixture, probability.mT @ gradient
            of_features = gradient * (probability @ scale)
        found = of_probability, of_scale, of_shift, of_features
        return tuple(g.to(x.dtype) for g, x in zip(found, inputs, strict=True))
