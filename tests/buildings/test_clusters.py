"""K-means by direction, the choice of prototypes, and the maps that they give."""

import numpy as np
import pytest
import torch
from torch import nn

from network.buildings.activation import (
    boosted,
    class_activation,
    expanded_activation,
    prototype_direction,
    refined_probabilities,
    upsampled,
)
from network.buildings.clusters import (
    Clustering,
    kmeans,
    read_prototypes,
    select,
    write_prototypes,
)
from network.errors import InputError


def cones(count: int, *axes: int, c: int = 8) -> torch.Tensor:
    """Vectors of any length around axes of the space, ``count`` of each."""
    parts = []
    for axis in axes:
        direction = torch.zeros(c)
        direction[axis] = 1
        length = 0.5 + 3 * torch.rand(count, 1)
        parts.append(length * (direction + 0.1 * torch.randn(count, c)))
    return torch.cat(parts)


@pytest.mark.parametrize("seed", range(5))
def test_cones_are_found(seed):
    vectors = cones(100, 0, 3)
    found = kmeans(vectors, 2, seed=seed, tolerance=0.0)
    directions = nn.functional.normalize(found.centers, dim=1)
    assert sorted(directions.argmax(dim=1).tolist()) == [0, 3]
    assert sorted(found.sizes.tolist()) == [100, 100]
    # A center is the plain mean of its vectors, long ones weigh more.
    first = found.centers[directions.argmax(dim=1) == 0][0]
    torch.testing.assert_close(first, vectors[:100].mean(dim=0))


def test_multiplicities_count_like_repetitions():
    """Vector i with weight w is w vectors: means and sizes."""
    vectors, weights = cones(50, 0, 3), torch.randint(1, 4, (100,))
    weighted = kmeans(vectors, 2, weights=weights, tolerance=0.0)
    own = nn.functional.normalize(vectors, dim=1) @ nn.functional.normalize(weighted.centers).T
    repeated = vectors.repeat_interleave(weights, dim=0)
    labels = own.argmax(dim=1).repeat_interleave(weights)
    for label in range(2):
        of_label = repeated[labels == label]
        torch.testing.assert_close(weighted.centers[label], of_label.mean(dim=0))
        assert weighted.sizes[label] == len(of_label)


def test_empty_clusters_start_anew():
    """Many equal vectors and one that differs: every cluster keeps a vector, nothing is NaN."""
    vectors = torch.cat([torch.ones(20, 4), torch.tensor([[1.0, -1, 0, 0]])])
    for seed in range(6):
        found = kmeans(vectors, 4, seed=seed)
        assert found.centers.isfinite().all()
        assert (found.sizes > 0).all()
        assert found.sizes.sum() == 21


def test_fewer_vectors_than_clusters():
    assert len(kmeans(cones(1, 0, 1, 2), 20).centers) == 3
    with pytest.raises(InputError, match="no feature vectors"):
        kmeans(torch.zeros(0, 4), 3)


HEAD = torch.tensor([1.0, 0.0])


def clustering(*logits: float) -> Clustering:
    """Centers whose logits are these."""
    return Clustering(torch.tensor([[logit, 1.0] for logit in logits]), torch.ones(len(logits)))


def test_selection():
    """Above logit 2.197 a building's center counts, below it one of the surroundings."""
    found = select(clustering(3.0, 2.19, 2.2, -1.0), clustering(-2.0, 2.3, 1.0), HEAD, 0.9)
    assert found.foreground_kept.tolist() == [True, False, True, False]
    assert found.context_kept.tolist() == [True, False, True]
    assert not found.fell_back
    assert found.foreground_p[0].item() == pytest.approx(1 / (1 + np.exp(-3)))


def test_selection_falls_back():
    found = select(clustering(-3.0, 1.5, 0.2), clustering(4.0), HEAD, 0.9)
    assert found.foreground_kept.tolist() == [False, True, False]
    assert found.context_kept.tolist() == [False]
    assert found.fell_back
    without = select(clustering(3.0), None, HEAD, 0.9)
    assert without.context.shape == (0, 2)
    assert without.context_kept.shape == (0,)


def test_prototypes_are_kept(tmp_path):
    found = select(clustering(3.0, -1.0), None, HEAD, 0.9)
    write_prototypes(tmp_path / "p.npz", found)
    again = read_prototypes(tmp_path / "p.npz")
    for key, value in vars(found).items():
        other = getattr(again, key)
        assert value.equal(other) if isinstance(value, torch.Tensor) else value == other
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="unreadable"):
        read_prototypes(tmp_path / "p.npz")


class Painted(nn.Module):
    """A classifier whose features are the image's own colors, averaged over cells of 16."""

    def __init__(self, weight: list[float]):
        super().__init__()
        self.head = nn.Conv2d(3, 1, 1, bias=False)
        self.head.weight.data = torch.tensor(weight).view(1, 3, 1, 1)
        self.requires_grad_(False)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(image, 16, ceil_mode=True)


def quarters() -> torch.Tensor:
    """An image of four colors: red, green, blue, and red and green."""
    image = torch.zeros(1, 3, 64, 64)
    image[0, 0, :32, :32] = 1
    image[0, 1, :32, 32:] = 1
    image[0, 2, 32:, :32] = 1
    image[0, :2, 32:, 32:] = 0.5
    return image


