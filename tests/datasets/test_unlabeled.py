"""Crops of unlabeled images: of folders, of large images, and of scenes on Earth."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from network.datasets import segmentation
from network.datasets.info import VAIHINGEN
from network.datasets.on_earth.files import AreaFile
from network.datasets.scene_windows import SceneWindows
from network.datasets.schema import Folder
from network.datasets.segmentation import find_ground_samples, find_samples
from network.datasets.transforms import TrainTransform
from network.datasets.unlabeled import ImageCrops
from network.errors import InputError
from network.settings import Data
from network.training.data import SegmentationData
from tests.datasets.on_earth.scenes import box, by_class, dataset, write_features
from tests.rasters.earth import ORIGIN, UTM
from tests.scenes import make_dataset, write_bands

PLAIN = Data(crop=32, scales=(1.0,), mosaic=0, rotate=0, flip=0)
ROWS, COLUMNS = slice(20, 121), slice(30, 181)


def write_places(path: Path, hole: tuple[slice, slice]) -> None:
    """An image whose pixels tell their row and column, with a hole without data."""
    rows, columns = np.indices((150, 200))
    image = np.stack([rows + 1, columns + 1, np.full_like(rows, 7)], axis=2).astype(np.uint8)
    image[hole] = 0
    write_bands(path, image, crs=UTM, transform=ORIGIN, nodata=0, tiled=True)


@pytest.mark.parametrize("has_areas", [False, True])
def test_all_ground_of_the_split_is_learned_from(tmp_path, has_areas):
    """Labels are not opened; pixels outside the areas and without data are not known."""
    hole = slice(40, 60), slice(100, 140)
    write_places(tmp_path / "a.tif", hole)
    (tmp_path / "labels.gpkg").write_bytes(b"never opened")
    write_features(tmp_path / "areas.gpkg", [box(ROWS, COLUMNS)], name=["train"])
    areas = AreaFile(path=Path("areas.gpkg"), attribute="name", only=("train",))
    info = dataset(
        train={
            "images": ("a.tif",),
            "labels": (by_class(),),
            "areas": areas if has_areas else None,
        }
    )
    samples = find_ground_samples(info, tmp_path, "train")
    crops = SceneWindows(samples, info, TrainTransform(PLAIN, 255, varied=False), window=48)
    expected = np.zeros((150, 200), bool)
    expected[(ROWS, COLUMNS) if has_areas else ...] = True
    expected[hole] = False
    seen = np.zeros_like(expected)
    for number in range(600):
        image, labels = crops.crop(np.random.default_rng(number))
        rows, columns = image[..., 0].astype(int) - 1, image[..., 1].astype(int) - 1
        is_there = rows >= 0
        known = labels != 255
        assert known.any()
        assert not known[~is_there].any()
        np.testing.assert_array_equal(known[is_there], expected[rows, columns][is_there])
        seen[rows[known], columns[known]] = True
    assert not seen[~expected].any()
    assert seen[expected].mean() > 0.97


def test_folders_beside_scenes_are_not_forgotten(tmp_path):
    write_places(tmp_path / "a.tif", (slice(0, 0), slice(0, 0)))
    info = dataset(train={"images": ("a.tif",)})
    info = replace(
        info,
        splits={"train": info.splits["train"], "u": (*info.splits["train"], Folder(images="m"))},
    )
    experiment = SimpleNamespace(dataset=info, root=tmp_path)
    with pytest.raises(InputError, match=r"data.unlabeled=u: has folders of images as well as"):
        SegmentationData._unlabeled_samples(SimpleNamespace(experiment=experiment), "u")
    experiment.data, experiment.check_normalization = Data(train="u"), lambda: None
    with pytest.raises(InputError, match=r"data.train=u: has folders of images as well as"):
        SegmentationData(experiment)


def test_ground_that_cannot_be_used(tmp_path):
    everything = slice(0, 150), slice(0, 200)
    write_places(tmp_path / "a.tif", everything)
    info = dataset(train={"images": ("a.tif",)})
    with pytest.raises(InputError, match=r"a.tif: none of the 1 images has data"):
        find_ground_samples(info, tmp_path, "train")
    far = box(slice(900, 950), slice(900, 950))
    write_features(tmp_path / "areas.gpkg", [far], name=["train"])
    info = dataset(
        train={"images": ("a.tif",), "areas": AreaFile(path=Path("areas.gpkg"), attribute="name")}
    )
    with pytest.raises(
        InputError, match=r"areas.gpkg: no areas touch any of its 1 images; .* away"
    ):
        find_ground_samples(info, tmp_path, "train")


@pytest.mark.parametrize("varied", [False, True])
def test_of_a_large_image_only_the_crop_is_read(tmp_path, monkeypatch, varied):
    """The crops are those of whole images, with and without turns and other scales."""
    root = make_dataset(tmp_path, VAIHINGEN, {"train": 3}, ((120, 90), (20, 70), (64, 64)))
    info = VAIHINGEN.relabeled("train", None)
    samples = find_samples(info, root, "train")
    for data in (PLAIN, replace(PLAIN, scales=(0.5, 1.25), rotate=0.5, flip=0.5)):
        transform = TrainTransform(data, info.ignore_index, varied=varied)
        crops = ImageCrops(samples, info, transform)
        whole = [crops.crop(np.random.default_rng(number)) for number in range(20)]
        with monkeypatch.context() as patch:
            patch.setattr(segmentation, "READ_WHOLE", 100)
            patch.setattr("network.datasets.unlabeled.read_valid_image", None)
            for number, pair in enumerate(whole):
                for one, other in zip(pair, crops.crop(np.random.default_rng(number)), strict=True):
                    np.testing.assert_array_equal(one, other)
