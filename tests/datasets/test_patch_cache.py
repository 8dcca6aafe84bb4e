"""Patches from the cache are those that are decoded, whatever happens to the cache."""

import gc
import pickle
import shutil
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

import network.datasets.patch_cache as patch_cache
import network.datasets.segmentation as segmentation
from network.config import Experiment
from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.info import VAIHINGEN
from network.differences import changes_training
from network.errors import InputError
from network.settings import Data
from network.training.data import SegmentationData
from tests.conftest import tiny_experiment
from tests.disks import mounted
from tests.scenes import make_dataset, write_bands

KINDS = [{"cache": "ram"}, {"cache": "disk"}]


@pytest.fixture(params=KINDS, ids=lambda one: one["cache"])
def cached(request, tmp_path) -> Experiment:
    return experiment(tmp_path, **request.param)


def experiment(folder: Path, **settings) -> Experiment:
    plain = tiny_experiment(folder)
    make_dataset(Path(plain.root), VAIHINGEN, {"train": 6, "val": 3}, ((64, 64), (48, 80)))
    data = {"crop": 32, "batch_size": 2, "val_batch_size": 2, "repeat": 2, "workers": 0} | settings
    return replace(plain, data=Data(root=str(plain.root), **data))


def without(one: Experiment) -> Experiment:
    return replace(one, data=replace(one.data, cache=None, cache_dir=None))


def batches(data: SegmentationData, epochs: int = 2) -> list[dict]:
    loader = data.train_dataloader()
    found = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        found += [*loader, *data.val_dataloader()]
    return found


