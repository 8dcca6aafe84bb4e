"""Windows of scenes and of large images that figures show."""

from dataclasses import replace

import numpy as np

from network.datasets.cut_windows import cut_window, labeled_window
from network.datasets.files import read_mask, write_image
from network.datasets.info import BUILDING
from network.datasets.loaders import evaluation_loader
from network.datasets.schema import Folder, MaskCoding, MaskFolder
from network.datasets.segmentation import find_samples
from tests.datasets.test_scene_windows import make_scenes
from tests.scenes import write_bands


def test_a_window_of_a_scene(tmp_path):
    info = make_scenes(tmp_path, {"a": (300, 700)})
    (sample,) = find_samples(info, tmp_path, "train")
    (tmp_path / "cut").mkdir()
    cut = cut_window(sample, labeled_window(sample, info, 128), info, tmp_path / "cut")
    assert cut.size == (128, 128)
    labels = read_mask(cut.masks["full"], info)
    (item,) = evaluation_loader(info, [cut], 1)
    np.testing.assert_array_equal(item["labels"]["full"][0], labels)
    np.testing.assert_array_equal(item["image"][0, 0], 80 * (labels % 3) + 10)


def test_a_window_of_an_image_in_a_folder(tmp_path):
    """It is where the labels are; its masks hold labels, whatever those of the data set hold."""
    image = np.random.default_rng(0).integers(1, 255, (200, 300, 3), dtype=np.uint8)
    image[:, 280:] = 0
    write_bands(tmp_path / "images/a.tif", image, nodata=0)
    values = np.full((200, 300), 7, np.uint8)
    values[130:190, 230:290] = 200
    write_image(tmp_path / "masks/a.png", values)
    folder = Folder(images="images", masks=(MaskFolder(folder="masks"),))
    coding = MaskCoding(values=(0, 200), ignored=(7,))
    info = replace(BUILDING, mask_coding=coding, splits={"test": (folder,)})
    (sample,) = find_samples(info, tmp_path, "test")
    rows, columns = labeled_window(sample, info, 100)
    assert (rows, columns) == (slice(100, 200), slice(200, 300))
    (tmp_path / "cut").mkdir()
    cut = cut_window(sample, (rows, columns), info, tmp_path / "cut", "part")
    assert (cut.name, cut.size) == ("part", (100, 100))
    (item,) = evaluation_loader(info.decoded, [cut], 1)
    np.testing.assert_array_equal(item["image"][0].permute(1, 2, 0).numpy(), image[rows, columns])
    valid = np.broadcast_to(np.arange(200, 300) < 280, (100, 100))
    np.testing.assert_array_equal(item["valid"][0].numpy(), valid)
    truth = np.where(values == 200, 1, BUILDING.ignore_index)[rows, columns]
    truth[:, 80:] = BUILDING.ignore_index
    np.testing.assert_array_equal(item["labels"]["full"][0].numpy(), truth)
    bare = replace(sample, masks={})
    assert labeled_window(bare, info, 100) == (slice(50, 150), slice(100, 200))
