"""Products of vectors with the sum of features and their position."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from network.models.precision import current_autocast


def sum_product(bias: Tensor, vectors: Tensor, features: Tensor, position: Tensor) -> Tensor:
    """Compute bias + vectors (features + position)^T.

    The sum is as large as the features and costs little, so the backward pass computes it again
    instead of keeping it.

    Args:
        bias: (b, m, 1)
        vectors: (b, m, d)
        features: (b, s, d)
        position: (b or 1, s, d); it gets no gradient.

    Returns:
        (b, m, s)
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return _sum_product(bias, vectors, features, position)
    result: Tensor = _SumProduct.apply(bias, vectors, features, position.detach())
    return result


def _sum_product(bias: Tensor, vectors: Tensor, features: Tensor, position: Tensor) -> Tensor:
    return torch.baddbmm(bias, vectors, (features + position).mT)


class _SumProduct(torch.autograd.Function):
    """See :func:`sum_product`."""

    @staticmethod
    def forward(
        ctx: Any, bias: Tensor, vectors: Tensor, features: Tensor, position: Tensor
    ) -> Tensor:
        ctx.save_for_backward(vectors, features, position)
        ctx.autocast = current_autocast(features.device)
        ctx.bias_type = bias.dtype
        return _sum_product(bias, vectors, features, position)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        vectors, features, position = ctx.saved_tensors
        with ctx.autocast():
            of_bias = gradient.sum(-1, keepdim=True)
            of_vectors = gradient @ (features + position)
            of_features = gradient.mT @ vectors
        found = of_bias.to(ctx.bias_type), of_vectors.to(vectors.dtype)
        return *found, of_features.to(features.dtype), None