def are_equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and bool(torch.equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(are_equal(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(are_equal, one, other))
    return one == other


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the image files that are decoded."""
    names: list[str] = []
    plain = segmentation.read_valid_image

    def noted(path, info):
        names.append(path.name)
        return plain(path, info)

    monkeypatch.setattr(segmentation, "read_valid_image", noted)
    return names


def test_a_training_sees_the_same(cached, decoded):
    expected = batches(SegmentationData(without(cached)))
    decoded.clear()
    data = SegmentationData(cached)
    assert are_equal(batches(data), expected)
    assert len(decoded) == 9  # each of the images once, in whatever epoch
    decoded.clear()
    assert are_equal(batches(data), expected)
    assert not decoded


@pytest.mark.filterwarnings("error:.*not writable")
def test_workers_share_the_patches(cached, decoded):
    """Each worker decodes some of the patches, and later reads those of the others too."""
    expected = batches(SegmentationData(without(cached)))
    data = SegmentationData(replace(cached, data=replace(cached.data, workers=2)))
    assert are_equal(batches(data), expected)
    decoded.clear()
    data.experiment = cached  # no workers: what these decode is here
    assert are_equal(batches(data), expected)
    assert not decoded


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.filterwarnings("error:.*not writable")
def test_images_with_holes_and_of_floats(tmp_path, settings):
    info = replace(VAIHINGEN, bands=1, bits=32, values="float", rgb_bands=())
    root = make_dataset(tmp_path / "floats", info, {"train": 3, "val": 2})
    image = np.random.default_rng(0).normal(size=(64, 64, 1)).astype(np.float32)
    image[3:20, 5:30] = np.nan
    write_bands(root / "train/images_1024/train-0-1.tif", image)
    write_bands(root / "val/images_1024/val-0-1.tif", image[::-1])
    augment = {"scales": (1.0,), "rotate": 0, "flip": 0, "mosaic": 0, "max_class_share": 1.0}
    data = Data(
        root=str(root), crop=64, batch_size=3, workers=0, mean=(0.0,), std=(1.0,), **augment
    )
    plain = replace(tiny_experiment(tmp_path), dataset=info, data=data)
    cached = SegmentationData(replace(plain, data=replace(data, **settings)))
    for found in (batches(cached), batches(cached)):
        for one, other in zip(found, batches(SegmentationData(plain)), strict=True):
            np.testing.assert_array_equal(one["image"], other["image"])
            assert are_equal(
                {key: value for key, value in one.items() if key != "image"},
                {key: value for key, value in other.items() if key != "image"},
            )


def map_of(one: Experiment) -> Path:
    (path,) = (Path(one.root) / ".bicor-seg").glob("*.cache")
    return path


@pytest.fixture
def on_disk(tmp_path) -> Experiment:
    return experiment(tmp_path, cache="disk")


def test_the_next_training_decodes_nothing(on_disk, decoded):
    expected = batches(SegmentationData(on_disk))
    decoded.clear()
    assert are_equal(batches(SegmentationData(on_disk)), expected)
    assert not decoded


def test_a_changed_file_is_decoded(on_disk, decoded):
    batches(SegmentationData(on_disk))
    folder = Path(on_disk.root) / "train"
    image, mask = folder / "images_1024/train-0-1.png", folder / "masks_1024/train-0-2.png"
    write_image(image, 255 - read_rgb(image))
    write_image(mask, 5 - np.minimum(read_mask(mask, VAIHINGEN), 5))
    decoded.clear()
    data = SegmentationData(on_disk)
    assert are_equal(batches(data), batches(SegmentationData(without(on_disk))))
    assert set(decoded[:2]) == {"train-0-1.png", "train-0-2.png"}
    decoded.clear()
    batches(data)
    assert not decoded


def test_a_file_that_changes_during_the_training(cached):
    data = SegmentationData(cached)
    batches(data, 1)
    image = Path(cached.root) / "train/images_1024/train-0-1.png"
    write_image(image, 255 - read_rgb(image))
    assert are_equal(batches(data), batches(SegmentationData(without(cached))))


def test_a_file_beside_an_image_is_seen(on_disk):
    """It calls black invalid, and no pixel of any other file changes."""
    batches(SegmentationData(on_disk))
    image = Path(on_disk.root) / "val/images_1024/val-0-1.png"
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>7</NoDataValue></PAMRasterBand>'
        for band in (1, 2, 3)
    )
    pixels = read_rgb(image).copy()
    pixels[:9] = 7
    write_image(image, pixels)
    batches(SegmentationData(on_disk))
    Path(f"{image}.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    found = batches(SegmentationData(on_disk))
    assert are_equal(found, batches(SegmentationData(without(on_disk))))
    assert not all(batch["valid"].all() for batch in found if "valid" in batch)


@pytest.mark.parametrize("damage", ["pixels", "table", "flag", "zeros", "cut"])
def test_a_damaged_cache(on_disk, decoded, damage):
    expected = batches(SegmentationData(on_disk))
    path = map_of(on_disk)
    size = path.stat().st_size
    with path.open("r+b") as file:
        if damage == "pixels":
            file.seek(size // 2)
            file.write(b"x")
        elif damage == "table":
            file.seek(9)
            file.write(b"xyz")
        elif damage == "flag":  # the first patch would have pixels without data
            file.seek(12)
            file.write(b"\3")
        elif damage == "cut":
            file.truncate(size // 2)
        else:  # as after a power failure: the table is on the disk, but the pixels are not
            file.seek(1000)
            file.write(bytes(size - 1000))
    decoded.clear()
    assert are_equal(batches(SegmentationData(on_disk)), expected)
    assert decoded
    decoded.clear()
    assert are_equal(batches(SegmentationData(on_disk)), expected)
    assert not decoded


@pytest.mark.parametrize("settings", KINDS)
def test_a_bound(tmp_path, decoded, capsys, settings):
    """Half of the patches have room."""
    bounded = experiment(tmp_path, cache_gb=80e-6, **settings)
    expected = batches(SegmentationData(without(bounded)))
    capsys.readouterr()
    data = SegmentationData(bounded)
    told = capsys.readouterr().err
    assert told.count("warning") == 1
    assert "there is room for 5" in told
    assert are_equal(batches(data), expected)
    decoded.clear()
    assert are_equal(batches(data), expected)
    assert 0 < len(set(decoded)) < 6
    assert "warning" not in capsys.readouterr().err


def test_old_maps_make_room(on_disk, capsys):
    """Unless they are in use: then they may still grow to their whole size."""
    first = SegmentationData(on_disk)
    old = map_of(on_disk)
    limit = old.stat().st_size * 1.2e-9
    other = replace(on_disk, data=replace(on_disk.data, val=None, cache_gb=limit))
    capsys.readouterr()
    SegmentationData(other)
    assert old.exists()
    assert "there is room for" in capsys.readouterr().err
    batches(first)
    del first
    gc.collect()
    SegmentationData(replace(other, data=replace(other.data, image_share=0.9)))
    assert not old.exists()
    assert "there is room for" not in capsys.readouterr().err


def test_a_disk_that_is_full(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(patch_cache, "_LEFT_FREE", -(10**9))  # so it only shows when writing
    with mounted(tmp_path / "disk", "100k") as disk:
        one = experiment(tmp_path, cache="disk", cache_dir=str(disk), workers=2)
        expected = batches(SegmentationData(without(one)))
        capfd.readouterr()
        data = SegmentationData(one)
        assert are_equal(batches(data), expected)
        told = capfd.readouterr().err.count("patches that are not in it are decoded every time")
        assert 1 <= told <= 2  # two workers may meet the end of the disk at the same moment


def test_a_disk_with_little_room(tmp_path, capsys):
    with mounted(tmp_path / "disk", "500k") as disk:
        one = experiment(tmp_path, cache="disk", cache_dir=str(disk))
        data = SegmentationData(one)
        assert "there is room for 0% of them" in capsys.readouterr().err
        assert are_equal(batches(data), batches(SegmentationData(without(one))))


def test_a_read_only_disk(tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        one = experiment(tmp_path, cache="disk", cache_dir=str(disk / "gone"))
        (disk / "gone").write_text("a file")
        with pytest.raises(InputError, match="gone"):
            SegmentationData(one)


def test_a_process_that_is_not_forked(on_disk, decoded):
    """It opens the map of the disk anew; memory is not shared with it."""
    data = SegmentationData(on_disk)
    expected = batches(data)
    dataset = pickle.loads(pickle.dumps(data.train_dataloader().dataset))
    decoded.clear()
    item = dataset[0, 1]
    assert are_equal(item, data.train_dataloader().dataset[0, 1])
    assert not decoded
    assert expected


def test_memory_needs_a_fork(tmp_path, monkeypatch):
    monkeypatch.setattr("network.training.data.get_start_method", lambda: "spawn")
    with pytest.raises(InputError, match=r"data\.cache=ram.*data\.cache=disk, or data\.workers=0"):
        SegmentationData(experiment(tmp_path, cache="ram", workers=1))
    SegmentationData(experiment(tmp_path / "none", cache="ram"))


def test_settings():
    for wrong in ({"cache": "gpu"}, {"cache_dir": "/tmp"}, {"cache": "ram", "cache_gb": 0.0}):
        with pytest.raises(InputError, match=r"data\.cache"):
            Data(**wrong)


def test_trainings_at_once(on_disk):
    """Three of them begin with the same empty cache."""
    expected = batches(SegmentationData(without(on_disk)))

    def follow() -> None:
        sys.exit(0 if are_equal(batches(SegmentationData(on_disk), 2), expected) else 1)

    processes = [get_context("fork").Process(target=follow) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert are_equal(batches(SegmentationData(on_disk)), expected)


def test_a_resumed_run_may_change_the_cache():
    assert not any(changes_training(f"data.{key}") for key in ("cache", "cache_dir", "cache_gb"))


def test_the_folder_can_be_removed(on_disk):
    batches(SegmentationData(on_disk))
    shutil.rmtree(Path(on_disk.root) / ".bicor-seg")
    assert batches(SegmentationData(on_disk))
