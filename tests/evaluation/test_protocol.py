"""What a stamp says of masks: from their record, or from the labels themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from network.datasets import files
from network.datasets.files import write_image
from network.datasets.info import VAIHINGEN
from network.datasets.provenance import PROVENANCE_FILE
from network.datasets.segmentation import check_samples, find_samples
from network.errors import InputError
from network.evaluation import protocol
from network.evaluation.protocol import check_image_files, mask_protocol
from network.evaluation.records import Counter, ImageRecord
from network.evaluation.results import other_padding
from network.evaluation.summary import summarize
from tests.scenes import make_dataset


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path, VAIHINGEN, {"test": 3})


def pad(root, label: int) -> None:
    """Make the top of the second test image black, with ``label``."""
    folder = VAIHINGEN.splits["test"][0]
    image = np.full((64, 64, 3), 90, np.uint8)
    image[:8] = 0
    write_image(root / folder.images / "test-0-1.png", image)
    labels = np.ones((64, 64), np.uint8)
    labels[:8] = label
    for masks in folder.masks:
        pixels = VAIHINGEN.to_rgb(labels) if masks.folder.endswith("_rgb") else labels
        write_image(root / masks.folder / "test-0-1.png", pixels)


@pytest.mark.parametrize(
    ("label", "policy", "caption"),
    [
        (6, "ignore", "with padding scored as the first class"),
        (0, "geoseg", "without padding"),
        (3, "unknown", "without padding"),
        (None, "none", None),
    ],
)
def test_padding_of_masks_without_a_record(root, label, policy, caption):
    """The policy, and what the scores under the other one are called, follow from the labels."""
    if label is not None:
        pad(root, label)
    samples = find_samples(VAIHINGEN, root, "test")
    for kind, masks in mask_protocol(VAIHINGEN, samples).items():
        assert masks.padding_policy == policy, kind
        assert masks.tiling == "patches of 64 x 64, cut elsewhere"
    if label is not None:
        labels = np.ones((64, 64), np.uint8)
        labels[:8] = label
        prediction = np.zeros((64, 64), np.int64)
        counts = Counter(VAIHINGEN, 3).count(
            None, torch.from_numpy(prediction), torch.from_numpy(labels), (8, 0)
        )
        summary = summarize([ImageRecord("a", {"full": counts})], "full", VAIHINGEN)
        assert other_padding(summary).startswith(caption)


def test_of_many_patches_some_are_searched_for_padding(root, monkeypatch):
    """They are drawn: every second patch is padded, and ten of a hundred find one of these."""
    pad(root, 6)
    found = {sample.name: sample for sample in find_samples(VAIHINGEN, root, "test")}
    padded = found.pop("test-0-1")
    one, *_ = found.values()
    read = []

    def read_image(path, info):
        read.append(path)
        return files.read_image(path, info)

    monkeypatch.setattr(protocol, "read_image", read_image)
    monkeypatch.setattr(protocol, "_READ", 10)
    kinds = len(one.masks)
    assert mask_protocol(VAIHINGEN, 100 * [one])["full"].padding_policy == "none"
    assert read == kinds * 10 * [one.image]
    assert mask_protocol(VAIHINGEN, 50 * [one, padded])["full"].padding_policy == "ignore"
    assert mask_protocol(VAIHINGEN, [*(9 * [one]), padded])["full"].padding_policy == "ignore"


def test_infrared_images_are_not_those_of_the_training(root):
    """The masks are the same; the images folder says what its patches were cut from."""
    folder = VAIHINGEN.splits["test"][0]
    for part, ending in ((folder.images, "_IRRG.tif"), (folder.masks[0].folder, "_RGB.tif")):
        text = json.dumps({"split_size": 64, "stride": 64, "image_ending": ending})
        (root / part / PROVENANCE_FILE).write_text(text)
    samples = find_samples(VAIHINGEN, root, "test")
    assert mask_protocol(VAIHINGEN, samples)["eroded"].image_files == "_IRRG.tif"
    training = {"data.data_set": "vaihingen", "data.image_ending": "_IRRG.tif"}
    check_image_files(None, VAIHINGEN, samples, Path("x.ckpt"))
    check_image_files(training, VAIHINGEN, samples, Path("x.ckpt"))
    training["data.image_ending"] = "_RGB.tif"
    with pytest.raises(InputError, match=r"images \*_IRRG.tif, but x.ckpt was trained on"):
        check_image_files(training, VAIHINGEN, samples, Path("x.ckpt"))
    check_image_files(training | {"data.data_set": "potsdam"}, VAIHINGEN, samples, Path("x.ckpt"))


def test_digests_tell_labels_apart(root):
    """Of names and labels, whatever their files' encoding; one pixel is enough."""
    samples = find_samples(VAIHINGEN, root, "test")
    before = check_samples(samples, VAIHINGEN, "test").digests
    assert before.keys() == {"eroded", "full"}
    folder = VAIHINGEN.splits["test"][0].masks[1].folder
    path = root / folder / "test-0-2.png"
    colors = VAIHINGEN.to_rgb(np.zeros((64, 64), np.uint8))
    write_image(path, colors)
    first = check_samples(samples, VAIHINGEN, "test").digests
    write_image(path, np.zeros((64, 64), np.uint8))  # as labels, not as colors
    assert check_samples(samples, VAIHINGEN, "test").digests == first
    colors[5, 5] = VAIHINGEN.palette[1]
    write_image(path, colors)
    second = check_samples(samples, VAIHINGEN, "test").digests
    assert first["eroded"] == second["eroded"] == before["eroded"]
    assert len({before["full"], first["full"], second["full"]}) == 3
