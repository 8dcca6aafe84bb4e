"""Class embeddings of many images: how they scatter, and where they lie in a plane."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from network.losses.scatter import Scatter, scatter

NEIGHBORS = 30.0
"""Largest perplexity of t-SNE, which is about the number of neighbors that a point heeds."""


@dataclass(frozen=True)
class LayerEmbeddings:
    """The class embeddings of one layer over many images.

    Attributes:
        name: name of the layer.
        embeddings: (n, k, d) of n images.
        scatter: their scatter, as the Fisher loss computes it, with all images as one batch.
    """

    name: str
    embeddings: np.ndarray
    scatter: Scatter

    @classmethod
    def of(cls, name: str, embeddings: Sequence[np.ndarray]) -> "LayerEmbeddings":
        """Join the class embeddings (k, d) of images.

        Args:
            name: name of the layer.
            embeddings: those of each image.
        """
        joined = np.stack(embeddings).astype(np.float64)
        return cls(name, joined, scatter(torch.from_numpy(joined)))

    def distances(self) -> np.ndarray:
        """Compute the Euclidean distances of the class means, (k, k)."""
        means = self.scatter.class_means
        return torch.linalg.vector_norm(means[:, None] - means, dim=-1).numpy()

    def spreads(self) -> np.ndarray:
        """Compute the root mean square distance of each class to its mean, (k,)."""
        return self.scatter.within.sqrt().numpy()

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Write the scatter of the layer, of each class and of each pair of classes as plain data.

        Args:
            classes: names of the classes.
        """
        return {
            "layer": self.name,
            "within": self.scatter.within.mean().item(),
            "between": self.scatter.between.item(),
            "ratio": self.scatter.ratio.item(),
            "spreads": dict(zip(classes, self.spreads().tolist(), strict=True)),
            "pairs": self.pairs(classes),
        }

    def pairs(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """List each pair of classes with the distance of their means, and their spreads."""
        distances, spreads = self.distances(), self.spreads()
        return [
            {
                "class": classes[a],
                "other": classes[b],
                "distance": float(distances[a, b]),
                "spread": float(spreads[a]),
                "spread_of_other": float(spreads[b]),
            }
            for a, b in combinations(range(len(classes)), 2)
        ]


@dataclass(frozen=True)
class Projection:
    """Embeddings in a plane, for a picture.

    Attributes:
        points: (n, k, 2)
        variance: shares of the variance that the two axes of a PCA explain, from 0 to 1; None for
            t-SNE.
    """

    points: np.ndarray
    variance: tuple[float, float] | None = None


def project_pca(embeddings: np.ndarray) -> Projection:
    """Project embeddings (n, k, d) to their two directions of largest variance."""
    from sklearn.decomposition import PCA

    n, k, d = embeddings.shape
    pca = PCA(n_components=2, svd_solver="full")
    points = pca.fit_transform(embeddings.reshape(n * k, d))
    first, second = pca.explained_variance_ratio_.tolist()
    return Projection(points.reshape(n, k, 2), (first, second))


def project_tsne(embeddings: np.ndarray, seed: int = 0) -> Projection:
    """Project embeddings (n, k, d) so that neighbors stay neighbors; other distances mean nothing.

    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008.

    Args:
        embeddings: (n, k, d)
        seed: seed of the computation, which starts at the PCA.
    """
    from sklearn.manifold import TSNE

    n, k, d = embeddings.shape
    perplexity = min(NEIGHBORS, (n * k - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    return Projection(tsne.fit_transform(embeddings.reshape(n * k, d)).reshape(n, k, 2))
