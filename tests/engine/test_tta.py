"""Test-time augmentation: number of views, exactness of turning back, invariance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from network.datasets.info import LOVEDA, POTSDAM, VAIHINGEN
from network.engine.tta import TTA_NAMES, build_views, mean_logits


@pytest.mark.parametrize(
    ("name", "info", "views"),
    [
        ("none", VAIHINGEN, 1),
        ("lr", VAIHINGEN, 4),
        ("dihedral", VAIHINGEN, 8),
        ("d4", VAIHINGEN, 40),
        ("d4", POTSDAM, 16),
        ("d4", LOVEDA, 8),
    ],
)
def test_number_of_views(name, info, views):
    assert len(build_views(name, info, (64, 64))) == views


def test_unknown_name():
    with pytest.raises(ValueError, match="d5"):
        build_views("d5", VAIHINGEN, (64, 64))


@settings(deadline=None, max_examples=20)
@given(
    name=st.sampled_from(["none", "lr", "dihedral"]),
    height=st.integers(3, 40),
    width=st.integers(3, 40),
)
def test_pixelwise_prediction_is_unchanged(name, height, width):
    """Flips and quarter turns lose nothing, also of images that are not square."""
    image = torch.randn(2, 3, height, width)
    result = mean_logits(lambda x: x * 2, image, build_views(name, VAIHINGEN, (height, width)))
    torch.testing.assert_close(result, image * 2)


@settings(deadline=None, max_examples=10)
@given(height=st.integers(17, 70), width=st.integers(17, 70))
def test_scales_come_back_to_the_size(height, width):
    """Odd sizes too: 601 * 1.25 / 1.25 rounds to 600."""
    sizes = []

    def predict(image):
        sizes.append(tuple(image.shape[-2:]))
        return image

    image = torch.zeros(1, 3, height, width)
    views = build_views("d4", VAIHINGEN, (height, width))
    assert mean_logits(predict, image, views).shape == image.shape
    scaled = {(round(height * s), round(width * s)) for s in VAIHINGEN.d4.scales}
    assert set(sizes) == scaled | {size[::-1] for size in scaled}


def test_dihedral_makes_any_predictor_equivariant():
    """Turning the image turns the mean of the eight views, whatever the network prefers."""
    weight = torch.randn(4, 3, 3, 3)

    def predict(image):
        return torch.conv2d(image, weight, padding=1)

    image = torch.randn(1, 3, 24, 24)
    views = build_views("dihedral", VAIHINGEN, (24, 24))
    for turn in (lambda x: x.rot90(1, (2, 3)), lambda x: x.flip(2), lambda x: x.transpose(2, 3)):
        turned = mean_logits(predict, turn(image), views)
        torch.testing.assert_close(turned, turn(mean_logits(predict, image, views)))
        assert not torch.allclose(predict(turn(image)), turn(predict(image)))


def test_d4_of_vaihingen_at_scale_one_is_dihedral():
    """Its flips and quarter turn are the whole group; the scales come on top."""
    views = {
        name: {
            tuple(view.augment_image(torch.arange(48.0).view(1, 3, 4, 4)).flatten().tolist())
            for view in build_views(name, VAIHINGEN, (4, 4))
        }
        for name in ("dihedral", "d4")
    }
    assert len(views["dihedral"]) == 8
    assert views["dihedral"] <= views["d4"]


def test_names():
    assert TTA_NAMES == ("none", "lr", "d4", "dihedral")
