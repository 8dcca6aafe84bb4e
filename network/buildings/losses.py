"""The losses of activation refinement: balanced soft cross-entropy and multi-scale consistency.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248): pixel classification loss (PCL),
after AMN (Lee et al., CVPR 2022), and multi-scale consistency loss (MCL).

Notation: b batch, k classes, h x w the size of the logits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from network.models.precision import at_least_float32

MIN_PROBABILITY = 1e-3


def balanced_soft_cross_entropy(
    logits: Tensor, seed: Tensor, epsilon: float = 0.15, ignore_index: int = 255
) -> Tensor:
    """Cross-entropy with soft targets, each class of the seed with the same weight.

    The target is 1 - epsilon for the class of the seed, epsilon shared by the others. The mean is
    taken over the pixels of each class, then over all k; a class without any adds nothing.

    Args:
        logits: (b, k, h, w).
        seed: (b, h, w) int64, 0 to k-1 or ``ignore_index``.

    Returns:
        A scalar; 0, and still connected to the graph, where the seed is ignored everywhere.
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
    """Sum over the scales of KL(P_i || M), M the mean of their probabilities P_i.

    The mean is over all pixels and images. An image in which M is nowhere (where there is a seed)
    as sure as ``confidence`` of any class counts as 0.

    Args:
        logits: of each scale, (b, k, h, w) all.
        seed: (b, h, w) int64.
    """
    log_p = torch.stack([at_least_float32(maps).log_softmax(dim=1) for maps in logits])
    p = log_p.exp()  # (scales, b, k, h, w)
    mean = p.mean(dim=0).clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    divergence = (p * (log_p - mean.log())).sum(dim=(0, 2))  # (b, h, w)
    sure = (mean.amax(dim=1) * (seed != ignore_index)).amax(dim=(1, 2)) >= confidence  # (b,)
    return (divergence * sure[:, None, None]).mean()
