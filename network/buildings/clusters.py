"""Prototypes from k-means with the cosine distance, and the selection of those that count.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248) after LPCAM (Chen et al., CVPR 2023).

Notation: n is the number of vectors, c of channels, and k of clusters.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from network.errors import InputError
from network.failures import DAMAGED_ZIP
from network.writing import replacing

BLOCK = 65536
"""Number of vectors whose cosines to all centers are in memory at once."""


@dataclass(frozen=True)
class Clustering:
    """Result of k-means.

    Attributes:
        centers: (k, c) centers of the clusters.
        sizes: (k,) number of vectors in each, counted with their multiplicity.
    """

    centers: Tensor
    sizes: Tensor


def kmeans(
    vectors: Tensor,
    k: int,
    *,
    seed: int = 0,
    weights: Tensor | None = None,
    tolerance: float = 5.0,
    max_iterations: int = 100,
) -> Clustering:
    """Cluster vectors by cosine distance; a center is the plain mean of its vectors.

    If a cluster loses all its vectors, it starts again from the vector that is farthest from the
    center of the cluster that it is in.

    Args:
        vectors: (n, c), float16 or wider, on the device that computes.
        k: number of clusters; there are fewer if there are fewer vectors.
        seed: seed of the first centers.
        weights: (n,) multiplicity of each vector; by default 1.
        tolerance: limit for the squared sum of the centers' shifts. Below it the iteration stops,
            and also if no vector changes its cluster.
        max_iterations: largest number of iterations.

    Raises:
        InputError: there is no vector.
    """
    n = len(vectors)
    if not n:
        raise InputError("no feature vectors to cluster; see clusters.foreground")
    weights = torch.ones(n, device=vectors.device) if weights is None else weights.float()
    generator = torch.Generator().manual_seed(seed)
    start = torch.randperm(n, generator=generator)[: min(k, n)].to(vectors.device)
    centers = vectors[start].float()
    before: Tensor | None = None
    for _ in range(max_iterations):
        own, cosine = _assign(vectors, centers)
        own = _reseed(own, cosine, len(centers))
        moved = _means(vectors, weights, own, len(centers))
        shift = (moved - centers).norm(dim=1).sum() ** 2
        centers = moved
        if shift < tolerance or (before is not None and own.equal(before)):
            break
        before = own
    sizes = torch.zeros(len(centers), device=vectors.device).index_add_(0, own, weights)
    return Clustering(centers, sizes)


def _assign(vectors: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest center of each vector (n,), and the cosine to it (n,)."""
    directions = functional.normalize(centers, dim=1)
    found = [
        (functional.normalize(block.float(), dim=1) @ directions.T).max(dim=1)
        for block in vectors.split(BLOCK)
    ]
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


def _reseed(own: Tensor, cosine: Tensor, k: int) -> Tensor:
    """Give every empty cluster one vector, the farthest first, without emptying another one."""
    counts = own.bincount(minlength=k)
    empty = (counts == 0).nonzero()[:, 0].tolist()
    if not empty:
        return own
    own = own.clone()
    candidates = iter(cosine.argsort().tolist())
    for label in empty:
        index = next(i for i in candidates if counts[own[i]] > 1)
        counts[own[index]] -= 1
        counts[label] += 1
        own[index] = label
    return own


def _means(vectors: Tensor, weights: Tensor, own: Tensor, k: int) -> Tensor:
    sums = torch.zeros(k, vectors.shape[1], device=vectors.device)
    for block, weight, label in zip(
        vectors.split(BLOCK), weights.split(BLOCK), own.split(BLOCK), strict=True
    ):
        sums.index_add_(0, label, block.float() * weight[:, None])
    total = torch.zeros(k, device=vectors.device).index_add_(0, own, weights)
    return sums / total[:, None]


@dataclass(frozen=True)
class Prototypes:
    """Cluster centers of buildings and of their surroundings, and which of them count.

    Attributes:
        foreground: (k, c) centers of buildings.
        context: (k, c) centers of the surroundings.
        foreground_p: (k,) the classifier's probability of a building for each building center.
        context_p: (k,) the same for each center of the surroundings.
        foreground_sizes: (k,) number of vectors of each building center.
        context_sizes: (k,) the same for each center of the surroundings.
        foreground_kept: (k,) bool, whether each building center counts.
        context_kept: (k,) bool, whether each center of the surroundings counts.
        fell_back: whether the rule kept no building center, so the likeliest one counts.
    """

    foreground: Tensor
    context: Tensor
    foreground_p: Tensor
    context_p: Tensor
    foreground_sizes: Tensor
    context_sizes: Tensor
    foreground_kept: Tensor
    context_kept: Tensor
    fell_back: bool


def select(
    foreground: Clustering, context: Clustering | None, head_weight: Tensor, keep: float
) -> Prototypes:
    """Select the centers that count by the classifier's probability of a building.

    Args:
        foreground: clusters of buildings.
        context: clusters of the surroundings; None if there are none.
        head_weight: (c,), weights of the classifier's last layer.
        keep: probability above which a building center counts, and below which a center of the
            surroundings counts.
    """
    c = head_weight.shape[0]
    empty = Clustering(head_weight.new_zeros(0, c), head_weight.new_zeros(0))
    context = context or empty
    of_foreground = (foreground.centers @ head_weight).sigmoid()
    of_context = (context.centers @ head_weight).sigmoid()
    kept = of_foreground > keep
    fell_back = not kept.any()
    if fell_back:
        kept = torch.arange(len(kept), device=kept.device) == of_foreground.argmax()
    return Prototypes(
        foreground=foreground.centers,
        context=context.centers,
        foreground_p=of_foreground,
        context_p=of_context,
        foreground_sizes=foreground.sizes,
        context_sizes=context.sizes,
        foreground_kept=kept,
        context_kept=of_context < keep,
        fell_back=fell_back,
    )


def write_prototypes(path: Path, prototypes: Prototypes) -> None:
    """Write all prototypes as arrays into an NPZ file."""
    arrays = {
        key: value.cpu().numpy() if isinstance(value, Tensor) else np.array(value)
        for key, value in vars(prototypes).items()
    }
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_prototypes(path: Path) -> Prototypes:
    """Read prototypes that :func:`write_prototypes` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with np.load(path) as arrays:
            return Prototypes(
                foreground=torch.from_numpy(arrays["foreground"]),
                context=torch.from_numpy(arrays["context"]),
                foreground_p=torch.from_numpy(arrays["foreground_p"]),
                context_p=torch.from_numpy(arrays["context_p"]),
                foreground_sizes=torch.from_numpy(arrays["foreground_sizes"]),
                context_sizes=torch.from_numpy(arrays["context_sizes"]),
                foreground_kept=torch.from_numpy(arrays["foreground_kept"]),
                context_kept=torch.from_numpy(arrays["context_kept"]),
                fell_back=bool(arrays["fell_back"]),
            )
    except (OSError, ValueError, TypeError, KeyError, *DAMAGED_ZIP) as error:
        raise InputError(path, f"unreadable ({error})", "delete it, and cluster again") from error
