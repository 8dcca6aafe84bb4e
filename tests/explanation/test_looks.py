"""Looks at images: the pooled pixels are those of the network, and large images are windows."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from network.datasets.info import VAIHINGEN
from network.datasets.segmentation import Sample, find_samples
from network.explanation.explain import _chosen
from network.explanation.looks import look_at, pooled_shares
from network.models.bicor import BiCoRSeg, HBISLayer, pooling_weights
from network.models.unetformer import UNetFormer
from network.predictor import Predictor
from tests.scenes import make_dataset

IMAGENET = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


def predictor_of(model: nn.Module) -> Predictor:
    return Predictor(model, VAIHINGEN, IMAGENET, device="cpu")


@pytest.fixture
def samples(tmp_path):
    """An image that is padded by the network, and one that is cut into a window."""
    make_dataset(tmp_path, VAIHINGEN, {"test": 2}, ((90, 132), (40, 1100)))
    return find_samples(VAIHINGEN, tmp_path, "test")


def test_pooled_pixels_are_those_of_the_network(samples, monkeypatch):
    """Each layer is asked twice: for the explanation, and by the network itself."""
    used = []

    def note(score, count):
        used.append(pooling_weights(score, count))
        return used[-1]

    monkeypatch.setattr("network.models.bicor.pooling_weights", note)
    model = BiCoRSeg(6, "test_convnext", weights=None, dim=32, layers=2, topk_ratio=0.1, tau=0.7)
    predictor = predictor_of(model)
    look = look_at(predictor, samples[0], "full", VAIHINGEN)
    assert len(used) == 4
    explained, pooled = used[0::2], used[1::2]
    for layer, shown, own in zip(look.pooling, explained, pooled, strict=True):
        torch.testing.assert_close(shown, own, rtol=0, atol=0)
        whole = own.view(6, 24, 40)  # 90 x 132 pixels are padded to 96 x 160
        np.testing.assert_array_equal(layer, whole[:, :23, :33].numpy())
        assert (np.count_nonzero(whole, axis=(1, 2)) == 96).all()
    again = predictor.heatmaps(np.asarray(look.photo))
    for heat, expected in zip(look.heatmaps, again, strict=True):
        np.testing.assert_array_equal(heat, expected)
    assert [e.shape for e in look.embeddings] == [(6, 32), (6, 32)]
    np.testing.assert_array_equal(look.prediction, predictor.predict(look.photo).labels)


def test_other_layers_tell_no_pixels(samples):
    class Other(HBISLayer):
        def pool(self, score, features_n):
            return self.value(score.softmax(dim=-1) @ features_n)

    class Own(BiCoRSeg):
        def make_layer(self, *settings):
            return Other(*settings)

    model = Own(6, "test_convnext", weights=None, dim=32, layers=1)
    look = look_at(predictor_of(model), samples[0], "full", VAIHINGEN)
    assert (len(look.heatmaps), look.pooling) == (1, [])


def test_other_networks(samples):
    """A network that does not explain is seen without layers; a long image as a window."""
    make = partial(UNetFormer, 6, encoder="test_resnet", weights=None)
    look = look_at(predictor_of(make()), samples[1], "full", VAIHINGEN)
    assert (look.heatmaps, look.pooling, look.embeddings) == ([], [], [])
    assert look.is_window
    assert look.photo.shape == (40, 1024, 3)
    assert look.prediction.shape == look.truth.shape == (40, 1024)


def test_shares_of_the_pooled_weight():
    """Each pixel of the map stands for four by four of the image, of which the last are cut off."""
    weights = np.zeros((3, 2, 2), np.float32)
    weights[0, 0] = 0.25, 0.75
    weights[1, 1, 1] = 1
    weights[2, 1, 0] = 1
    truth = np.zeros((6, 8), np.uint8)
    truth[:, 4:] = 1
    truth[4:, :4] = 9  # not counted
    assert pooled_shares(weights, truth) == [0.25, 1.0, None]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["2"], ["b", "8"]),
        (2, ["b", "8"]),
        (["7"], ["7"]),
        (["7", "8"], ["7", "8"]),
        (["8", "a", "8"], ["8", "a"]),
        (0, []),
    ],
)
def test_names_may_be_numbers(words, expected):
    samples = [Sample(name=name, image=Path(f"{name}.png"), size=(8, 8)) for name in "ab78"]
    assert [sample.name for sample in _chosen(samples, words)] == expected
