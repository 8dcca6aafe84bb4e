"""Fisher loss: scatter of class embeddings within classes over that between classes.

Source: arXiv 2512.20255, eq. 14 to 18.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from network.models.precision import at_least_float32

EPSILON = 1e-6


def fisher_loss(class_embeddings: Tensor, *, pairwise: bool = False) -> Tensor:
    """S_w / (S_b + 1e-6) over the images of the global batch; 0 for a single image.

    S_w is the mean over classes and images of the squared distance to the class mean, S_b the
    mean over classes of the squared distance of the class mean to the grand mean.

    Args:
        class_embeddings: (b, k, d); b is the same on every process.
        pairwise: S_b as the mean over pairs of classes of the squared distance of their means,
            as in the released code: 2k / (k - 1) times the above.
    """
    embeddings = at_least_float32(class_embeddings)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        # Backward sums over processes and DDP averages: the gradient is the global batch's.
        embeddings = torch.cat(all_gather(embeddings.contiguous()))
    class_means = embeddings.mean(dim=0)  # (k, d)
    within = (embeddings - class_means).square().sum(-1).mean()
    between = (class_means - class_means.mean(dim=0)).square().sum(-1).mean()
    if pairwise:
        k = class_means.shape[0]
        between = between * 2 * k / (k - 1)
    return within / (between + EPSILON)
