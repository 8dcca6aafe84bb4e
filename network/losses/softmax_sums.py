"""Sums over the pixels of a softmax over classes, in blocks that fit into a processor's cache.

Cross-entropy and Dice need only a few such sums. Written with autograd, each step reads and writes
a map of all classes at full size, and some of these maps are kept for the backward pass. Here both
passes go through the pixels block by block, and the softmax is computed again in the backward pass.
Kept is one number for each pixel, beside the logits themselves.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor
from torch.autograd.function import once_differentiable

from network.models.precision import at_least_float32

BLOCK = 65536
"""Number of pixels of a block: few enough for the cache, enough to keep all threads busy."""


class SoftmaxSums(NamedTuple):
    """Sums over the valid pixels; k classes, p the softmax of the logits over the classes.

    Attributes:
        losses: sum of the cross-entropy of the pixels, each times the weight of its class; or, if
            asked for, this product for each pixel, (b, H, W), which is 0 where it does not count.
        intersection: sum of p of the pixel's own class, for the pixels of each class, (k,).
        probability: sum of p of each class, (k,).
        pixels: number of pixels of each class, (k,) int64.
    """

    losses: Tensor
    intersection: Tensor
    probability: Tensor
    pixels: Tensor


def softmax_sums(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
    *,
    each_pixel: bool = False,
) -> SoftmaxSums:
    """Compute the sums and, in the backward pass, the gradient of the logits.

    Blocks are for the caches of a CPU. A GPU would wait for many small steps, so there the sums are
    those of :func:`plain_softmax_sums`.

    Args:
        logits: (b, k, h, w). If their size is not that of the labels, they are resized to it,
            bilinear.
        labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing of the losses, see :func:`network.losses.pixel.cross_entropy`.
        weights: (k,) weights of the classes in the losses; None if all are 1.
        each_pixel: whether to return the loss of each pixel instead of the sum.

    Returns:
        Sums in float32, or in float64 if the logits have it.
    """
    if logits.device.type != "cpu":
        return plain_softmax_sums(
            logits, labels, ignore_index, smoothing, weights, each_pixel=each_pixel
        )
    options = ignore_index, smoothing, weights, each_pixel
    return SoftmaxSums(*_SoftmaxSums.apply(logits, labels, *options))


def plain_softmax_sums(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
    *,
    each_pixel: bool = False,
) -> SoftmaxSums:
    """Compute the same as :func:`softmax_sums`, by autograd; see there."""
    log_p = at_least_float32(resize(logits, labels)).log_softmax(dim=1)
    valid = labels != ignore_index
    index = labels.where(valid, 0)[:, None]  # (b, 1, H, W)
    own = valid if weights is None else valid * weights.to(log_p)[index[:, 0]]
    p = log_p.exp() * valid[:, None]
    classes = torch.arange(logits.shape[1], device=labels.device).view(1, -1, 1, 1)
    truth = (labels[:, None] == classes) & valid[:, None]
    smoothed = (1 - smoothing) * log_p.gather(1, index)[:, 0] + smoothing * log_p.mean(dim=1)
    losses = -smoothed * own
    return SoftmaxSums(
        losses if each_pixel else losses.sum(),
        (p * truth).sum(dim=(0, 2, 3)),
        p.sum(dim=(0, 2, 3)),
        truth.sum(dim=(0, 2, 3)),
    )


def resize(logits: Tensor, labels: Tensor) -> Tensor:
    """Resize logits (b, k, h, w) to labels (b, H, W), bilinear; (b, k, H, W)."""
    size = labels.shape[-2:]
    if logits.shape[-2:] == size:
        return logits
    return nnf.interpolate(logits, size=size, mode="bilinear", align_corners=False)


class _Block(NamedTuple):
    """A block of n pixels of one image.

    Attributes:
        image: number of the image in the batch.
        pixels: place of the pixels in the flattened image.
        logits: (k, n), float32 or better.
        own_class: class of each pixel, (1, n); 0 where the pixel does not count.
        weight: weight of each pixel, (n,); 0 where it does not count.
        valid: (n,), whether the pixel counts.
    """

    image: int
    pixels: slice
    logits: Tensor
    own_class: Tensor
    weight: Tensor
    valid: Tensor


def _blocks(
    logits: Tensor, labels: Tensor, ignore_index: int, weights: Tensor | None
) -> Iterator[_Block]:
    kind = torch.promote_types(logits.dtype, torch.float32)
    weights = None if weights is None else weights.to(kind)
    for number, (own_logits, own_labels) in enumerate(
        zip(logits.flatten(2), labels.flatten(1), strict=True)
    ):
        for start in range(0, own_labels.numel(), BLOCK):
            pixels = slice(start, start + BLOCK)
            index = own_labels[pixels]
            valid = index != ignore_index
            index = index.where(valid, 0)
            weight = valid.to(kind)
            if weights is not None:
                weight = weight * weights.index_select(0, index)
            yield _Block(number, pixels, own_logits[:, pixels].to(kind), index[None], weight, valid)


class _SoftmaxSums(torch.autograd.Function):
    """See :func:`softmax_sums`; the gradient is that of the formulas in :class:`SoftmaxSums`."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        ignore_index: int,
        smoothing: float,
        weights: Tensor | None,
        each_pixel: bool,
    ) -> tuple[Tensor, ...]:
        # Products under autocast would be of half precision.
        with torch.autocast(logits.device.type, enabled=False):
            options = ignore_index, smoothing, weights, each_pixel
            return _SoftmaxSums._forward(ctx, logits, labels, *options)

    @staticmethod
    def _forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        ignore_index: int,
        smoothing: float,
        weights: Tensor | None,
        each_pixel: bool,
    ) -> tuple[Tensor, ...]:
        full = resize(logits, labels)
        k = full.shape[1]
        kind = torch.promote_types(full.dtype, torch.float32)
        normalizers = torch.empty(full[:, 0].shape, dtype=kind, device=full.device).flatten(1)
        losses = torch.empty_like(normalizers) if each_pixel else None
        # The sums of many blocks are added in float64.
        true_log_p, mean_log_p = (full.new_zeros((), dtype=torch.float64) for _ in range(2))
        intersection, probability = (full.new_zeros(k, dtype=torch.float64) for _ in range(2))
        pixels = torch.zeros(k, dtype=torch.int64, device=full.device)
        for block in _blocks(full, labels, ignore_index, weights):
            largest = block.logits.amax(0)
            terms = (block.logits - largest).exp_()
            total = terms.sum(0)
            normalizer = total.log().add_(largest)
            log_p = block.logits.gather(0, block.own_class)[0] - normalizer
            own_true = log_p * block.weight
            own_mean = (block.logits.mean(0) - normalizer).mul_(block.weight)
            if losses is None:
                true_log_p += own_true.sum()
                mean_log_p += own_mean.sum()
            else:
                losses[block.image, block.pixels] = _smooth(own_true, own_mean, smoothing)
            p = log_p.exp_().mul_(block.valid)
            intersection += p.new_zeros(k).index_add_(0, block.own_class[0], p)
            probability += terms.mul_(block.valid / total).sum(1)
            pixels += torch.bincount(block.own_class[0].where(block.valid, k), minlength=k + 1)[:k]
            # Without a finite normalizer, p is 0 in the backward pass.
            normalizers[block.image, block.pixels] = normalizer.masked_fill_(
                ~block.valid, torch.inf
            )
        ctx.save_for_backward(logits, labels, normalizers, weights)
        ctx.ignore_index, ctx.smoothing = ignore_index, smoothing
        ctx.mark_non_differentiable(pixels)
        if losses is None:
            found = _smooth(true_log_p.to(kind), mean_log_p.to(kind), smoothing)
        else:
            found = losses.view(labels.shape)
        return found, intersection.to(kind), probability.to(kind), pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        logits, labels, normalizers, weights = ctx.saved_tensors
        with torch.autocast(logits.device.type, enabled=False):
            full = resize(logits, labels)
            options = ctx.ignore_index, ctx.smoothing, weights
            gradient = _gradient(full, labels, *options, normalizers, gradients)
            if full is not logits:
                gradient = torch.ops.aten.upsample_bilinear2d_backward(
                    gradient, full.shape[-2:], logits.shape, False, None, None
                )
        return gradient, None, None, None, None, None


