"""Which folders and files are images, which are labels, and which belong together."""

import re

import pytest

from network.datasets.discovery.layout import find_layout, split_of
from network.errors import InputError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def pairs_of(root, *words, labels=()):
    layout = find_layout([str(word) for word in words or (root,)], [str(one) for one in labels])
    return {
        (str(p.images.relative_to(root)), str(p.masks.relative_to(root)), p.split, p.names)
        for p in layout.pairs
    }


@pytest.mark.parametrize(
    ("images", "masks", "split"),
    [
        ("train/images", "train/masks", "train"),
        ("images/train", "masks/train", "train"),
        ("Training/img", "Training/gt", "train"),
        ("img_dir/val", "ann_dir/val", "val"),
        ("valid/images", "valid/labels", "val"),
        ("Test/Urban/images_png", "Test/Urban/masks_png", "test"),
        ("images", "masks", None),
        ("Tile 1/images", "Tile 1/masks", None),
        (".", "masks", None),
        ("rgb", "ground_truth", None),
        ("images", "images/labels", None),
    ],
)
def test_usual_forms(tmp_path, images, masks, split):
    touch(tmp_path, f"{images}/a.jpg", f"{images}/b.tif", f"{masks}/a.png", f"{masks}/b.png")
    assert pairs_of(tmp_path) == {(images, masks, split, ("a", "b"))}


def test_one_folder_a_tile_in_natural_order(tmp_path):
    for number in (10, 2, 1):
        touch(tmp_path, f"Tile {number}/images/a.jpg", f"Tile {number}/masks/a.png")
    layout = find_layout([str(tmp_path)])
    assert [pair.images.parent.name for pair in layout.pairs] == ["Tile 1", "Tile 2", "Tile 10"]


def test_labels_that_the_user_names(tmp_path):
    """Folders of any name, patterns and files."""
    touch(tmp_path, "photos/a.jpg", "photos/b.jpg", "drawn/a.png", "drawn/b.png", "drawn/c.png")
    photos, drawn = tmp_path / "photos", tmp_path / "drawn"
    both = {("photos", "drawn", None, ("a", "b"))}
    assert pairs_of(tmp_path, photos, labels=[drawn]) == both
    assert pairs_of(tmp_path, photos / "*.jpg", labels=[drawn / "*.png"]) == both
    layout = find_layout([str(photos / "b.jpg")], [str(drawn)])
    assert layout.pairs[0].names == ("b",)
    assert layout.pairs[0].is_chosen
    assert layout.root == tmp_path
    assert not find_layout([f"{photos}/*.jpg"], [str(drawn)]).pairs[0].is_chosen


def test_what_has_no_partner(tmp_path):
    touch(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/c.png", "test/d.png")
    layout = find_layout([str(tmp_path)])
    assert layout.pairs[0].names == ("a",)
    assert layout.pairs[0].left_out == ("b", "c")
    assert layout.alone == (tmp_path / "test",)


def test_hidden_files_and_the_cache_of_labels(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png", "masks/.a.tif", ".git/images/x.png")
    touch(tmp_path, "label_cache/a.tif", "images/._a.png")
    assert pairs_of(tmp_path) == {("images", "masks", None, ("a",))}


def test_polygons(tmp_path):
    touch(tmp_path, "dsm/1.tif", "buildings/1.geojson", "classes.json")
    layout = find_layout([str(tmp_path)])
    assert layout.polygons == (tmp_path / "buildings/1.geojson",)
    assert layout.images == {tmp_path / "dsm": [tmp_path / "dsm/1.tif"]}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["notes.txt"], "no image in it; expected .png"),
        (["masks/a.png"], "no image in it"),
        (["images/a.png"], "no labels in it.*masks or labels, nor polygons; give labels=PATH"),
        (
            ["images/area_01.png", "masks/area1_mask.png"],
            r"masks: none of its 1 masks has the name of an image in .*images \(the nearest are "
            r"area1_mask.png and area_01\)",
        ),
        (
            ["images/a.png", "masks/a.png", "labels/a.png"],
            r"images: has masks in .* choose one of them by labels=PATH",
        ),
    ],
)
def test_bad_input(tmp_path, files, words):
    touch(tmp_path, *files)
    with pytest.raises(InputError, match=words):
        find_layout([str(tmp_path)])


