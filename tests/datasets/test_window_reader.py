"""Windows of images and masks have the pixels and labels of the whole files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from network.datasets import segmentation, window_reader
from network.datasets.files import ignore_invalid, read_mask, read_valid_image, write_image
from network.datasets.info import BUILDING, VAIHINGEN
from network.datasets.rare import draw_pixel, draw_pixel_of
from network.datasets.schema import MaskCoding
from network.datasets.segmentation import SegmentationDataset, check_samples, find_samples
from network.datasets.transforms import TrainTransform
from network.datasets.window_reader import WindowReader, strips
from network.errors import InputError
from network.settings import Data
from tests.scenes import make_dataset, write_bands

WINDOWS = [
    (slice(0, 60), slice(0, 90)),
    (slice(7, 31), slice(50, 90)),
    (slice(59, 60), slice(0, 1)),
]


def turned_photo(path: Path, pixels: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


def colors(height: int = 60, width: int = 90, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, bands), dtype=np.uint8)


def holed() -> np.ndarray:
    """Colors that are black, which stands for no data, in a part of the image."""
    image = colors() // 2 + 1
    image[10:30, 40:70] = 0
    return image


def image_files(folder: Path):
    """A file of each kind, with the description of its data set."""
    heights = colors().astype(np.float32)
    heights[3:9, 4:80, 1] = np.nan
    plain = replace(VAIHINGEN, tiles=None, patched=False)
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 16, "compress": "deflate"}
    write_image(folder / "plain.png", colors())
    yield folder / "plain.png", plain
    write_bands(folder / "none.tif", holed(), nodata=0, **tiles)
    yield folder / "none.tif", plain
    Image.fromarray(colors(bands=4)).save(folder / "alpha.png")
    yield folder / "alpha.png", plain
    yield folder / "alpha.png", replace(plain, bands=4)
    write_bands(folder / "heights.tif", heights, **tiles)
    yield folder / "heights.tif", replace(plain, values="float", bits=32)
    turned_photo(folder / "turned.png", colors(90, 60), 6)
    yield folder / "turned.png", replace(plain, exif_orientation="shown")
    turned_photo(folder / "stored.png", colors(), 6)
    yield folder / "stored.png", replace(plain, exif_orientation="stored")


def test_images(tmp_path):
    for path, info in image_files(tmp_path):
        image, valid = read_valid_image(path, info)
        sample = segmentation.Sample(name="a", image=path, size=image.shape[:2])
        reader = WindowReader(info)
        for window in WINDOWS:
            found, found_valid = reader.image(sample, window)
            np.testing.assert_array_equal(found, image[window])
            everywhere = np.ones(image.shape[:2], bool)
            here = everywhere if valid is None else valid
            mine = everywhere[window] if found_valid is None else found_valid
            np.testing.assert_array_equal(mine, here[window])


def mask_files(folder: Path):
    """A mask of each coding, with the description of its data set."""
    labels = np.random.default_rng(1).integers(0, 6, (60, 90), dtype=np.uint8)
    labels[5:20, 5:40] = VAIHINGEN.ignore_index
    write_image(folder / "labels.png", labels)
    yield folder / "labels.png", VAIHINGEN
    write_bands(folder / "labels.tif", labels[..., None].astype(np.float32), nodata=2)
    yield folder / "labels.tif", VAIHINGEN
    write_image(folder / "colors.png", VAIHINGEN.to_rgb(labels))
    yield folder / "colors.png", VAIHINGEN
    table = Image.fromarray(labels % 2)
    table.putpalette([0, 0, 0, 255, 255, 255])
    table.save(folder / "table.png")
    yield folder / "table.png", BUILDING
    colored = replace(BUILDING, mask_coding=MaskCoding(color_tables="colors"))
    yield folder / "table.png", colored
    write_image(folder / "values.png", labels % 2 * 200)
    yield folder / "values.png", replace(BUILDING, mask_coding=MaskCoding(values=(0, 200)))
    turned_photo(folder / "turned.png", labels.T.copy(), 5)
    yield folder / "turned.png", replace(VAIHINGEN, exif_orientation="shown")


def test_masks(tmp_path):
    for path, info in mask_files(tmp_path):
        labels, reader = read_mask(path, info), WindowReader(info)
        assert reader.size(path) == labels.shape
        for window in WINDOWS:
            np.testing.assert_array_equal(reader.mask(path, window), labels[window])


def test_a_wrong_label_is_told_with_its_window(tmp_path):
    labels = np.zeros((60, 90), np.uint8)
    labels[50, 70] = 77
    write_image(tmp_path / "a.png", labels)
    window = slice(40, 60), slice(60, 90)
    with pytest.raises(
        InputError, match=r"a\.png, from row 40 and column 60 on: label 77 at row 10, column 10"
    ):
        WindowReader(VAIHINGEN).mask(tmp_path / "a.png", window)


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, colors())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    sample = segmentation.Sample(name="a", image=path, size=(60, 90))
    with pytest.raises(InputError, match=r"a\.png: damaged pixels"):
        WindowReader(VAIHINGEN).image(sample, WINDOWS[1])


def test_strips_cover_an_image():
    parts = list(strips((10, 7), 21))
    assert [(rows.start, rows.stop) for rows, _ in parts] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert all(columns == slice(0, 7) for _, columns in parts)
    assert [rows.stop - rows.start for rows, _ in strips((3, 100), 7)] == [1, 1, 1]


def test_a_pixel_is_drawn_in_strips_as_in_one(monkeypatch):
    labels = np.random.default_rng(2).integers(0, 5, (40, 30), dtype=np.uint8)
    labels[:17] = 0
    monkeypatch.setattr(window_reader.strips, "__defaults__", (100,))
    for seed in range(50):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        assert draw_pixel_of(labels, 3, rngs[0]) == draw_pixel(labels == 3, rngs[1])
    assert draw_pixel_of(labels, 9, np.random.default_rng(0)) is None


@pytest.mark.parametrize("rare", [0.0, 0.7])
def test_training_crops_do_not_depend_on_how_they_are_read(tmp_path, monkeypatch, rare):
    info = replace(VAIHINGEN, tiles=None, patched=False)
    make_dataset(tmp_path, info, {"train": 3}, ((64, 64), (90, 70)))
    transform = TrainTransform(Data(crop=32, mosaic=0.5), info.ignore_index)
    samples = find_samples(info, tmp_path, "train")
    found = []
    for read_whole in (segmentation.READ_WHOLE, 10):
        monkeypatch.setattr(segmentation, "READ_WHOLE", read_whole)
        labels = check_samples(samples, info, "train")
        counts = labels.counts["full"] if rare else None
        dataset = SegmentationDataset(samples, info, transform, 0, rare, counts)
        items = [dataset[epoch, index] for epoch in range(4) for index in range(3)]
        found.append((labels, items))
    assert found[0][0].digests == found[1][0].digests
    np.testing.assert_array_equal(found[0][0].counts["full"], found[1][0].counts["full"])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["labels"], other["labels"])


def test_labels_are_ignored_where_the_image_has_no_data(tmp_path):
    write_bands(tmp_path / "a.tif", holed(), nodata=0)
    labels = np.ones((60, 90), np.uint8)
    write_image(tmp_path / "mask.png", labels)
    info = replace(VAIHINGEN, tiles=None, patched=False)
    _, valid = read_valid_image(tmp_path / "a.tif", info)
    assert not valid.all()
    sample = segmentation.Sample(name="a", image=tmp_path / "a.tif", size=(60, 90))
    for window in WINDOWS:
        np.testing.assert_array_equal(
            WindowReader(info).labels(sample, tmp_path / "mask.png", window),
            ignore_invalid(labels, valid, info)[window],
        )
