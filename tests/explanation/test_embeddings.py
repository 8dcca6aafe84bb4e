"""Class embeddings of many images: their scatter by hand and by the loss, their projections."""

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances

from network.explanation.embeddings import LayerEmbeddings, project_pca, project_tsne
from network.losses.scatter import fisher_loss


@pytest.fixture
def layer() -> LayerEmbeddings:
    """Two images, two classes in a plane: class means (1, 0) and (1, 4), grand mean (1, 2)."""
    images = [np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[2.0, 0.0], [1.0, 6.0]])]
    return LayerEmbeddings.of("layer 1", images)


def test_by_hand(layer):
    document = layer.to_json(("road", "tree"))
    assert document == {
        "layer": "layer 1",
        "within": 2.5,  # of 1 and 4
        "between": 4.0,
        "ratio": pytest.approx(0.625, abs=1e-6),
        "spreads": {"road": 1.0, "tree": 2.0},
        "pairs": [
            {
                "class": "road",
                "other": "tree",
                "distance": 4.0,
                "spread": 1.0,
                "spread_of_other": 2.0,
            }
        ],
    }


def test_the_ratio_is_the_fisher_loss():
    rng = np.random.default_rng(0)
    images = list(rng.normal(size=(7, 5, 16)) + 3 * rng.normal(size=(5, 16)))
    layer = LayerEmbeddings.of("layer 1", images)
    loss = fisher_loss(torch.tensor(np.stack(images)))
    assert layer.scatter.ratio.item() == pytest.approx(loss.item(), rel=1e-6)
    means = np.mean(images, axis=0)
    np.testing.assert_allclose(layer.distances(), pairwise_distances(means), atol=1e-6)


def test_projections():
    """PCA keeps all distances of a plane; t-SNE keeps neighbors, and is the same each time."""
    rng = np.random.default_rng(0)
    centers = 20 * np.eye(3, 8)
    plane = np.linalg.qr(rng.normal(size=(8, 2)))[0].T
    flat = rng.normal(size=(10, 3, 2)) @ plane
    pca = project_pca(flat)
    assert sum(pca.variance) == pytest.approx(1)
    expected = pairwise_distances(flat.reshape(30, 8))
    np.testing.assert_allclose(pairwise_distances(pca.points.reshape(30, 2)), expected, atol=1e-9)
    far = centers + rng.normal(size=(10, 3, 8))
    tsne = project_tsne(far)
    distances = pairwise_distances(tsne.points.reshape(30, 2)) + np.diag(np.full(30, np.inf))
    assert (distances.argmin(axis=1) % 3 == np.arange(30) % 3).all()
    np.testing.assert_array_equal(tsne.points, project_tsne(far).points)


def test_a_single_image():
    """Nothing scatters within the classes, and two points are still drawn."""
    layer = LayerEmbeddings.of("layer 1", [np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 8.0]])])
    assert layer.scatter.ratio == 0
    for projection in (project_pca(layer.embeddings), project_tsne(layer.embeddings)):
        assert np.isfinite(projection.points).all()
