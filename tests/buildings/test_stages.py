"""Scores of the chain's stages, by hand."""

import numpy as np
import pytest
import torch

from network.buildings.settings import Classifier, Refiner
from network.buildings.stages import best_threshold, building_iou, matrix_at, threshold_counts
from network.buildings.tasks import (
    TrainingTiles,
    long_side_between,
    nearest_cells,
    normalization_record,
    normalize_for,
    scale_between,
)
from network.datasets.files import write_image
from network.datasets.segmentation import Sample
from network.settings import IMAGENET_MEAN, IMAGENET_STD


def test_all_thresholds_at_once():
    """Each threshold's confusion matrix as if the map were cut there; 255 does not count."""
    rng = np.random.default_rng(0)
    activation = rng.random((40, 50)).astype(np.float16).astype(np.float32)
    activation[0, :5] = (0, 0.5, 1, 0.25, 0.75)
    truth = rng.choice([0, 1, 255], (40, 50))
    counts = threshold_counts(activation, truth)
    assert counts.sum() == (truth != 255).sum()
    for threshold in (0.0, 0.25, 0.5, 0.65, 0.99):
        found = activation > threshold + 1e-5  # float16 values of a hundredth are not quite that
        expected = [[((truth == t) & (found == f)).sum() for f in (0, 1)] for t in (0, 1)]
        assert matrix_at(counts, threshold).tolist() == expected


def test_the_best_threshold():
    """Buildings at 0.8, ground at 0.3 and one pixel at 0.6: any cut from 0.6 on is perfect."""
    activation = np.array([[0.8, 0.8, 0.3, 0.6]], np.float32)
    truth = np.array([[1, 1, 0, 0]])
    counts = threshold_counts(activation, truth)
    assert best_threshold(counts) == 0.6
    assert building_iou(matrix_at(counts, 0.6)) == 1
    assert building_iou(matrix_at(counts, 0.5)) == pytest.approx(2 / 3)
    assert building_iou(matrix_at(counts, 0.9)) == 0


def test_sizes_of_training_tiles():
    rng = np.random.default_rng(0)
    long, scaled = long_side_between(192, 320), scale_between(0.5, 1.5)
    drawn = [long((100, 200), rng) for _ in range(300)]
    assert {max(size) for size in drawn} <= set(range(192, 321))
    assert min(drawn)[1] < 200 < 312 < max(drawn)[1]
    assert all(abs(2 * height - width) <= 1 for height, width in drawn)
    heights = [scaled((100, 200), rng)[0] for _ in range(300)]
    assert 50 <= min(heights) < 55 < 145 < max(heights) <= 150


def test_training_tiles(tmp_path):
    """Image and seed stay aligned through resizing, flip and crop; the rest is filled up."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 15:30] = 200
    write_image(tmp_path / "a.png", image)
    write_image(tmp_path / "seed/a.png", (image[..., 0] > 0).astype(np.uint8))
    tile = Sample(name="a", image=tmp_path / "a.png", size=(40, 60))
    resize = scale_between(0.8, 1.2)
    settings = Refiner(crop=64)
    tiles = TrainingTiles([tile], {"a": 1}, tmp_path / "seed", resize, settings, seed=1)
    sides = set()
    for epoch in range(30):
        item = tiles[epoch, 0]
        pixels, seed = item["image"][0].int(), item["seed"]
        assert item["label"] == 1
        filled = seed == 255
        assert (item["image"].movedim(0, -1)[filled] == torch.tensor([124, 116, 104])).all()
        assert ((pixels > 100) == (seed == 1))[~filled].float().mean() > 0.98
        building, whole = ((seed == 1).nonzero()[:, 1], (seed != 255).nonzero()[:, 1])
        sides.add(bool(building.float().mean() > whole.float().mean()))
    assert sides == {True, False}  # flipped by chance
    again = TrainingTiles([tile], {"a": 1}, tmp_path / "seed", resize, settings, seed=1)
    assert tiles[3, 0]["image"].equal(again[3, 0]["image"])
    assert tiles[3, 0]["seed"].equal(again[3, 0]["seed"])


@pytest.mark.parametrize("kind", [Classifier, Refiner])
def test_networks_get_the_normalization_that_their_weights_expect(kind, tmp_path):
    """EfficientNet-Lite expects 0.5 and 0.5, RepVGG and networks from scratch ImageNet's values."""
    lite = kind(encoder="tf_efficientnet_lite0", crop=32)
    gray = torch.full((1, 3, 2, 2), 255.0)
    torch.testing.assert_close(normalize_for(lite)(gray), torch.ones(1, 3, 2, 2))
    for other in (kind(), kind(encoder="tf_efficientnet_lite0", weights=None)):
        expected = (1 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        torch.testing.assert_close(normalize_for(other)(gray)[0, :, 0, 0], expected)
        assert normalization_record(other) == {}
    assert normalization_record(lite) == {"normalization": [[0.5] * 3, [0.5] * 3]}
    write_image(tmp_path / "a.png", np.zeros((16, 16, 3), np.uint8))
    tile = Sample(name="a", image=tmp_path / "a.png", size=(16, 16))
    tiles = TrainingTiles([tile], {"a": 1}, None, scale_between(1, 1), lite, seed=1)
    filled = tiles[0, 0]["image"].amax(dim=0) > 0
    assert filled.sum() == 32 * 32 - 16 * 16
    assert set(tiles[0, 0]["image"][:, filled].unique().tolist()) == {128}


def test_cells_have_the_label_at_their_center():
    seed = torch.arange(64).reshape(1, 8, 8)
    assert nearest_cells(seed, (2, 2)).tolist() == [[[18, 22], [50, 54]]]
