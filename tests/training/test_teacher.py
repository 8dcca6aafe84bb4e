"""Self-training: what the teacher labels, what is mixed, and what the settings need."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from network.config import load_experiment, override
from network.datasets.files import read_rgb
from network.datasets.info import UUAD, VAIHINGEN
from network.datasets.segmentation import Sample
from network.datasets.unlabeled import strong_view
from network.errors import InputError
from network.models.output import SegOutput
from network.training.data import SegmentationData, drawn_share
from network.training.teacher import mix, pseudo_labels, unlabeled_loss
from tests.conftest import ROOT
from tests.scenes import make_dataset


def pixels_of(path: Path) -> list[list[int]]:
    return read_rgb(path).reshape(-1, 3).tolist()


class Scale(nn.Module):
    """Two classes whose logits are 0 and the image times a weight."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.modes: list[bool] = []

    def forward(self, image):
        self.modes.append(self.training)
        logits = self.weight * image[:, :1]
        return SegOutput(torch.cat([torch.zeros_like(logits), logits], dim=1))


def test_labels_of_the_teacher_by_hand():
    """Its weight is 2: logits of 2, 0.5 and -4 have the probabilities .88, .62 and .02."""
    network = Scale(-100.0)
    image = torch.tensor([1.0, 0.25, -2.0]).view(1, 1, 1, 3)
    labels = pseudo_labels(network, {"weight": torch.tensor(2.0)}, image, 0.8, 255)
    assert labels.tolist() == [[[1, 255, 0]]]
    assert (network.modes, network.training) == ([False], True)
    assert network.weight.item() == -100


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), height=st.integers(4, 20), width=st.integers(4, 20))
def test_labels_are_mixed_with_their_images(seed, height, width):
    torch.manual_seed(seed)
    labels = torch.arange(3).view(3, 1, 1).expand(3, height, width)
    images = labels[:, None].expand(3, 2, height, width) * 10
    mixed, own = mix(images, labels, 1.0)
    assert (mixed == 10 * own[:, None]).all()
    for number in range(3):
        other = own[number] == (number - 1) % 3
        assert (other | (own[number] == number)).all()
        rows, columns = other.any(dim=1).sum(), other.any(dim=0).sum()
        assert other.sum() == rows * columns  # a rectangle
        assert 0.15 <= rows / height <= 0.85
    assert mix(images, labels, 0.0)[1].equal(labels)


def test_loss_of_unlabeled_pixels_by_hand():
    logits = torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1).expand(1, 2, 1, 4)
    labels = torch.tensor([[[0, 255, 1, 255]]])
    expected = (np.log(4 / 3) + np.log(4)) / 4
    assert unlabeled_loss(logits, labels, 255).item() == pytest.approx(expected)
    assert unlabeled_loss(logits, torch.full_like(labels, 255), 255) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_strong_view_moves_nothing(dtype):
    """The middle of a large square stays where it is; the same draws give the same view."""
    image = np.zeros((64, 64, 3), dtype)
    image[32:] = np.iinfo(dtype).max // 2
    seen = [strong_view(image, np.random.default_rng(seed)) for seed in range(10)]
    for view in seen:
        assert (view.dtype, view.shape) == (dtype, image.shape)
        assert view[:20].mean() < view[44:].mean()
        assert (view[:20] == view[0, 0]).all()
    np.testing.assert_array_equal(seen[3], strong_view(image, np.random.default_rng(3)))
    assert len({view.tobytes() for view in seen}) > 5