def test_paths_that_do_not_exist(tmp_path):
    touch(tmp_path, "images/a.png")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/none*.png: no such file")):
        find_layout([f"{tmp_path}/none*.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no label in it"):
        find_layout([str(tmp_path)], [str(tmp_path / "empty")])


def test_folders_of_systems_are_left_out(tmp_path):
    """Previews of file servers and what is in a bin, as images and as masks."""
    touch(
        tmp_path, "images/a.png", "masks/a.png", "__MACOSX/masks/a.png", "masks/@eaDir/a.png/M.jpg"
    )
    touch(tmp_path, "images/@eaDir/a.png/M.jpg", "images/#recycle/b.png", "$RECYCLE.BIN/c.png")
    assert pairs_of(tmp_path) == {("images", "masks", None, ("a",))}
    assert find_layout([str(tmp_path)]).alone == ()


def test_links_bring_no_image_twice(tmp_path):
    touch(tmp_path, "data/v1/images/a.png", "data/v1/masks/a.png", "else/images/b.png")
    touch(tmp_path, "else/masks/b.png")
    for name, target in {
        "latest": "v1",
        "self": ".",
        "up": "..",
        "x": "../else",
        "y": "../else",
    }.items():
        (tmp_path / "data" / name).symlink_to(target)
    root = tmp_path / "data"
    with pytest.raises(InputError, match=r"images: is the same folder as .*, by a link"):
        find_layout([str(root)])
    with pytest.raises(InputError, match="by a link"):
        find_layout([str(root / "v1"), str(root / "latest")])
    for name in ("latest", "y"):
        (root / name).unlink()
    assert pairs_of(root) == {
        ("v1/images", "v1/masks", None, ("a",)),
        ("x/images", "x/masks", None, ("b",)),
    }


def test_links_to_stores(tmp_path):
    """The names of the links count, wherever the folders lie."""
    touch(tmp_path, "raw/.store/a.png", "raw/klassen/a.png")
    (tmp_path / "images").symlink_to("raw/.store")
    (tmp_path / "masks").symlink_to("raw/klassen")
    assert ("images", "masks", None, ("a",)) in pairs_of(tmp_path)


def test_a_split_may_be_a_link(tmp_path):
    touch(
        tmp_path, "train/images/a.png", "train/masks/a.png", "val/images/b.png", "val/masks/b.png"
    )
    (tmp_path / "test").mkdir()
    (tmp_path / "test/images").symlink_to("../val/images")
    (tmp_path / "test/masks").symlink_to("../val/masks")
    splits = {split: images for images, _, split, _ in pairs_of(tmp_path)}
    assert splits == {"train": "train/images", "val": "val/images", "test": "test/images"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # Only training images have masks, and the test images have the same names.
        (
            ["{split}/images/0.png", "{split}/images/1.png", "train/masks/0.png"],
            {("train/images", "train/masks", "train", ("0",))},
        ),
        (
            ["images/{split}/0.png", "masks/train/0.png"],
            {("images/train", "masks/train", "train", ("0",))},
        ),
        (
            ["{split}_images/0.png", "train_masks/0.png", "val_masks/0.png"],
            {
                ("train_images", "train_masks", "train", ("0",)),
                ("val_images", "val_masks", "val", ("0",)),
            },
        ),
    ],
)
def test_masks_belong_to_the_images_of_their_split(tmp_path, files, expected):
    for split in ("train", "val", "test"):
        touch(tmp_path, *(name.format(split=split) for name in files))
    assert pairs_of(tmp_path) == expected


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *(("train_images", "train"), ("images_train", "train"), ("trainset", "train")),
        *(("val-masks", "val"), ("Valid", "val"), ("test_images_1024", "test"), ("test1", None)),
        *(("Val Gardena", None), ("test area 3", None), ("trainyard", None), ("latest", None)),
    ],
)
def test_names_of_splits(tmp_path, folder, split):
    assert split_of(tmp_path / folder, tmp_path) == split


def test_two_folders_of_images_for_one_of_masks(tmp_path):
    touch(tmp_path, "rgb/a.png", "irrg/a.png", "masks/a.png")
    words = r"masks: the images of .*irrg and of .*rgb both have .*; give the path of one"
    with pytest.raises(InputError, match=words):
        find_layout([str(tmp_path)])
    assert pairs_of(tmp_path, tmp_path / "rgb", labels=[tmp_path / "masks"]) == {
        ("rgb", "masks", None, ("a",))
    }


@pytest.mark.parametrize(
    ("files", "images"),
    [
        (["overview.png", "data/images/1.png", "masks/1.png"], "data/images"),
        (["images/train/1.png", "masks/1.png", "test/9.png"], "images/train"),
        (["train_images/1.png", "train_masks/1.png", "train_masks_rgb/1.png"], "train_images"),
        (["images/1.png", "thumbs/1.png", "masks/1.png"], "images"),
    ],
)
def test_other_images_beside_those_of_the_masks(tmp_path, files, images):
    touch(tmp_path, *files)
    (pair,) = find_layout([str(tmp_path)]).pairs
    assert str(pair.images.relative_to(tmp_path)) == images
