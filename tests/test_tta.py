"""Test-time augmentation: number of views, exactness of turning back, invariance."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from network.datasets.info import LOVEDA, POTSDAM, VAIHINGEN
from network.tta import TTA_NAMES, build_views, logits_and_disagreement, mean_logits


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
    assert len(build_views(name, info)) == views


def test_unknown_name():
    with pytest.raises(ValueError, match="d5"):
        build_views("d5", VAIHINGEN)


@settings(deadline=None, max_examples=20)
@given(
    name=st.sampled_from(["none", "lr", "dihedral"]),
    height=st.integers(3, 40),
    width=st.integers(3, 40),
)
def test_pixelwise_prediction_is_unchanged(name, height, width):
    """Flips and quarter turns lose nothing, also of images that are not square."""
    image = torch.randn(2, 3, height, width)
    result = mean_logits(lambda x: x * 2, image, build_views(name, VAIHINGEN))
    torch.testing.assert_close(result, image * 2)


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_scales_come_back_to_the_size(height, width):
    """Odd sizes too: 601 * 1.25 / 1.25 rounds to 600. A side of 1 pixel keeps it when halved."""
    sizes = []

    def predict(image):
        sizes.append(tuple(image.shape[-2:]))
        return image

    image = torch.zeros(1, 3, height, width)
    views = build_views("d4", VAIHINGEN)
    assert mean_logits(predict, image, views).shape == image.shape
    scaled = {(max(1, round(height * s)), max(1, round(width * s))) for s in VAIHINGEN.d4.scales}
    assert set(sizes) == scaled | {size[::-1] for size in scaled}


def test_dihedral_makes_any_predictor_equivariant():
    """Turning the image turns the mean of the eight views, whatever the network prefers."""
    weight = torch.randn(4, 3, 3, 3)

    def predict(image):
        return torch.conv2d(image, weight, padding=1)

    image = torch.randn(1, 3, 24, 24)
    views = build_views("dihedral", VAIHINGEN)
    for turn in (lambda x: x.rot90(1, (2, 3)), lambda x: x.flip(2), lambda x: x.transpose(2, 3)):
        turned = mean_logits(predict, turn(image), views)
        torch.testing.assert_close(turned, turn(mean_logits(predict, image, views)))
        assert not torch.allclose(predict(turn(image)), turn(predict(image)))


@pytest.mark.parametrize("info", [VAIHINGEN, POTSDAM, LOVEDA])
@pytest.mark.parametrize("max_pixels", [None, 1, 24 * 20 * 3, 24 * 20 * 100])
def test_mean_logits_by_hand(info, max_pixels):
    """However the views are batched: the mean over scales and symmetries, one after another."""
    weight = torch.randn(4, 3, 3, 3)
    sizes = []

    def predict(image):
        sizes.append(image[:, 0].numel())
        return torch.conv2d(image, weight, padding=1)

    def resize(image, size):
        return torch.nn.functional.interpolate(image, size=size, mode="bicubic")

    image = torch.randn(2, 3, 24, 20)
    flips = [lambda x: x, lambda x: x.flip(3)]
    if info.d4.vertical_flip:
        flips += [lambda x: x.flip(2), lambda x: x.flip(2, 3)]
    expected = []
    for scale in info.d4.scales:
        scaled = resize(image, (round(24 * scale), round(20 * scale)))
        for flip in flips:
            for turns in [0, 1] if 90 in info.d4.rotations else [0]:
                logits = predict(flip(scaled).rot90(turns, (2, 3))).rot90(-turns, (2, 3))
                expected.append(resize(flip(logits), (24, 20)))
    sizes.clear()
    actual = mean_logits(predict, image, build_views("d4", info), max_pixels)
    torch.testing.assert_close(actual, sum(expected) / len(expected), atol=1e-5, rtol=1e-5)
    pixels = sum(round(24 * s) * round(20 * s) for s in info.d4.scales)
    assert sum(sizes) == 2 * pixels * len(expected) // len(info.d4.scales)
    largest = max(round(24 * s) * round(20 * s) for s in info.d4.scales)
    assert max(sizes) <= max(max_pixels or 2 * 24 * 20, largest)


@pytest.mark.parametrize("name", ["none", "lr", "dihedral", "d4"])
@pytest.mark.parametrize("max_pixels", [None, 24 * 20])
def test_disagreement_by_hand(name, max_pixels):
    """The entropy of the mean minus the mean entropy, however the views are batched."""
    weight = torch.randn(4, 3, 3, 3)
    seen = []

    def predict(image):
        return torch.conv2d(image, weight, padding=1)

    image, views = torch.randn(3, 3, 24, 20), build_views(name, VAIHINGEN)
    for scale in views.scales:
        size = round(24 * scale), round(20 * scale)
        scaled = torch.nn.functional.interpolate(image, size=size, mode="bicubic")
        for view in views.symmetries:
            logits = view.deaugment_mask(predict(view.augment_image(scaled)))
            logits = torch.nn.functional.interpolate(logits, size=(24, 20), mode="bicubic")
            seen.append(logits.softmax(dim=1).double())

    def entropy(p):
        return -(p * p.log()).sum(dim=1, keepdim=True)

    mean = sum(seen) / len(seen)
    expected = (entropy(mean) - sum(map(entropy, seen)) / len(seen)) / math.log(4)
    logits, found = logits_and_disagreement(predict, image, views, max_pixels)
    assert logits.equal(mean_logits(predict, image, views, max_pixels))
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)


def test_disagreement_is_1_where_each_view_is_sure_of_another_class():
    """And 0 where all are equally uncertain."""
    image = torch.arange(4.0).view(1, 1, 2, 2)
    views = build_views("lr", VAIHINGEN)

    def predict(turned):
        # The value at the top left differs from view to view.
        label = turned[:, 0, 0, 0].long()
        return 50 * torch.nn.functional.one_hot(label, 4)[..., None, None].expand(-1, -1, 2, 2)

    _, apart = logits_and_disagreement(predict, image, views)
    torch.testing.assert_close(apart, torch.ones(1, 1, 2, 2))
    _, alike = logits_and_disagreement(lambda x: x.expand(-1, 5, -1, -1), image, views)
    assert alike.abs().max() < 1e-6


def test_symmetries_of_vaihingen_are_dihedral():
    """Its flips and quarter turn are the whole group; the scales come on top."""
    for name in ("dihedral", "d4"):
        views = build_views(name, VAIHINGEN).symmetries
        image = torch.arange(48.0).view(1, 3, 4, 4)
        assert len({tuple(v.augment_image(image).flatten().tolist()) for v in views}) == 8


def test_names():
    assert TTA_NAMES == ("none", "lr", "d4", "dihedral")
