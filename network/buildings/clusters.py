"""Prototypes: k-means by direction, and which clusters are buildings'.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248) after LPCAM (Chen et al., CVPR 2023).

Notation: n vectors, c channels, k clusters.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from network.errors import InputError
from network.writing import replacing

BLOCK = 65536
"""Vectors whose cosines to all centers are held at once."""


@dataclass(frozen=True)
class Clustering:
    """What k-means found.

    Attributes:
        centers: (k, c)
        sizes: (k,) vectors of each, with their multiplicity.
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
    """Clusters by cosine distance; a center is the plain mean of its vectors.

    A cluster that lost all its vectors starts anew from the vector that is farthest from its own
    center.

    Args:
        vectors: (n, c), float16 or wider; on the device that shall compute.
        k: fewer clusters are found of fewer vectors.
        weights: (n,) multiplicity of each vector; by default 1.
        tolerance: the centers have settled when the square of the sum of their shifts is below it,
            or no vector changes its cluster.

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
    """The nearest center of each vector, and the cosine to it: (n,) both."""
    directions = functional.normalize(centers, dim=1)
    found = [
        (functional.normalize(block.float(), dim=1) @ directions.T).max(dim=1)
        for block in vectors.split(BLOCK)
    ]
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


def _reseed(own: Tensor, cosine: Tensor, k: int) -> Tensor:
    """Give every empty cluster one vector, the farthest first; no cluster is emptied by it."""
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
    """Centers of both kinds, and which of them count.

    Attributes:
        foreground, context: (k, c) centers of buildings' vectors and of their surroundings'.
        foreground_p, context_p: (k,) the classifier's probability of a building.
        foreground_sizes, context_sizes: (k,) vectors of each.
        foreground_kept, context_kept: (k,) bool.
        fell_back: whether no foreground center was kept by the rule, and the likeliest is instead.
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
    """Which centers count: a building's above the probability ``keep``, the others' below.

    Args:
        context: None: no vector is of the surroundings.
        head_weight: (c,), of the classifier.
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
    """Write all of them as arrays."""
    arrays = {
        key: value.cpu().numpy() if isinstance(value, Tensor) else np.array(value)
        for key, value in vars(prototypes).items()
    }
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_prototypes(path: Path) -> Prototypes:
    """What :func:`write_prototypes` wrote.

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
    except (OSError, ValueError, TypeError, KeyError, BadZipFile) as error:
        raise InputError(path, f"unreadable ({error})", "delete it, and cluster again") from error
