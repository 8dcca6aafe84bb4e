"""Windows of scenes: what is drawn, that it fits, and that validation sees each pixel once."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from network.config import Experiment
from network.datasets.lazy import Composition, Piece
from network.datasets.loaders import EpochSampler, evaluation_loader, make_loader
from network.datasets.on_earth.files import AreaFile
from network.datasets.scene_windows import (
    SceneWindows,
    count_windows,
    evaluation_windows,
)
from network.datasets.segmentation import find_samples
from network.datasets.transforms import TrainTransform
from network.errors import InputError
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.settings import Data, Optim, Teacher
from network.training.data import SegmentationData
from network.training.train import train
from tests.datasets.on_earth.scenes import box, by_class, dataset, write_features, write_regions
from tests.datasets.on_earth.scenes import write_scene as write_image
from tests.rasters.earth import ORIGIN, blocks

PLAIN = Data(crop=32, scales=(1.0,), mosaic=0, rotate=0, flip=0, max_class_share=1.0)


def make_scenes(root: Path, sizes: dict[str, tuple[int, int]], side: int = 8):
    """Scenes from west to east, whose labels are polygons; the data set that has them."""
    west = 0
    for number, (name, (height, width)) in enumerate(sizes.items()):
        labels = blocks(number, height, width, side)
        place = ORIGIN @ ORIGIN.translation(west, 0)
        tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        write_image(root / f"{name}.tif", labels, place, **tiled)
        write_regions(root / f"{name}.gpkg", labels, place)
        west += width + 10
    return dataset(train={"images": ("*.tif",), "labels": (by_class("*.gpkg"),)})


def scene_windows(root: Path, info, data: Data = PLAIN, window: int = 64, **options):
    samples = find_samples(info, root, "train")
    return SceneWindows(samples, info, TrainTransform(data, 255), window, **options)


def fits(item: dict) -> np.ndarray:
    """Where the image of an item shows its label."""
    image, labels = item["image"].numpy(), item["labels"].numpy()
    return np.where(labels == 255, image[0] == 0, image[0] == 80 * (labels % 3) + 10)


@pytest.mark.parametrize("mosaic", [0, 1])
@pytest.mark.parametrize("crop", [32, 64, 100])
def test_image_and_labels_fit(tmp_path, mosaic, crop):
    info = make_scenes(tmp_path, {"a": (150, 200), "b": (50, 90)})
    windows = scene_windows(tmp_path, info, replace(PLAIN, crop=crop, mosaic=mosaic))
    for index in range(12):
        item = windows[0, index]
        assert item["image"].shape == (3, crop, crop)
        assert fits(item).all()


def test_only_the_epoch_the_index_and_the_seed_matter(tmp_path):
    info = make_scenes(tmp_path, {"a": (150, 200), "b": (100, 90)})
    data = Data(crop=32, mosaic=0.5)
    windows, again, other = (scene_windows(tmp_path, info, data, seed=seed) for seed in (1, 1, 2))
    # With data.repeat, there are more indices than windows; each has a window of its own.
    order = [(epoch, index) for epoch in range(2) for index in range(3 * len(windows))]
    items = {item: windows[item] for item in order}
    for item in reversed(order):
        assert torch.equal(again[item]["image"], items[item]["image"])
    assert len({item["image"].numpy().tobytes() for item in items.values()}) == len(order)
    assert not torch.equal(other[0, 0]["image"], items[0, 0]["image"])
    for workers in (0, 2):
        sampler = EpochSampler(len(windows), 1)
        loader = make_loader(windows, batch_size=4, sampler=sampler, num_workers=workers)
        batches = [batch["image"] for batch in loader]
        expected = [items[item]["image"] for item in EpochSampler(len(windows), 1)]
        assert torch.equal(torch.cat(batches), torch.stack(expected))


def test_windows_are_where_labels_are(tmp_path):
    """Of two scenes, a few pixels of one: it gets its share, and its window shows them."""
    labels = np.full((300, 300), 255, np.uint8)
    labels[200:220, 60:100] = 1  # 800 pixels
    write_image(tmp_path / "a.tif", labels)
    write_regions(tmp_path / "a.gpkg", labels)
    many = blocks(1, 40, 60)  # 2400 pixels
    write_image(tmp_path / "b.tif", many, ORIGIN @ ORIGIN.translation(400, 0))
    write_regions(tmp_path / "b.gpkg", many, ORIGIN @ ORIGIN.translation(400, 0))
    info = dataset(train={"images": ("*.tif",), "labels": (by_class("*.gpkg"),)})
    windows = scene_windows(tmp_path, info, replace(PLAIN, crop=64))
    assert len(windows) == count_windows(windows.samples, 64) == 1
    items = [windows[epoch, 0] for epoch in range(400)]
    of_a = [item for item in items if (item["labels"] == 255).float().mean() > 0.75]
    assert 0.2 < len(of_a) / len(items) < 0.3
    assert all((item["labels"] == 1).any() for item in of_a)


def test_rare_classes(tmp_path):
    """One pixel in a thousand is of the class; with rare_share, a third of the windows has it."""
    labels = np.zeros((400, 400), np.uint8)
    labels[:, 200:] = 2
    labels[100:112, 300:312] = 1
    write_image(tmp_path / "a.tif", labels)
    write_regions(tmp_path / "a.gpkg", labels)
    info = dataset(train={"images": ("*.tif",), "labels": (by_class("a.gpkg"),)})
    shares = []
    for rare in (0.0, 1.0):
        windows = scene_windows(tmp_path, info, replace(PLAIN, crop=32), 32, rare=rare)
        middles = [int(windows[0, n]["labels"][16, 16]) for n in range(len(windows))]
        shares.append(Counter(middles)[1] / len(middles))
    assert shares[0] < 0.03
    assert 0.25 < shares[1] < 0.42
    # Also if the crop is a small part of the window, and mosaics are made.
    data = replace(PLAIN, crop=32, mosaic=0.5)
    windows = scene_windows(tmp_path, info, data, 128, rare=1.0)
    crops = [windows[epoch, n] for epoch in range(20) for n in range(len(windows))]
    assert 0.25 < np.mean([(crop["labels"] == 1).any() for crop in crops]) < 0.42
    assert all(fits(crop).all() for crop in crops)
    # Pasted from other windows; the image goes with the labels.
    windows = scene_windows(tmp_path, info, replace(PLAIN, crop=32), 32, paste=1.0)
    crops = [windows[0, n] for n in range(30)]
    assert all((crop["labels"] == 1).any() and fits(crop).all() for crop in crops)


@settings(deadline=None, max_examples=20)
@given(height=st.integers(20, 300), width=st.integers(20, 300), side=st.sampled_from([64, 96, 256]))
def test_validation_sees_each_pixel_once(tmp_path_factory, height, width, side):
    root = tmp_path_factory.mktemp("scenes")
    info = make_scenes(root, {"a": (height, width)})
    parts = evaluation_windows(find_samples(info, root, "train"), side)
    seen, labels = np.zeros((height, width), int), blocks(0, height, width, 8)
    for part in parts:
        assert max(part.size) <= side
        seen[part.part.core] += 1
    assert (seen == 1).all()
    counts = np.zeros(3, int)
    for batch in evaluation_loader(info, parts, 2):
        for image, mask in zip(batch["image"], batch["labels"]["full"], strict=True):
            inside = mask != 255
            assert (image[0][inside] == 80 * (mask[inside] % 3) + 10).all()
            counts += np.bincount(mask[inside], minlength=3)
    np.testing.assert_array_equal(counts, np.bincount(labels.ravel(), minlength=3))


def test_windows_without_labels_are_not_validated(tmp_path):
    info = make_scenes(tmp_path, {"a": (1024, 1024)})
    write_features(tmp_path / "areas.gpkg", [box(slice(0, 200), slice(600, 800))])
    scenes = replace(info.splits["train"][0], areas=AreaFile(path=Path("areas.gpkg")))
    info = replace(info, splits={"val": (replace(scenes, labels=(by_class("a.gpkg"),)),)})
    parts = evaluation_windows(find_samples(info, tmp_path, "val"), 256)
    cores = [part.part.core for part in parts]
    # Labels are counted in cells of 256 pixels.
    assert all(rows.start < 256 and columns.stop > 512 for rows, columns in cores)
    assert len(cores) < 2 * 4


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_compositions(data):
    """Each window of a composition is that of the whole one."""
    height, width = data.draw(st.tuples(st.integers(4, 30), st.integers(4, 30)))
    row, column = data.draw(st.tuples(st.integers(1, height - 1), st.integers(1, width - 1)))
    rng = np.random.default_rng(0)
    pieces, expected = [], np.full((height, width, 2), 7, np.uint8)
    for rows in (slice(0, row), slice(row, height)):
        for columns in (slice(0, column), slice(column, width)):
            size = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
            image = rng.integers(0, 255, (*size, 2), dtype=np.uint8)
            window = (
                slice(0, min(size[0], rows.stop - rows.start)),
                slice(0, min(size[1], columns.stop - columns.start)),
            )
            pieces.append(Piece((rows, columns), image, window))
            h, w = window[0].stop, window[1].stop
            expected[rows.start : rows.start + h, columns.start : columns.start + w] = image[window]
    whole = Composition(pieces, expected.shape, 7)
    np.testing.assert_array_equal(whole[:, :], expected)
    top, left = data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)))
    window = slice(top, height), slice(left, width)
    np.testing.assert_array_equal(whole[window], expected[window])


def experiment_of(root: Path, workers: int = 0, held_out: tuple[int, int] = (96, 140)):
    info = make_scenes(root, {"a": (128, 128), "b": held_out})
    scenes = info.splits["train"][0]
    other = (replace(scenes, images=("b.tif",)),)
    info = replace(info, splits={"train": (scenes,), "val": other, "test": other})
    return Experiment(
        dataset=info,
        model=partial(BiCoRSeg, 3, "test_convnext", weights=None, dim=32),
        loss=partial(BiCoRLoss, 255),
        data=Data(root=str(root), crop=32, window=64, batch_size=2, workers=workers),
        optim=Optim(lr=1e-3, epochs=2),
        name=f"scenes{workers}",
        config="config/scenes.py",
    )


def test_validation_has_the_counts_of_whole_images(tmp_path):
    """For a network that sees no further than the halo."""
    experiment = experiment_of(tmp_path, held_out=(300, 420))
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 3, 9, padding=4)
    matrices: list[np.ndarray] = []
    windows: list[int] = []
    for side in (512, 256):
        settings_ = replace(experiment.data, window=side, repeat=9)
        data = SegmentationData(replace(experiment, data=settings_))
        windows.append(len(data.val_samples))
        matrix = np.zeros((3, 3), int)
        for batch in data.val_dataloader():
            found = network(batch["image"].float()).argmax(dim=1)
            for label, other in np.ndindex(3, 3):
                both = (batch["labels"]["full"] == label) & (found == other)
                matrix[label, other] += int(both.sum())
        matrices.append(matrix)
    assert windows == [1, 4]
    assert matrices[0].sum() == 300 * 420
    np.testing.assert_array_equal(matrices[1], matrices[0])


def test_validation_on_pixels_of_another_size(tmp_path, capsys):
    experiment = experiment_of(tmp_path)
    labels, place = blocks(5, 64, 64), ORIGIN @ ORIGIN.scale(2)
    write_image(tmp_path / "b.tif", labels, place)
    write_regions(tmp_path / "b.gpkg", labels, place)
    SegmentationData(experiment)
    assert f"of 0.5 m and {tmp_path / 'b.tif'} of 1 m" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("teacher", [0.0, 1.0])
def test_training(tmp_path, monkeypatch, teacher):
    """It depends neither on the number of workers nor on whether labels are drawn already."""
    monkeypatch.chdir(tmp_path)
    weights = []
    for workers in (0, 2):
        experiment = experiment_of(tmp_path / "data", workers)
        if teacher:
            experiment = replace(
                experiment,
                data=replace(experiment.data, unlabeled="train"),
                optim=replace(experiment.optim, ema=0.5),
                teacher=Teacher(weight=teacher, threshold=0.0),
            )
        train(experiment, accelerator="cpu")
        log = Path(f"lightning_logs/scenes{workers}/version_0/metrics.csv").read_text()
        assert ("unlabeled" in log) == bool(teacher)
        run = f"scenes{workers}/version_0"
        assert Path("lightning_logs", run, "panel.png").is_file()
        content = torch.load(Path("model_weights", run, "last.ckpt"), weights_only=False)
        weights.append(content["state_dict"])
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value)


def test_no_cache_of_scenes(tmp_path):
    info = make_scenes(tmp_path, {"a": (96, 96)})
    data = replace(PLAIN, root=str(tmp_path), val=None, test="train", batch_size=1, cache="ram")
    experiment = Experiment(
        dataset=info,
        model=partial(BiCoRSeg, 3, "test_convnext", weights=None, dim=32),
        loss=partial(BiCoRLoss, 3),
        data=data,
        name="scenes",
        config="config/scenes.py",
    )
    with pytest.raises(InputError, match=r"data\.cache=ram: the cache is for folders of patches"):
        SegmentationData(experiment)
