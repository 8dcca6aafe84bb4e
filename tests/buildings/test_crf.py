"""The fully connected CRF: its filter against sums over all pairs, its masks against an image."""

import numpy as np
import pytest
import torch

from network.buildings.crf import Permutohedral, mean_field


@pytest.mark.parametrize(("d", "extent"), [(1, 8), (2, 4), (3, 3), (5, 2)])
def test_filter_is_nearly_the_sum_over_all_pairs(d, extent):
    """Normalized, as the CRF uses it: the lattice is an approximation within a few percent."""
    generator = torch.Generator().manual_seed(d)
    features = extent * torch.rand(1500, d, generator=generator)
    values = torch.rand(1500, 2, generator=generator)
    kernel = torch.exp(-torch.cdist(features, features).square() / 2)
    expected = kernel @ values / kernel.sum(dim=1, keepdim=True)
    filtered = Permutohedral(features)
    found = filtered(values) / filtered(torch.ones(1500, 1))
    assert (found - expected).abs().mean() < 0.2 * expected.std()
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.97


def test_filter_is_linear_and_nearly_symmetric():
    features = 3 * torch.rand(300, 3)
    filtered = Permutohedral(features)
    matrix = filtered(torch.eye(300))
    a, b = torch.rand(2, 300, 1)
    torch.testing.assert_close(filtered(a + 2 * b), matrix @ (a + 2 * b))
    assert (matrix - matrix.T).abs().max() < 0.25 * matrix.max()
    assert (matrix >= 0).all()


def test_points_far_apart_do_not_mix():
    features = torch.tensor([[0.0, 0.0], [0.1, 0.0], [50.0, 50.0]])
    filtered = Permutohedral(features)(torch.tensor([[1.0], [0.0], [0.0]]))
    assert filtered[1] > 0.3
    assert filtered[2] == 0


def house() -> tuple[np.ndarray, np.ndarray]:
    """A noisy image of a roof, and where it is."""
    rng = np.random.default_rng(0)
    image = np.full((64, 72, 3), 90, np.uint8)
    truth = np.zeros((64, 72), bool)
    truth[16:48, 20:56] = True
    image[truth] = (180, 90, 80)
    noisy = image + rng.normal(0, 3, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), truth


def test_masks_follow_the_image():
    """A mask that is shifted against the roof comes to lie on it; each mask on its own."""
    image, truth = house()
    shifted = np.roll(truth, (5, 6), axis=(0, 1))
    both = mean_field(image, np.stack([shifted, np.zeros_like(truth)]))

    def iou(mask):
        return (mask & truth).sum() / (mask | truth).sum()

    assert iou(shifted) < 0.6
    assert iou(both[0]) > 0.97
    assert not both[1].any()
    assert (mean_field(image, shifted[None])[0] == both[0]).all()


def test_masks_turn_with_the_image():
    image, truth = house()
    mask = np.roll(truth, 4, axis=1)
    turned = mean_field(image[:, ::-1].copy(), mask[None, :, ::-1].copy())[0]
    assert (turned[:, ::-1] == mean_field(image, mask[None])[0]).mean() > 0.995
