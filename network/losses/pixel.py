"""Cross-entropy and Dice loss over the valid pixels of a label map, from one softmax.

Logits of another size than the labels are resized to them, bilinear.

If no pixel is valid, both are zero and still connected to the graph.
"""

import math

import torch.nn.functional as nnf
from torch import Tensor

from network.losses.softmax_sums import resize, softmax_sums
from network.models.precision import at_least_float32

DICE_SMOOTHING = 0.05


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
    hard_share: float = 1.0,
) -> Tensor:
    """Compute the cross-entropy with label smoothing, as the mean over the valid pixels.

    Without weights it equals ``torch.nn.functional.cross_entropy`` if any pixel is valid; else it
    is 0.

    With weights, the cross-entropy of each pixel is multiplied by the weight of its class, as if
    the pixel occurred that many times. The sum is divided by the number of pixels. torch divides by
    the sum of their weights, so a batch in which all pixels are of a frequent class counts as much
    there as one with a rare class, and the weights lose a part of their effect. torch also weights
    the label smoothing by the other classes, so that all pixels are pulled to the rare ones.

    Args:
        logits: (b, k, h, w)
        labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        smoothing: share of the target that all classes get in equal parts, 0 to below 1.
        weights: (k,) weights of the classes; None if all are 1.
        hard_share: share of the valid pixels that count, above 0 to 1: those with the largest
            weighted cross-entropy (online hard example mining; Shrivastava et al., CVPR 2016).

    Examples:
        >>> import torch
        >>> logits = torch.zeros(1, 2, 1, 2)  # both classes are equally probable
        >>> cross_entropy(logits, torch.tensor([[[0, 255]]]), ignore_index=255)
        tensor(0.6931)
    """
    each_pixel = hard_share < 1
    if not each_pixel and logits.device.type == "cpu":
        losses = softmax_sums(logits, labels, ignore_index, smoothing, weights).losses
    else:
        # On a GPU, torch's own cross-entropy is one step. On a CPU, it takes two thirds of the time
        # if the loss of each pixel is needed, and nothing else.
        losses = _torch_losses(logits, labels, ignore_index, smoothing, weights, each_pixel)
    return _mean(losses, labels != ignore_index, hard_share)


def _mean(losses: Tensor, valid: Tensor, hard_share: float) -> Tensor:
    """Compute the mean over the valid pixels, from their losses or the sum of these."""
    if hard_share < 1:
        return mean_of_hardest(losses, valid, hard_share)
    return losses.sum() / valid.sum().clamp(min=1)


def _torch_losses(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int,
    smoothing: float,
    weights: Tensor | None,
    each_pixel: bool,
) -> Tensor:
    """Compute the losses of the pixels, or the sum of these, by torch's function."""
    losses = nnf.cross_entropy(
        at_least_float32(resize(logits, labels)),
        labels,
        ignore_index=ignore_index,
        label_smoothing=smoothing,
        reduction="sum" if weights is None and not each_pixel else "none",
    )
    if weights is None:
        return losses
    return weights.to(losses)[labels.where(labels != ignore_index, 0)] * losses


def mean_of_hardest(losses: Tensor, valid: Tensor, share: float) -> Tensor:
    """Compute the mean of the largest losses of valid pixels; 0 if there are none.

    Args:
        losses: (b, H, W)
        valid: (b, H, W) bool, the pixels that count.
        share: share of the valid pixels of the batch that are kept, above 0 to 1; rounded up to
            whole pixels.

    Examples:
        >>> import torch
        >>> losses = torch.tensor([[[4.0, 1.0, 9.0, 2.0]]])
        >>> mean_of_hardest(losses, torch.tensor([[[True, True, False, True]]]), share=0.5)
        tensor(3.)
    """
    found = losses[valid]
    kept = found.topk(math.ceil(share * len(found)), sorted=False).values
    return kept.sum() / max(len(kept), 1)


def cross_entropy_and_dice(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
    hard_share: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Compute :func:`cross_entropy` and the soft Dice loss.

    For each class, Dice is 1 - (2 I + e) / (C + e) over the batch's valid pixels, with I the sum of
    p t, C the sum of p + t, p the softmax, t the one-hot truth and e = 0.05. Classes absent
    from the batch count as 0 but stay in the mean.

    Args:
        logits: (b, k, h, w)
        labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing of the cross-entropy.
        weights: (k,) weights of the classes in the cross-entropy; None if all are 1. Dice has none:
            in its mean over the classes, a rare class counts as much as a frequent one already.
        hard_share: see :func:`cross_entropy`. Dice counts all pixels.
    """
    each_pixel = hard_share < 1
    sums = softmax_sums(logits, labels, ignore_index, smoothing, weights, each_pixel=each_pixel)
    ce = _mean(sums.losses, labels != ignore_index, hard_share)
    cardinality = sums.probability + sums.pixels
    dice = 1 - (2 * sums.intersection + DICE_SMOOTHING) / (cardinality + DICE_SMOOTHING)
    return ce, (dice * (sums.pixels > 0)).mean()
