"""Losses of the activation refinement: balanced soft cross-entropy and multi-scale consistency.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248), with its pixel classification loss
(PCL, after AMN, Lee et al., CVPR 2022) and its multi-scale consistency loss (MCL).

Notation: b is the batch, k the number of classes, and h x w the size of the logits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from network.models.precision import at_least_float32

MIN_PROBABILITY = 1e-3


def balanced_soft_cross_entropy(
    logits: Tensor, seed: Tensor, epsilon: float = 0.15, ignore_index: int = 255
) -> Tensor:
    """Compute the cross-entropy with soft targets and the same weight for each class of the seed.

    The target is 1 - epsilon for the class of the seed; the other classes share epsilon. The mean
    is taken over the pixels of each class, then over all k classes. A class without pixels adds 0.

    Args:
        logits: (b, k, h, w)
        seed: (b, h, w) int64, 0 to k-1 or ``ignore_index``.
        epsilon: share of the other classes in the target.
        ignore_index: label of pixels that do not count.

    Returns:
        A scalar. If the whole seed is ignored, it is 0 and still connected to the graph.
    """
    k = logits.shape[1]
    log_p = at_least_float32(logits).log_softmax(dim=1)
    own = log_p.gather(1, seed.where(seed != ignore_index, 0)[:, None])[:, 0]  # (b, h, w)
    others = log_p.sum(dim=1) - own
    loss = -(1 - epsilon) * own - epsilon / (k - 1) * others
    means = []
    for label in range(k):
        is_label = seed == label
        means.append((loss * is_label).sum() / is_label.sum().clamp(min=1))
    return torch.stack(means).mean()


def multi_scale_consistency(
    logits: Sequence[Tensor], seed: Tensor, confidence: float = 0.8, ignore_index: int = 255
) -> Tensor:
    """Compute the sum over the scales of KL(P_i || M), averaged over all pixels and images.

    P_i are the probabilities of scale i, and M is their mean. An image counts as 0 if M reaches
    ``confidence`` at no pixel with a seed.

    Args:
        logits: logits of each scale, all resized to (b, k, h, w).
        seed: (b, h, w) int64
        confidence: probability that M must reach, 0 to 1.
        ignore_index: label of pixels without a seed.
    """
    log_p = torch.stack([at_least_float32(maps).log_softmax(dim=1) for maps in logits])
    p = log_p.exp()  # (scales, b, k, h, w)
    mean = p.mean(dim=0).clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    divergence = (p * (log_p - mean.log())).sum(dim=(0, 2))  # (b, h, w)
    sure = (mean.amax(dim=1) * (seed != ignore_index)).amax(dim=(1, 2)) >= confidence  # (b,)
    return (divergence * sure[:, None, None]).mean()
