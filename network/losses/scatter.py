"""The Fisher loss: scatter of class embeddings within classes, divided by that between classes.

Source: arXiv 2512.20255, eq. 14 to 18.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from network.models.precision import at_least_float32

EPSILON = 1e-6


class Scatter(NamedTuple):
    """How class embeddings scatter over images; k classes, d channels.

    Attributes:
        class_means: mean embedding of each class over the images, (k, d).
        within: mean squared distance of the embeddings of each class to the class mean, (k,).
        between: mean over the classes of the squared distance of the class mean to the grand mean.
    """

    class_means: Tensor
    within: Tensor
    between: Tensor

    @property
    def ratio(self) -> Tensor:
        """S_w / (S_b + 1e-6), with S_w the mean over the classes of the scatter within them."""
        return self.within.mean() / (self.between + EPSILON)


def scatter(class_embeddings: Tensor) -> Scatter:
    """Compute the scatter of class embeddings within and between the classes (eq. 14 and 15).

    Args:
        class_embeddings: (b, k, d) of b images.

    Examples:
        >>> found = scatter(torch.tensor([[[0.0], [8.0]], [[2.0], [10.0]]]))
        >>> found.within, found.between
        (tensor([1., 1.]), tensor(16.))
    """
    class_means = class_embeddings.mean(dim=0)  # (k, d)
    within = (class_embeddings - class_means).square().sum(-1).mean(dim=0)  # (k,)
    between = (class_means - class_means.mean(dim=0)).square().sum(-1).mean()
    return Scatter(class_means, within, between)


def fisher_loss(class_embeddings: Tensor, *, pairwise: bool = False) -> Tensor:
    """Compute the Fisher loss S_w / (S_b + 1e-6) of the global batch; 0 for a single image.

    S_w is the scatter within the classes: the mean over classes and images of the squared distance
    to the class mean. S_b is the scatter between them: the mean over classes of the squared
    distance of the class mean to the grand mean.

    Args:
        class_embeddings: (b, k, d); b is the same on every process.
        pairwise: whether S_b is the mean over pairs of classes of the squared distance of their
            means, as in the released code. It is 2k / (k - 1) times the S_b above.

    Examples:
        >>> embeddings = torch.tensor([[[0.0], [8.0]], [[2.0], [10.0]]])  # two images, two classes
        >>> fisher_loss(embeddings)  # within: 1, between: 16
        tensor(0.0625)
    """
    embeddings = at_least_float32(class_embeddings)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        embeddings = _global_batch(embeddings)
    found = scatter(embeddings)
    if pairwise:
        k = embeddings.shape[1]
        found = found._replace(between=found.between * 2 * k / (k - 1))
    return found.ratio


def _global_batch(embeddings: Tensor) -> Tensor:
    """Join the embeddings (b, k, d) of all processes to (b * processes, k, d).

    Each process sends gradients only to its own part. DDP divides their sum by the number of
    processes, and this function multiplies by it, so the result is the gradient of the global
    batch.
    """
    processes = dist.get_world_size()
    own = embeddings.detach()
    parts = [torch.empty_like(own) for _ in range(processes)]
    dist.all_gather(parts, own.contiguous())
    parts[dist.get_rank()] = own + processes * (embeddings - own)
    return torch.cat(parts)
