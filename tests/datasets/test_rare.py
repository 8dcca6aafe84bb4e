"""Crops that are drawn by class: how often each class comes, and that its pixel is in the crop."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from network.datasets.files import write_image
from network.datasets.info import VAIHINGEN
from network.datasets.loaders import EpochSampler, make_loader
from network.datasets.rare import ClassDraw, draw_pixel, paste_class
from network.datasets.segmentation import (
    SegmentationDataset,
    check_samples,
    find_samples,
)
from network.datasets.transforms import TrainTransform, random_window
from network.rasters.pixels import count_labels
from network.settings import Data
from tests.datasets.checks.test_bands import dataset
from tests.scenes import make_dataset, write_bands

PLAIN = Data(crop=32, scales=(1.0,), mosaic=0, max_class_share=1.0)
RARE = 5


@pytest.fixture
def root(tmp_path):
    """Four images of class 0; two of them have 4 and 12 pixels of another class."""
    folders = VAIHINGEN.splits["train"][0]
    for number, pixels in enumerate((0, 4, 0, 12)):
        labels = np.zeros((90, 100), np.uint8)
        labels[70:72, 3 : 3 + pixels // 2] = RARE
        image = np.repeat(40 * labels[..., None] + 10, 3, axis=2)
        write_image(tmp_path / folders.images / f"{number}.png", image)
        write_image(tmp_path / folders.masks[0].folder / f"{number}.png", labels)
    return tmp_path


def items_of(root, data: Data, rare: float, info=VAIHINGEN, seed: int = 0):
    samples = find_samples(info, root, "train")
    (counts,) = check_samples(samples, info, "train").counts.values()
    transform = TrainTransform(data, info.ignore_index)
    return SegmentationDataset(samples, info, transform, seed, rare, counts)


def test_parts_by_their_pixels():
    """Class 1 has 30 pixels in part 0, 10 in part 2; class 0 has pixels in part 1 alone."""
    counts = np.array([[0, 30, 0], [60, 0, 0], [0, 10, 0]])
    draw, rng = ClassDraw(counts), np.random.default_rng(0)
    classes = Counter(draw.draw_class(rng) for _ in range(1000))
    assert classes.keys() == {0, 1}
    assert 440 < classes[0] < 560
    of_one = Counter(draw.draw_part(rng, 1) for _ in range(1000))
    assert of_one.keys() == {0, 2}
    assert 700 < of_one[0] < 800
    assert {draw.draw_part(rng, 0) for _ in range(20)} == {1}
    of_all = Counter(draw.draw_part(rng, None) for _ in range(1000))
    assert 550 < of_all[1] < 650


def test_pixels():
    is_one = np.zeros((5, 7), bool)
    rng = np.random.default_rng(0)
    assert draw_pixel(is_one, rng) is None
    is_one[1, 2] = is_one[4, 6] = True
    drawn = Counter(draw_pixel(is_one, rng) for _ in range(400))
    assert drawn.keys() == {(1, 2), (4, 6)}
    assert 150 < drawn[1, 2] < 250


@settings(deadline=None, max_examples=60)
@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 40))
def test_a_window_around_a_pixel(data, height, width):
    row = data.draw(st.integers(0, height - 1))
    column = data.draw(st.integers(0, width - 1))
    h, w = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    rows, columns = random_window((height, width), h, w, rng, (row, column))
    assert 0 <= rows.start <= row < rows.stop <= height
    assert 0 <= columns.start <= column < columns.stop <= width
    assert (rows.stop - rows.start, columns.stop - columns.start) == (min(h, height), min(w, width))


def test_the_pixel_may_lie_anywhere_in_the_crop():
    rng = np.random.default_rng(0)
    places = Counter(50 - random_window((100, 1), 8, 1, rng, (50, 0))[0].start for _ in range(4000))
    assert places.keys() == set(range(8))
    assert min(places.values()) > 400  # 500 are expected


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.25])
def test_the_class_is_in_the_crop(root, scale):
    """Half of the crops are of the rare class, which has one pixel in two thousand."""
    data = replace(PLAIN, scales=(scale,), mosaic=0.5)
    usual, rare = (
        np.mean([(items[0, n]["labels"] == RARE).any() for n in range(200)])
        for items in (items_of(root, data, 0.0), items_of(root, data, 1.0))
    )
    assert usual < 0.2
    assert 0.4 < rare < 0.7


def test_images_with_many_pixels_come_more_often(root):
    """Half of the crops are of class 0, from all images alike; the others 3 to 1 from the last."""
    items = items_of(root, replace(PLAIN, crop=100, rotate=0, flip=0), 1.0)
    found = Counter(int((items[0, n]["labels"] == RARE).sum()) for n in range(300))
    expected = {0: 300 / 4, 4: 300 * (1 / 8 + 1 / 8), 12: 300 * (1 / 8 + 3 / 8)}
    assert found.keys() == expected.keys()
    assert chisquare([found[n] for n in expected], [*expected.values()]).pvalue > 0.001


def test_without_a_share_nothing_changes(root):
    """Nor do the items that are not drawn by class."""
    data = Data(crop=32, mosaic=0.5, brighten=0.5)
    samples = find_samples(VAIHINGEN, root, "train")
    plain = SegmentationDataset(samples, VAIHINGEN, TrainTransform(data, 255))
    none, half = items_of(root, data, 0.0), items_of(root, data, 0.5)
    same = 0
    for n in range(40):
        for name in ("image", "labels"):
            assert torch.equal(none[3, n][name], plain[3, n][name])
        same += torch.equal(half[3, n]["image"], plain[3, n]["image"])
    assert 10 < same < 30


def test_only_the_epoch_the_index_and_the_seed_matter(tmp_path):
    """Not the number of workers, and not what was read before."""
    root = make_dataset(tmp_path, VAIHINGEN, {"train": 3}, ((64, 64), (48, 80)))
    data = Data(crop=32, mosaic=0.5)
    first, again = (items_of(root, data, 0.5, seed=1) for _ in range(2))
    expected = [first[1, n]["image"] for n in range(8)]
    for n in reversed(range(8)):
        assert torch.equal(again[1, n]["image"], expected[n])
    assert not torch.equal(first[2, 0]["image"], expected[0])
    for workers in (0, 2):
        sampler = EpochSampler(8, 1)
        sampler.set_epoch(1)
        loader = make_loader(again, batch_size=4, sampler=sampler, num_workers=workers)
        found = torch.cat([batch["image"] for batch in loader])
        assert torch.equal(found, torch.stack([expected[n] for _, n in sampler]))


def test_pixels_without_data(tmp_path):
    """An image whose pixels of the drawn class have no data gives a crop as usual."""
    info = dataset(1, 32, values="float")
    image = np.ones((40, 40, 1), np.float32)
    image[:5, :5] = -9999
    labels = np.zeros((40, 40), np.uint8)
    labels[:5, :5] = 1
    write_bands(tmp_path / "images/0.tif", image, nodata=-9999)
    write_image(tmp_path / "masks/0.png", labels)
    items = items_of(tmp_path, PLAIN, 1.0, info)
    for n in range(10):
        assert set(items[0, n]["labels"].unique().tolist()) <= {0, 255}


def test_counts_of_each_image(tmp_path):
    make_dataset(tmp_path, VAIHINGEN, {"train": 3}, ((64, 64), (48, 80)))
    samples = find_samples(VAIHINGEN, tmp_path, "train")
    found = check_samples(samples, VAIHINGEN, "train")
    masks = [SegmentationDataset(samples, VAIHINGEN)[n]["labels"]["full"] for n in range(3)]
    expected = np.stack([np.bincount(mask.ravel(), minlength=7)[:6] for mask in masks])
    np.testing.assert_array_equal(found.counts["full"], expected)
    assert found.pixels["full"] == tuple(expected.sum(axis=0).tolist())


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_counts_of_labels(height, width, seed):
    """Of whole arrays, of parts of others, and of the valid pixels alone."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 256, (height, width), dtype=np.uint8)
    part = labels[height // 3 :, width // 4 :]
    valid = rng.random(part.shape) < 0.5
    for found, expected in (
        (count_labels(labels), labels),
        (count_labels(part), part),
        (count_labels(part, valid), part[valid]),
        (count_labels(labels.T), labels),
    ):
        np.testing.assert_array_equal(found, np.bincount(expected.ravel(), minlength=256))


def test_pasted_by_hand():
    image, other = np.full((2, 2, 3), 7, np.uint8), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    labels = np.array([[0, 1], [255, 0]], np.uint8)
    crop = paste_class((image, labels), (other, np.array([[0, 2], [2, 255]], np.uint8)), 2)
    assert crop[1].tolist() == [[0, 2], [2, 0]]
    assert crop[0].tolist() == [[[7] * 3, [3, 4, 5]], [[6, 7, 8], [7] * 3]]


def test_copy_paste_adds_the_rare_class_alone(root):
    """Every crop has its pixels with the image of them; all other pixels are those without it."""
    plain, pasted = items_of(root, PLAIN, 0.0), items_of(root, PLAIN, 0.0)
    pasted.paste = 1.0
    for index in range(12):
        before, after = plain[0, index], pasted[0, index]
        is_rare = after["labels"] == RARE
        assert is_rare.any()
        assert (after["image"][:, is_rare] == 40 * RARE + 10).all()
        kept = ~is_rare
        assert after["labels"][kept].equal(before["labels"][kept])
        assert after["image"][:, kept].equal(before["image"][:, kept])
    pasted.paste = 0.5
    shares = [(pasted[0, index]["labels"] == RARE).any().item() for index in range(300)]
    has_own = np.mean([(plain[0, index]["labels"] == RARE).any().item() for index in range(300)])
    assert abs(np.mean(shares) - (0.5 + 0.5 * has_own)) < 0.1
