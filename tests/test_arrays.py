"""The operations of NumPy and of torch give the same, also where libraries differ in detail."""

import numpy as np
import pytest
import torch
import ttach

from network.arrays import NumpyArrays, arrays_of
from network.datasets.info import LOVEDA, POTSDAM, VAIHINGEN
from network.torch_arrays import TorchArrays
from network.tta import TTA_NAMES, build_views, logits_and_disagreement, mean_logits

RNG = np.random.default_rng(0)
NUMPY, TORCH = NumpyArrays(), TorchArrays()


def both(name, values, *args, **options):
    found = getattr(NUMPY, name)(values, *args, **options)
    expected = getattr(TORCH, name)(torch.from_numpy(values), *args, **options)
    return found, expected.numpy()


@pytest.mark.parametrize("size", [(20, 31), (13, 7), (40, 62), (21, 30), (1, 1)])
def test_resizing(size):
    """To larger, smaller and odd sizes."""
    values = RNG.normal(0, 1, (2, 7, 20, 31)).astype(np.float32)
    np.testing.assert_allclose(*both("resize", values, size), atol=2e-5)


def test_single_operations():
    values = RNG.normal(0, 5, (3, 6, 8, 9)).astype(np.float32)
    np.testing.assert_allclose(*both("softmax", values, axis=1), atol=1e-6)
    shares = NUMPY.softmax(values, axis=1)
    shares[0, 0] = 0
    np.testing.assert_allclose(*both("entropy", shares, axis=1), atol=1e-6)
    np.testing.assert_array_equal(*both("rounded", np.abs(values) + 0.5))
    np.testing.assert_array_equal(*both("rounded", np.arange(9, dtype=np.float32) / 2))
    np.testing.assert_array_equal(*both("turn", values, 1))
    np.testing.assert_array_equal(*both("flip", values, 3))
    found, expected = NUMPY.best(values[0]), TORCH.best(torch.from_numpy(values[0]))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.numpy().dtype
        np.testing.assert_array_equal(ours, theirs.numpy())
    assert isinstance(arrays_of(values), NumpyArrays)
    assert isinstance(arrays_of(torch.ones(1)), TorchArrays)


@pytest.mark.parametrize("info", [VAIHINGEN, POTSDAM, LOVEDA])
@pytest.mark.parametrize("name", TTA_NAMES)
def test_views_of_both(name, info):
    """The logits and the disagreement of a network that prefers a direction."""
    weight = torch.from_numpy(RNG.normal(0, 1, (4, 3, 3, 3)).astype(np.float32))

    def of_torch(images):
        return torch.conv2d(images, weight, padding=1)

    def of_numpy(images):
        return of_torch(torch.from_numpy(np.ascontiguousarray(images))).numpy()

    image, views = RNG.normal(0, 1, (2, 3, 25, 18)).astype(np.float32), build_views(name, info)
    expected = logits_and_disagreement(of_torch, torch.from_numpy(image), views)
    found = logits_and_disagreement(of_numpy, image, views)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-5)
    np.testing.assert_array_equal(mean_logits(of_numpy, image, views), found[0])


def test_symmetries_are_those_of_ttach():
    """In the same order, so that sums of floats are the same too."""
    flips = [ttach.HorizontalFlip(), ttach.VerticalFlip()]
    theirs = {
        "none": ttach.Compose([]),
        "lr": ttach.Compose(flips),
        "dihedral": ttach.Compose([*flips, ttach.Rotate90([0, 90])]),
    }
    image = torch.arange(2 * 5 * 4.0).view(1, 2, 5, 4)
    for name, views in theirs.items():
        pairs = zip(build_views(name, VAIHINGEN).symmetries, views, strict=True)
        for ours, other in pairs:
            turned = ours.augment_image(image)
            assert turned.equal(other.augment_image(image))
            assert ours.deaugment_mask(turned).equal(image)
