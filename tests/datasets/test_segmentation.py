"""Samples of a split, what is said of damaged ones, and the Dataset."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.info import LOVEDA, VAIHINGEN, Folder, MaskFolder
from network.datasets.segmentation import SegmentationDataset, check_samples, find_samples
from network.datasets.transforms import TrainTransform
from network.errors import InputError
from network.settings import Data
from tests.scenes import make_dataset, write_bands


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path, VAIHINGEN, {"train": 3, "test": 2}, ((64, 64), (48, 80)))


def test_samples(root):
    samples = find_samples(VAIHINGEN, root, "train")
    assert [s.name for s in samples] == ["train-0-0", "train-0-1", "train-0-2"]
    assert [s.size for s in samples] == [(64, 64), (48, 80), (64, 64)]
    assert samples[0].masks.keys() == {"full"}
    check_samples(samples, VAIHINGEN, "train")


def test_test_split_has_eroded_and_full_masks(root):
    samples = find_samples(VAIHINGEN, root, "test")
    assert list(samples[0].masks) == ["eroded", "full"]
    for path in (root / "test/masks_1024_rgb").iterdir():
        path.unlink()
    (root / "test/masks_1024_rgb").rmdir()
    assert list(find_samples(VAIHINGEN, root, "test")[0].masks) == ["eroded"]


def test_loveda_folders(tmp_path):
    make_dataset(tmp_path, LOVEDA, {"train": 1, "val": 2, "test": 1})
    assert len(find_samples(LOVEDA, tmp_path, "train_val")) == 6
    assert find_samples(LOVEDA, tmp_path, "test")[0].masks == {}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("missing folder", r"images_1024: no such folder"),
        ("empty folder", r"images_1024: no image in this folder"),
        ("missing mask", r"train-0-1\.png: no mask of this name in .*masks_1024 \(1 of 3"),
        ("missing image", r"masks_1024/train-0-1\.png: no image of this name in .*images_1024"),
        ("another size", r"train-0-1\.png: 10 x 20 pixels, its image .* has 48 x 80"),
        ("truncated", r"images_1024/train-0-1\.png: truncated image"),
        ("not an image", r"images_1024/train-0-1\.png: not an image"),
    ],
)
def test_damaged_split(root, damage, words):
    images, masks = root / "train/images_1024", root / "train/masks_1024"
    image, mask = images / "train-0-1.png", masks / "train-0-1.png"
    if damage == "missing folder":
        images.rename(root / "elsewhere")
    elif damage == "empty folder":
        for path in images.iterdir():
            path.unlink()
    elif damage == "missing mask":
        mask.unlink()
    elif damage == "missing image":
        image.unlink()
    elif damage == "another size":
        write_image(mask, np.zeros((10, 20), np.uint8))
    elif damage == "truncated":
        image.write_bytes(image.read_bytes()[:-100])
    else:
        image.write_text("hello")
    with pytest.raises(InputError, match=words):
        find_samples(VAIHINGEN, root, "train")


def test_wrong_labels(root):
    mask = root / "train/masks_1024/train-0-1.png"
    labels = read_mask(mask, VAIHINGEN).copy()
    labels[5, 6] = 200
    write_image(mask, labels)
    samples = find_samples(VAIHINGEN, root, "train")
    with pytest.raises(InputError, match=r"train-0-1\.png: label 200 at row 5, column 6"):
        check_samples(samples, VAIHINGEN, "train")


def test_all_ignored(root):
    for mask in (root / "train/masks_1024").iterdir():
        write_image(mask, np.full_like(read_mask(mask, VAIHINGEN), 6))
    samples = find_samples(VAIHINGEN, root, "train")
    with pytest.raises(InputError, match="no pixel of the train masks has a class"):
        check_samples(samples, VAIHINGEN, "train")


def test_same_name_twice(tmp_path):
    make_dataset(tmp_path, LOVEDA, {"train": 1})
    for kind in ("images_png", "masks_png_convert"):
        folder = tmp_path / "Train/Urban" / kind
        (folder / "train-1-0.png").rename(folder / "train-0-0.png")
    with pytest.raises(InputError, match="same name as"):
        find_samples(LOVEDA, tmp_path, "train")


def test_a_prefix_tells_images_of_one_name_apart(tmp_path):
    make_dataset(tmp_path, LOVEDA, {"train": 1})
    for kind in ("images_png", "masks_png_convert"):
        folder = tmp_path / "Train/Urban" / kind
        (folder / "train-1-0.png").rename(folder / "train-0-0.png")
    folders = tuple(
        replace(folder, prefix=prefix)
        for folder, prefix in zip(LOVEDA.splits["train"], ("rural_", "urban_"), strict=True)
    )
    info = replace(LOVEDA, splits={"train": folders})
    samples = find_samples(info, tmp_path, "train")
    assert [sample.name for sample in samples] == ["rural_train-0-0", "urban_train-0-0"]
    assert [sample.image.parts[-3] for sample in samples] == ["Rural", "Urban"]
    assert all(sample.masks["full"].parts[-3] == sample.image.parts[-3] for sample in samples)


def test_splits_that_share_a_folder(root, capsys):
    """Every image is in one of them, and a mask of another split is not missed."""
    (folder,) = VAIHINGEN.splits["train"]
    splits = {
        "train": (replace(folder, leave_out=("*-1", "train-0-2")),),
        "val": (replace(folder, only=("*-1",)),),
        "test": (replace(folder, only=("*-[12]",), leave_out=("*-1",)),),
    }
    info = replace(VAIHINGEN, splits=splits, tile_splits={})
    names = {s: [one.name for one in find_samples(info, root, s)] for s in splits}
    assert names == {"train": ["train-0-0"], "val": ["train-0-1"], "test": ["train-0-2"]}
    some = replace(folder, only=("train-0-1", "train-9-9"), leave_out=("train-7-7", "x*"))
    find_samples(replace(info, splits={"train": (some,)}), root, "train")
    told = capsys.readouterr().err
    assert "only names train-9-9, and no image has such a name" in told
    assert "leave_out names train-7-7, and" in told
    for name in ("train-0-1.png", "train-0-1.TIF"):
        ending = replace(info, splits={"train": (replace(folder, leave_out=(name,)),)})
        with pytest.raises(InputError, match="names stand there without ending; write train-0-1"):
            find_samples(ending, root, "train")
    none = replace(info, splits={"train": (replace(folder, only=("area*",)),)})
    with pytest.raises(InputError, match=r"none of its 3 files is used by only=\('area"):
        find_samples(none, root, "train")
    with pytest.raises(ValueError, match=r"only must be a tuple"):
        Folder(images="images", masks=(MaskFolder(folder="masks"),), only="area1")


def test_training_items_depend_on_epoch_and_index_alone(root):
    samples = find_samples(VAIHINGEN, root, "train")
    transform = TrainTransform(Data(crop=32), VAIHINGEN.ignore_index)

    def item(epoch: int, index: int, seed: int = 1) -> torch.Tensor:
        return SegmentationDataset(samples, VAIHINGEN, transform, seed)[epoch, index]["image"]

    assert item(2, 1).shape == (3, 32, 32)
    assert item(2, 1).dtype == torch.uint8
    assert item(2, 1).equal(item(2, 1))
    assert not item(2, 1).equal(item(3, 1))
    assert not item(2, 1).equal(item(2, 1, seed=2))
    # An index beyond the images is a repetition, with augmentation of its own.
    assert not item(2, 1).equal(item(2, 4))


def test_evaluation_items(root):
    samples = find_samples(VAIHINGEN, root, "test")
    dataset = SegmentationDataset(samples, VAIHINGEN)
    item, ignored = dataset[1], dataset[~1]
    assert item["name"] == ignored["name"] == samples[1].name
    assert item["image"].equal(ignored["image"])
    assert item["labels"].keys() == {"eroded", "full"}
    assert (item["labels"]["eroded"] != 6).any()
    assert all((labels == 6).all() for labels in ignored["labels"].values())


@pytest.mark.parametrize("orientation", [3, 6])
def test_images_that_viewers_turn(tmp_path, orientation):
    """Masks drawn on what viewers show, or on what is stored; unknown is refused."""
    info = replace(VAIHINGEN, tiles=None, patched=False)
    make_dataset(tmp_path, info, {"train": 1, "test": 1}, ((40, 64),))
    path = tmp_path / "train/images_1024/train-0-0.png"
    mask = tmp_path / "train/masks_1024/train-0-0.png"
    shown, labels = read_rgb(path), read_mask(mask, info)
    turn_back = {3: lambda a: np.rot90(a, 2), 6: lambda a: np.rot90(a, 1)}[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(turn_back(shown))
    Image.fromarray(stored).save(path, exif=exif)

    with pytest.raises(InputError, match=rf"EXIF orientation is {orientation}.*='shown', or"):
        find_samples(info, tmp_path, "train")
    drawn_on_shown = replace(info, exif_orientation="shown")
    samples = find_samples(drawn_on_shown, tmp_path, "train")
    assert samples[0].size == (40, 64)
    item = SegmentationDataset(samples, drawn_on_shown)[0]
    np.testing.assert_array_equal(item["image"].permute(1, 2, 0), shown)
    np.testing.assert_array_equal(item["labels"]["full"], labels)

    drawn_on_stored = replace(info, exif_orientation="stored")
    write_image(mask, np.ascontiguousarray(turn_back(labels)))
    item = SegmentationDataset(find_samples(drawn_on_stored, tmp_path, "train"), drawn_on_stored)[0]
    np.testing.assert_array_equal(item["image"].permute(1, 2, 0), stored)
    np.testing.assert_array_equal(item["labels"]["full"], turn_back(labels))
    with pytest.raises(ValueError, match="exif_orientation='turned' is none of"):
        replace(info, exif_orientation="turned")


def test_what_an_image_calls_invalid_is_ignored(tmp_path):
    """In a training crop and in evaluation, whatever its mask says."""
    make_dataset(tmp_path, LOVEDA, {"train": 1}, ((40, 40),))
    for folder in ("Rural", "Urban"):
        (path,) = (tmp_path / f"Train/{folder}/images_png").iterdir()
        image = np.maximum(read_rgb(path), 1)
        image[:, :10] = 0
        write_bands(path.with_suffix(".tif"), image, nodata=0)
        path.unlink()
    samples = find_samples(LOVEDA, tmp_path, "train")
    item = SegmentationDataset(samples, LOVEDA)[0]
    assert not item["valid"][:, :10].any()
    assert item["valid"][:, 10:].all()
    assert (item["labels"]["full"][:, :10] == LOVEDA.ignore_index).all()
    data = Data(crop=40, scales=(1.0,), mosaic=0.5, max_class_share=1.0)
    training = SegmentationDataset(samples, LOVEDA, TrainTransform(data, LOVEDA.ignore_index))
    for index in range(8):
        item = training[0, index]
        black = (item["image"] == 0).all(dim=0)
        assert black.any()
        assert (item["labels"][black] == LOVEDA.ignore_index).all()