def _smooth(true_log_p: Tensor, mean_log_p: Tensor, smoothing: float) -> Tensor:
    """Compute the loss from log p of the true class and the mean of log p over the classes."""
    return -((1 - smoothing) * true_log_p + smoothing * mean_log_p)


def _gradient(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int,
    smoothing: float,
    weights: Tensor | None,
    normalizers: Tensor,
    gradients: tuple[Tensor, ...],
) -> Tensor:
    """Compute the gradient of the logits (b, k, H, W) from the gradients of the sums.

    Args:
        logits: (b, k, H, W)
        labels: (b, H, W)
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing of the losses.
        weights: (k,) weights of the classes, or None.
        normalizers: logarithm of the sum of the exponentials of each pixel, (b, H * W); infinite
            where the pixel does not count.
        gradients: gradients of the fields of :class:`SoftmaxSums`.
    """
    of_losses, of_intersection, of_probability, _ = gradients
    each_pixel = of_losses.flatten(1) if of_losses.ndim else None
    # The gradient of the loss of a pixel is a further weight of it.
    of_sum = of_losses if each_pixel is None else of_losses.new_ones(())
    of_true, of_mean = -(1 - smoothing) * of_sum, -smoothing * of_sum
    k = logits.shape[1]
    result = torch.empty_like(logits, memory_format=torch.contiguous_format)
    flat = result.flatten(2)
    for block in _blocks(logits, labels, ignore_index, weights):
        p = (block.logits - normalizers[block.image, block.pixels]).exp_()
        weight = block.weight
        if each_pixel is not None:
            weight = weight * each_pixel[block.image, block.pixels]
        # The gradient of the pixel's own p, times this p.
        own = p.gather(0, block.own_class)[0].mul_(
            of_intersection.index_select(0, block.own_class[0])
        )
        mean = (of_probability @ p).add_(own).add_(weight * (of_true + of_mean))
        gradient = (of_probability[:, None] - mean).mul_(p).add_(weight * (of_mean / k))
        gradient.scatter_add_(0, block.own_class, own.add_(weight * of_true)[None])
        flat[block.image, :, block.pixels] = gradient
    return result
