"""Which splits share images, or ground of one image; by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from network.datasets.on_earth.files import AreaFile
from network.datasets.overlap import splits_overlap
from network.datasets.schema import Folder, MaskFolder
from network.evaluation.protocol import TrainingRecord
from tests.datasets.checks.test_ground import PATCHES, write_areas
from tests.datasets.on_earth.scenes import box, by_class, dataset, write_features, write_scene
from tests.rasters.earth import blocks


def folder(*only: str, images: str = "images", **options) -> Folder:
    return Folder(images=images, masks=(MaskFolder(folder="masks"),), only=only, **options)


FOLDERS = {
    "all": (folder(),),
    "a": (folder("a*"),),
    "b": (folder("b*"),),
    "a and b": (folder("a*", "b*"),),
    "rest": (folder(leave_out=("a*",)),),
    "others": (folder(images="others"),),
    "two": (folder(images="others"), folder("a1")),
}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        *(("a", "a", True), ("a", "b", False), ("a and b", "b", True), ("all", "a", True)),
        *(("rest", "a", False), ("rest", "b", True), ("all", "others", False)),
        *(("two", "a", True), ("two", "b", False), ("two", "others", True)),
    ],
)
def test_folders(tmp_path, one, other, expected):
    (tmp_path / "images").mkdir()
    for name in ("a1", "a2", "b1"):
        (tmp_path / f"images/{name}.png").touch()
    info = replace(PATCHES, splits=FOLDERS)
    for pair in ((one, other), (other, one)):
        assert splits_overlap(info, tmp_path, *pair) is expected
    record = TrainingRecord({"data.train": one})
    assert record.has_seen(info, tmp_path, "data.train", other) is expected


def test_what_the_weights_had_seen_before(tmp_path):
    """The images of a run count for all runs that began with its weights."""
    info, used = replace(PATCHES, splits=FOLDERS), "data.train"
    known = {"data.train": "a", "data.val": None, "data.data_set": info.name}
    begun = {"path": "x.ckpt", "sha256": "0"}

    def seen(before, split="b", key=used):
        record = TrainingRecord({**known, "init_from": {**begun, **before}})
        return record.has_seen(info, tmp_path, key, split)

    assert seen({"settings": {**known, "data.train": "b"}}) is True
    assert seen({"settings": known}) is False
    assert seen({"settings": {**known, "data.data_set": "other", "data.train": "b"}}) is False
    twice = {**known, "init_from": {**begun, "settings": {**known, "data.train": "b"}}}
    assert seen({"settings": twice}) is True
    assert seen({"settings": {**known, "data.unlabeled": "b"}}, key="data.unlabeled") is True
    # Older code did not write it down.
    assert seen({}) is None
    assert seen({}, "a") is True


def test_images_without_labels(tmp_path):
    info = replace(PATCHES, splits=FOLDERS)
    record = TrainingRecord({"data.train": "a", "data.unlabeled": "b"})
    assert record.has_seen(info, tmp_path, "data.unlabeled", "b") is True
    assert record.has_seen(info, tmp_path, "data.unlabeled", "a") is False
    # Older code knew none.
    record = TrainingRecord({"data.train": "a"})
    assert record.has_seen(info, tmp_path, "data.unlabeled", "b") is False


def test_folders_that_are_not_there(tmp_path):
    info = replace(PATCHES, splits=FOLDERS)
    assert splits_overlap(info, tmp_path, "a", "b") is False
    assert splits_overlap(info, tmp_path, "a", "others") is False
    assert splits_overlap(info, tmp_path, "a", "a") is True


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("train",), ("val",), False),
        (("train", "val"), ("val",), True),
        ((), ("val",), True),
        (None, ("val",), True),
        (None, None, True),
    ],
)
def test_areas(tmp_path, one, other, expected):
    write_areas(tmp_path, (slice(0, 9), slice(0, 9)), (slice(20, 30), slice(0, 9)))
    for name in ("a", "b"):  # the labels need not be there
        write_scene(tmp_path / f"{name}.tif", blocks(1, 40, 40))
    scenes = {"images": ("*.tif",), "labels": (by_class(),)}
    file = AreaFile(path=Path("areas.gpkg"), attribute="split")
    info = dataset(
        one=scenes | {"areas": None if one is None else replace(file, only=one)},
        other=scenes | {"areas": None if other is None else replace(file, only=other)},
        a=scenes | {"images": ("a.tif",)},
        b=scenes | {"images": ("b.tif",)},
        whole=scenes | {"areas": replace(file, path=Path("whole.gpkg"), attribute=None)},
        apart=scenes | {"areas": replace(file, path=Path("apart.gpkg"), attribute=None)},
        lost=scenes | {"areas": replace(file, path=Path("lost.gpkg"), attribute=None)},
    )
    write_features(tmp_path / "whole.gpkg", [box(slice(0, 40), slice(0, 40))])
    write_features(tmp_path / "apart.gpkg", [box(slice(0, 9), slice(30, 40))])
    assert splits_overlap(info, tmp_path, "one", "other") is expected
    assert splits_overlap(info, tmp_path, "a", "b") is False
    assert splits_overlap(info, tmp_path, "a", "one") is True
    if one is not None:  # areas in two files
        assert splits_overlap(info, tmp_path, "one", "whole") is True
        assert splits_overlap(info, tmp_path, "one", "apart") is False
        assert splits_overlap(info, tmp_path, "one", "lost") is None