def test_an_item_has_an_unlabeled_crop(tmp_path):
    make_dataset(tmp_path, VAIHINGEN, {"train": 2, "val": 1, "test": 3}, ((40, 50),))
    for mask in (tmp_path / "test").rglob("masks*/*"):
        mask.write_bytes(b"never opened")
    words = [
        "data.crop=64",
        "data.workers=0",
        "data.batch_size=2",
        "optim.ema=0.9",
        "teacher.weight=1",
    ]
    words += ["data.unlabeled=test", "model.weights=None", f"data.root={tmp_path}"]
    experiment = load_experiment(ROOT / "config/vaihingen/bicor.py", words)
    data = SegmentationData(experiment)
    dataset = data.train_dataloader().dataset
    plain = dataset.labeled
    for index in range(2):
        item, alone = dataset[4, index], plain[4, index]
        assert item["image"].equal(alone["image"])
        assert item["labels"].equal(alone["labels"])
        assert item["unlabeled"].shape == item["strong"].shape == (3, 64, 64)
        assert not item["known"].all()  # the crop is larger than the image
        assert item["unlabeled"].equal(dataset[4, index]["unlabeled"])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_share_takes_whole_tiles(share):
    samples = [
        Sample(name=f"{tile}_{part}", image=Path(f"{tile}_{part}.png"), size=(10, 10))
        for tile in range(20)
        for part in range(9)
    ]
    chosen = drawn_share(samples, share, UUAD, seed=1)
    tiles = {sample.name.split("_")[0] for sample in chosen}
    assert len(chosen) == 9 * len(tiles)
    assert len(tiles) == round(20 * share)
    assert chosen == drawn_share(samples, share, UUAD, seed=1)
    assert chosen != drawn_share(samples, share, UUAD, seed=2)
    alone = replace(UUAD, patched=False)
    assert len(drawn_share(samples, share, alone, seed=1)) == round(180 * share)


def test_the_share_is_of_the_training_images_alone(tmp_path):
    root = make_dataset(tmp_path / "data", VAIHINGEN, {"train": 6, "val": 4})
    words = [f"data.root={root}", "data.image_share=0.5", "data.batch_size=2"]
    data = SegmentationData(load_experiment(ROOT / "config/vaihingen/bicor.py", words))
    every = SegmentationData(load_experiment(ROOT / "config/vaihingen/bicor.py", words[::2]))
    assert (len(data.train_samples), len(data.val_samples)) == (3, 4)
    assert len(every.train_samples) == 6
    assert {s.name for s in data.train_samples} < {s.name for s in every.train_samples}
    assert data.train_digest != every.train_digest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["teacher.weight=1", "data.unlabeled=test"], "give optim.ema"),
        (["teacher.weight=1", "optim.ema=0.9"], "self-training needs both"),
        (["data.unlabeled=test"], "self-training needs both"),
        (["data.unlabeled=tset"], "data.unlabeled=tset: vaihingen has no such split"),
        (["data.image_share=0"], "above 0 and at most 1"),
        (["teacher.threshold=2"], "teacher.threshold=2.0: must be 0 to 1"),
    ],
)
def test_what_the_settings_need(words, message):
    experiment = load_experiment(ROOT / "config/vaihingen/bicor.py")
    with pytest.raises(InputError, match=message):
        override(experiment, words)


def test_the_teacher_may_label_every_pixel_of_crops_as_they_are(tmp_path):
    root = make_dataset(tmp_path / "data", VAIHINGEN, {"train": 2, "test": 2})
    words = ["data.unlabeled=test", "teacher.weight=1", "optim.ema=0.9", "data.label_share=0.02"]
    words += ["data.brighten=1", "data.sharpen=1", "data.crop=32", "data.scales=(1.0,)"]
    words += [f"data.root={root}", "data.batch_size=2", "data.workers=0", "data.val=None"]
    experiment = load_experiment(ROOT / "config/vaihingen/bicor.py", words)
    (batch,) = SegmentationData(experiment).train_dataloader()
    assert batch["known"].all()
    assert (batch["labels"] != VAIHINGEN.ignore_index).float().mean() < 0.1
    colors = {tuple(c) for f in (root / "test").rglob("images*/*") for c in pixels_of(f)}
    assert {tuple(c) for c in batch["unlabeled"].movedim(1, 3).reshape(-1, 3).tolist()} <= colors
