"""The facts of the data sets, and colors to labels and back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from network.datasets.info import DUBAI, LOVEDA, POTSDAM, SPLITS, UUAD, VAIHINGEN
from network.datasets.on_earth.files import AreaFile
from network.datasets.provenance import tile_of_patch
from network.datasets.schema import DatasetInfo, Folder, MaskFolder
from network.errors import InputError

INFOS = [VAIHINGEN, POTSDAM, LOVEDA]


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_facts(info: DatasetInfo):
    assert len(info.classes) == len(info.palette) == info.ignore_index
    assert all(label < info.num_classes for label in info.scored)


@pytest.mark.parametrize(
    ("info", "name", "tile"),
    [
        (VAIHINGEN, "top_mosaic_09cm_area1_0_12", "top_mosaic_09cm_area1"),
        (UUAD, "jp22_1.0_8", "jp22_1.0"),
        (DUBAI, "tile4_image_part_001", "tile4"),
        (DUBAI, "image_part_001", None),
    ],
)
def test_tiles_in_the_names_of_patches(info, name, tile):
    assert info.patched
    assert tile_of_patch(name, info.patch_names) == tile


def test_splits_of_dubai_share_no_tile():
    tiles = [folder.prefix for split in SPLITS for folder in DUBAI.folders(split)]
    assert sorted(tiles) == [f"tile{number}_" for number in range(1, 9)]


def test_published_palettes():
    isprs = dict(zip(VAIHINGEN.classes, VAIHINGEN.palette, strict=True))
    assert isprs["Car"] == (255, 255, 0)
    assert isprs["LowVeg"] == (0, 255, 255)
    assert isprs["Clutter"] == (255, 0, 0)
    assert VAIHINGEN.palette == POTSDAM.palette
    loveda = dict(zip(LOVEDA.classes, LOVEDA.palette, strict=True))
    assert loveda["barren"] == (159, 129, 183)
    assert loveda["agricultural"] == (255, 195, 128)


def test_endings_of_images():
    """A data set with images of one kind has those, whichever are asked for."""
    endings = [
        tuple(info.tile_names.image_ending(infrared=infrared) for infrared in (False, True))
        for info in (VAIHINGEN, POTSDAM)
    ]
    assert endings == [(".tif", ".tif"), ("_RGB.tif", "_IRRG.tif")]
    with pytest.raises(ValueError, match="loveda has no whole tiles"):
        _ = LOVEDA.tile_names


def test_means_leave_clutter_out():
    for info in (VAIHINGEN, POTSDAM):
        scored = [info.classes[label] for label in info.scored]
        assert scored == ["ImSurf", "Building", "LowVeg", "Tree", "Car"]
    assert len(LOVEDA.scored) == 7


def test_train_val_is_train_and_val():
    for info in INFOS:
        assert info.splits["train_val"] == info.splits["train"] + info.splits["val"]


@settings(deadline=None, max_examples=25)
@given(
    info=st.sampled_from(INFOS),
    labels=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 7)),
)
def test_colors_and_back(info, labels):
    labels = np.minimum(labels, info.ignore_index)
    np.testing.assert_array_equal(info.from_rgb(info.to_rgb(labels), "mask.png"), labels)


def test_black_is_ignored():
    assert (VAIHINGEN.from_rgb(np.zeros((2, 2, 3), np.uint8), "m.tif") == 6).all()
    assert (VAIHINGEN.to_rgb(np.array([6, 200], np.uint8)) == 0).all()


def test_unknown_color():
    """The padding fault of the field: (6, 0, 0) must not become a class."""
    rgb = VAIHINGEN.to_rgb(np.ones((5, 8), np.uint8))
    rgb[2, 3:5] = (6, 0, 0)
    rgb[4, 7] = (1, 2, 3)
    with pytest.raises(InputError) as error:
        VAIHINGEN.from_rgb(rgb, "tile.tif")
    message = str(error.value)
    for words in ("tile.tif", "(6, 0, 0)", "2 pixels", "row 2, column 3", "1 more"):
        assert words in message
    labels = VAIHINGEN.from_rgb(rgb, "tile.tif", unknown="ignore")
    assert (labels == 6).sum() == 3
    assert (labels == 1).sum() == 37


@given(seed=st.integers(0, 10**6))
def test_nearest_color(seed):
    """A lossy mask: while each channel stays on its side of 128, the classes are as they were."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, (6, 9), dtype=np.uint8)
    rgb = VAIHINGEN.to_rgb(labels).astype(int)
    noisy = np.clip(rgb + rng.integers(-120, 121, rgb.shape), 0, 255)
    found = VAIHINGEN.from_rgb(noisy.astype(np.uint8), "tile.tif", unknown="nearest")
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ("a", "b")}, "2 classes but 6 colors"),
        ({"palette": VAIHINGEN.palette[:5] + VAIHINGEN.palette[:1]}, "same color"),
        ({"ignore_index": 3}, "ignore_index=3;"),
        ({"ignore_index": 256}, "ignore_index=256;"),
        ({"patch_names": "(.+)_[0-9]+"}, "is no regular expression with a group"),
        ({"patch_names": "(?P<tile>["}, "is no regular expression with a group"),
        ({"classes": (*VAIHINGEN.classes[:5], "Tree")}, "each name may only occur once"),
        ({"classes": (*VAIHINGEN.classes[:5], "Tree ")}, "each name may only occur once"),
        ({"classes": (*VAIHINGEN.classes[:5], 3)}, "expected names"),
        ({"classes": (*VAIHINGEN.classes[:5], " ")}, "expected names"),
        *(
            ({"palette": (*VAIHINGEN.palette[:5], color)}, "whole numbers of 0 to 255")
            for color in ((0.7, 0.5, 0.3), (300, 0, 0), (-1, 0, 0), "#00c800", (1, 2, 3, 4), 7)
        ),
    ],
)
def test_inconsistent_facts(change, words):
    with pytest.raises(ValueError, match=words):
        replace(VAIHINGEN, **change)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(VAIHINGEN.d4, rotations=(0, 45)), r"rotations=\(0, 45\), expected some"),
        (lambda: replace(VAIHINGEN.d4, rotations=()), "expected some of 0, 90, 180 and 270"),
        (
            lambda: replace(VAIHINGEN.d4, scales=(1, 0)),
            r"scales=\(1, 0\), expected factors",
        ),
        (lambda: replace(VAIHINGEN.d4, scales=(float("inf"),)), "expected factors above 0"),
        (lambda: MaskFolder(folder="masks", kind="Full"), "neither 'full' nor 'eroded'"),
        (lambda: Folder(images="images", masks=("masks",)), r"masks must be mask folders"),
        (lambda: AreaFile(path="a", attribute="b", only="test"), "only must be a tuple"),
    ],
)
def test_wrong_parts_of_a_description(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_lists_describe_the_same_data_set():
    """A report compares the classes of a result with those of the config."""
    lists = replace(
        VAIHINGEN,
        classes=list(VAIHINGEN.classes),
        palette=[list(color) for color in VAIHINGEN.palette],
        scored=list(VAIHINGEN.scored),
    )
    assert lists == VAIHINGEN