def test_expanded_map():
    """What is equal to a building's center and orthogonal to the context scores highest."""
    direction = prototype_direction(torch.tensor([[5.0, 0, 0]]), torch.tensor([[0, 0.1, 0]]))
    torch.testing.assert_close(direction, torch.tensor([1.0, -1.0, 0.0]))
    found = expanded_activation(Painted([1.0, 0, 0]), quarters(), direction, (1.0,))[0]
    assert found.min() >= 0
    assert found.max() <= 1
    assert found[8, 8] == pytest.approx(1, abs=1e-4)  # red
    for place in ((8, 56), (56, 8), (56, 56)):  # context, neither, both alike
        assert found[place] == pytest.approx(0, abs=1e-4)


def test_direction_is_the_difference_of_mean_cosines():
    foreground, context, vectors = torch.randn(3, 6), torch.randn(4, 6), torch.randn(10, 6)
    direction = prototype_direction(foreground, context)

    def mean_cosine(centers):
        cosines = nn.functional.cosine_similarity(vectors[:, None], centers[None], dim=-1)
        return cosines.mean(dim=1)

    expected = mean_cosine(foreground) - mean_cosine(context)
    torch.testing.assert_close(nn.functional.normalize(vectors, dim=1) @ direction, expected)
    alone = prototype_direction(foreground, torch.zeros(0, 6))
    torch.testing.assert_close(
        nn.functional.normalize(vectors, dim=1) @ alone, mean_cosine(foreground)
    )


def test_class_activation():
    """Red speaks for a building: its quarter is 1, the half-red one half of it, the others 0."""
    found = class_activation(Painted([2.0, 0, 0]), quarters(), (1.0, 2.0))[0]
    assert found[8, 8] == pytest.approx(1, abs=1e-4)
    assert found[56, 56] == pytest.approx(0.5, abs=1e-4)
    assert found[8, 56] == found[56, 8] == 0
    assert class_activation(Painted([-1.0, -1, -1]), quarters(), (1.0,)).abs().max() == 0


@pytest.mark.parametrize("size", [(250, 250), (96, 130)])
def test_maps_are_as_large_as_their_images(size):
    image = torch.rand(2, 3, *size)
    model = Painted([1.0, 0, 0])
    assert class_activation(model, image, (1.0, 0.5, 1.5)).shape == (2, *size)
    direction = torch.tensor([1.0, 0, 0])
    assert expanded_activation(model, image, direction, (1.0, 2.0)).shape == (2, *size)


@pytest.mark.parametrize("side", [96, 100, 110, 140, 250])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5, 2.0])
def test_maps_lie_on_their_images(side, scale):
    """The middle of a square in the map is that of the square in the image."""
    image = torch.zeros(1, 3, side, side)
    image[:, 0, 32:64, 32:64] = 1  # one cell at the smallest scale
    model = Painted([1.0, 0, 0])

    def refine(view, _):
        return 20 * model.features(view)[:, [1, 0]]

    cam = class_activation(model, image, (scale,))[0]
    ar = refined_probabilities(refine, image, (scale,))[0, 1] - 0.5
    for found in (cam.numpy(), ar.numpy()):
        rows, columns = np.indices(found.shape) + 0.5
        middle = [float((found * axis).sum() / found.sum()) for axis in (rows, columns)]
        np.testing.assert_allclose(middle, 48, atol=0.5)


@pytest.mark.parametrize("scale", [0.01, 0.3, 0.75, 1.3])
def test_other_scales_have_whole_cells(scale):
    sides: list[int] = []

    def refine(view, _):
        sides.extend(view.shape[-2:])
        return torch.zeros(len(view), 2, view.shape[-2] // 16, view.shape[-1] // 16)

    assert refined_probabilities(refine, torch.rand(1, 3, 90, 96), (scale,)).shape[-2:] == (90, 96)
    assert all(side % 16 == 0 and side >= 16 for side in sides)


def test_maps_mirror_with_their_images():
    image, model = torch.rand(1, 3, 64, 96), Painted([1.0, -0.5, 0])
    found = class_activation(model, image, (1.0, 1.5))
    mirrored = class_activation(model, image.flip(-1), (1.0, 1.5))
    torch.testing.assert_close(mirrored.flip(-1), found)


def test_upsampling_cuts_the_last_cells():
    """Cells of 16 pixels; of the last only what the image has."""
    cells = torch.arange(16.0).view(1, 1, 4, 4)
    whole = nn.functional.interpolate(cells, (64, 64), mode="bilinear")
    torch.testing.assert_close(upsampled(cells, (50, 61)), whole[..., :50, :61])


def test_refined_probabilities_and_boost():
    """A mean of logits over both mirror images and all scales; the boost spares background."""

    def refine(view, label):
        assert (label == 1).all()
        cells = nn.functional.avg_pool2d(view, 16)
        return torch.stack([cells[:, 1], cells[:, 0]], dim=1)

    image = quarters()
    p = refined_probabilities(refine, image, (1.0, 2.0))
    assert p.shape == (1, 2, 64, 64)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(1, 64, 64))
    assert p[0, 1, 8, 8] == pytest.approx(np.e / (1 + np.e), abs=1e-5)
    seed = torch.full((1, 64, 64), 255)
    seed[:, :, :32] = 0
    found = boosted(p, seed)
    torch.testing.assert_close(found[..., :32], p[..., :32])
    largest = p.amax(dim=(2, 3))[0]
    torch.testing.assert_close(found[0, :, 8, 40], p[0, :, 8, 40] / (largest + 1e-5))
