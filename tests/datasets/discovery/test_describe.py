"""Configs of data sets of many forms: they load, and every mask can be read by them."""

import json
import tracemalloc
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from scipy import ndimage

from network.datasets.discovery.images import odd_values
from network.datasets.files import read_mask, write_image
from network.datasets.info import Folder, MaskCoding
from network.datasets.on_earth.find import list_files
from network.datasets.provenance import tile_of_patch
from network.errors import InputError
from network.rasters.source import Source
from tests.datasets.discovery.found import (
    COLORS,
    checked,
    experiment_of,
    found_in,
    image_of,
    labels_of,
    samples_of,
    write_pairs,
)
from tests.datasets.on_earth.scenes import box, write_features, write_regions
from tests.rasters.earth import ORIGIN, UTM, write_labels
from tests.scenes import write_bands


def names_of(experiment):
    return {split: [one.name for one in own] for split, own in samples_of(experiment).items()}


# Folders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{split}/images {split}/masks", "images/{split} masks/{split}"])
def test_folders_of_splits(tmp_path, form):
    images, masks = form.split()
    for split in ("train", "val", "test"):
        folders = (tmp_path / one.format(split=split) for one in (images, masks))
        write_pairs(*folders, [f"{split}_{n}" for n in range(2)])
    found = found_in(tmp_path)
    experiment = experiment_of(found, tmp_path / "config")
    splits = names_of(experiment)
    assert splits == {s: [f"{s}_0", f"{s}_1"] for s in ("train", "val", "test")}
    info = experiment.dataset
    assert info.splits["val"] == (
        Folder(
            images=images.format(split="val"),
            masks=info.splits["val"][0].masks,
        ),
    )
    assert info.classes == ("class_0", "class_1", "class_2")
    assert (info.bands, info.bits, info.values, info.mask_coding) == (
        3,
        8,
        "unsigned",
        MaskCoding(),
    )
    assert experiment.data.crop == 64
    assert experiment.data.repeat == 200


def test_parts_of_one_tile_stay_together(tmp_path):
    """All images in one folder: parents are drawn, and each image is in one split."""
    names = [f"area{tile}_{part}" for tile in range(6) for part in range(3)]
    write_pairs(tmp_path / "images", tmp_path / "masks", names, rgb=True)
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    splits = names_of(experiment)
    assert sorted(name for own in splits.values() for name in own) == names
    parents = [{name.split("_")[0] for name in own} for own in splits.values()]
    assert sum(map(len, parents)) == 6
    (train,), (val,) = experiment.dataset.splits["train"], experiment.dataset.splits["val"]
    assert all(pattern.endswith("_*") for pattern in val.only)
    assert set(val.only) < set(train.leave_out)
    assert tile_of_patch("area3_1", experiment.dataset.patch_names) == "area3"
    # A file that comes later is one to train on.
    assert train.has("area9_0")
    palette = {tuple(color) for color in COLORS.tolist()}
    assert set(experiment.dataset.palette) == palette


def test_one_folder_a_tile(tmp_path):
    """The same names in all of them, so that prefixes are needed; tables that are no labels."""
    for tile in range(1, 6):
        folder = tmp_path / f"Tile {tile}"
        write_pairs(folder / "images", folder / "masks", ["part_1", "part_2"], rgb=True)
    order = np.array([2, 0, 1])
    mask = Image.fromarray(np.argsort(order).astype(np.uint8)[labels_of(0)])
    mask.putpalette(COLORS[order].tobytes())
    mask.save(tmp_path / "Tile 3/masks/part_1.png")
    (tmp_path / "classes.json").write_text(
        json.dumps({"classes": [{"title": "a", "color": "#fff"}]})
    )
    found = found_in(tmp_path)
    assert any(
        "classes.json: its colors are not those of the masks" in note for note in found.notes
    )
    experiment = experiment_of(found, tmp_path / "config")
    info = experiment.dataset
    splits = samples_of(experiment)
    names = sorted(one.name for own in splits.values() for one in own)
    assert names == [f"Tile_{tile}_part_{part}" for tile in range(1, 6) for part in (1, 2)]
    assert {tile_of_patch(name, info.patch_names) for name in names} == {
        f"Tile_{tile}" for tile in range(1, 6)
    }
    for own in splits.values():
        for sample in own:
            expected = labels_of(int(sample.name[-1]) - 1)
            labels = read_mask(sample.masks["full"], info)
            np.testing.assert_array_equal(np.array(info.palette)[labels], COLORS[expected])


@pytest.mark.parametrize("is_shared", [False, True])
def test_names_of_larger_images_in_folders_of_splits(tmp_path, is_shared):
    """If parts of one image were in two splits, the names mean something else."""
    for number, split in enumerate(("train", "val", "test")):
        areas = [0, 1] if is_shared else [2 * number, 2 * number + 1]
        names = [f"area{area}_{number}{part}" for area in areas for part in range(2)]
        write_pairs(tmp_path / split / "images", tmp_path / split / "masks", names)
    info = experiment_of(found_in(tmp_path), tmp_path / "config").dataset
    assert bool(info.patch_names) == info.patched == (not is_shared)


def test_a_folder_of_train_alone(tmp_path):
    """Val is drawn from train, and test stays as it is."""
    for split, count in (("train", 8), ("test", 2)):
        names = [f"{split}{letter}" for letter in "abcdefgh"[:count]]
        write_pairs(tmp_path / split / "images", tmp_path / split / "masks", names)
    found = found_in(tmp_path)
    splits = names_of(experiment_of(found, tmp_path / "config"))
    assert len(splits["val"]) >= 1
    assert sorted(splits["train"] + splits["val"]) == [f"train{letter}" for letter in "abcdefgh"]
    assert splits["test"] == ["testa", "testb"]
    assert any("no folder for val" in note for note in found.notes)


@pytest.mark.parametrize(
    ("count", "splits"), [(1, ["train"]), (2, ["train", "val"]), (3, ["train", "val", "test"])]
)
def test_few_images(tmp_path, count, splits):
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b", "c"][:count])
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    assert list(names_of(experiment)) == splits
    assert experiment.data.val == ("val" if count > 1 else None)
    assert experiment.data.test == splits[-1]


def test_chosen_images_and_files_without_partner(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", list("abcdef"))
    (tmp_path / "masks/f.png").unlink()
    found = found_in(tmp_path)
    splits = names_of(experiment_of(found, tmp_path / "config"))
    assert sorted(name for own in splits.values() for name in own) == list("abcde")
    assert any("1 files are left out" in note and note.endswith(": f") for note in found.notes)
    chosen = [tmp_path / f"images/{name}.png" for name in "abcd"]
    found = found_in(*chosen, labels=(tmp_path / "masks",))
    splits = names_of(experiment_of(found, tmp_path / "other"))
    assert sorted(name for own in splits.values() for name in own) == list("abcd")


def test_other_files_beside_images(tmp_path):
    """World files and tables of values are no masks; an image that is there twice is told."""
    write_pairs(tmp_path / "images", tmp_path / "masks", list("abc"))
    for name in ("images/a.pgw", "masks/a.xml", "masks/a.png.aux.xml", "masks/b.txt"):
        (tmp_path / name).write_text("<a/>")
    samples_of(experiment_of(found_in(tmp_path), tmp_path / "config"))
    write_image(tmp_path / "images/b.tif", image_of(labels_of(0)))
    with pytest.raises(InputError, match=r"b\.tif: same name as b\.png"):
        found_in(tmp_path)


def test_lossy_masks(tmp_path):
    (tmp_path / "masks").mkdir()
    for n, name in enumerate("abcd"):
        labels = np.kron(labels_of(n), np.ones((4, 4), np.uint8))
        write_image(tmp_path / f"images/{name}.png", image_of(labels))
        Image.fromarray(COLORS[labels]).save(tmp_path / f"masks/{name}.jpg", quality=85)
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    info = experiment.dataset
    assert info.mask_coding.tolerance > 0
    own = samples_of(experiment)["train"]
    pixels = np.array(checked(experiment, "train", own).pixels["full"])
    assert pixels.sum() > 0.95 * len(own) * 256**2
    nearest = [np.abs(COLORS.astype(int) - color).sum(axis=1).argmin() for color in info.palette]
    assert sorted(nearest) == [0, 1, 2]


def test_values_that_are_no_labels(tmp_path):
    for n, name in enumerate("abcd"):
        labels = labels_of(n)
        write_image(tmp_path / f"images/{name}.png", image_of(labels))
        values = np.array([10, 20, 90], np.uint8)[labels]
        values[0, :8] = 255
        write_image(tmp_path / f"masks/{name}.png", values)
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    sample = samples_of(experiment)["train"][0]
    expected = labels_of("abcd".index(sample.name))
    expected[0, :8] = 255
    np.testing.assert_array_equal(read_mask(sample.masks["full"], experiment.dataset), expected)


@pytest.mark.parametrize(("orientation", "expected"), [(6, "shown"), (1, None)])
def test_photos_that_viewers_turn(tmp_path, orientation, expected):
    for name in "abc":
        labels = labels_of(0)[:, :32]
        write_image(tmp_path / f"masks/{name}.png", labels)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = image_of(labels)
        stored = image.transpose(1, 0, 2)[::-1] if orientation == 6 else image
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(stored)).save(
            tmp_path / f"images/{name}.jpg", exif=exif.tobytes()
        )
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    assert experiment.dataset.exif_orientation == expected
    assert samples_of(experiment)["train"][0].size == (64, 32)


# Bands and values -------------------------------------------------------------------------------


def test_four_bands_of_16_bits(tmp_path):
    for n, name in enumerate("abcd"):
        labels = labels_of(n)
        bands = np.dstack(
            [16 * image_of(labels, n).astype(np.uint16), 1000 + 500 * labels.astype(int)]
        )
        write_bands(tmp_path / f"images/{name}.tif", bands.astype(np.uint16))
        write_image(tmp_path / f"masks/{name}.png", labels)
    found = found_in(tmp_path)
    experiment = experiment_of(found, tmp_path / "config")
    info = experiment.dataset
    assert (info.bands, info.bits, info.values) == (4, 16, "unsigned")
    paths = [sample.image for sample in samples_of(experiment)["train"]]
    pixels = np.concatenate([Source(path).read(slice(0, 64), slice(0, 64))[0] for path in paths])
    shares = pixels.reshape(-1, 4) / 65535
    assert experiment.data.mean == pytest.approx(shares.mean(axis=0), rel=2e-3)
    assert experiment.data.std == pytest.approx(shares.std(axis=0), rel=2e-3)
    experiment.check_normalization()


def test_reflectance_with_no_data(tmp_path):
    """Floats with -9999, which the files name or not."""
    values = []
    for n, name in enumerate("abcd"):
        labels = labels_of(n)
        image = (image_of(labels, n) / np.float32(400)).astype(np.float32)
        image[:20, :20] = -9999
        write_bands(tmp_path / f"images/{name}.tif", image, nodata=-9999)
        write_image(tmp_path / f"masks/{name}.png", labels)
        values.append(image[image > -1])
    found = found_in(tmp_path)
    info = experiment_of(found, tmp_path / "config").dataset
    assert (info.bands, info.bits, info.values) == (3, 32, "float")
    assert np.mean(found.sizes.mean) == pytest.approx(np.concatenate(values).mean(), rel=0.1)
    write_bands(tmp_path / "images/a.tif", image)
    found = found_in(tmp_path)
    assert any("a.tif: band 1 is -9999.0 in 9.77% of its pixels" in note for note in found.notes)


def test_alpha(tmp_path):
    """An alpha band tells where there are data, unless it is half transparent like an image."""
    for n, name in enumerate("abc"):
        labels = labels_of(n)
        alpha = np.where(labels == 0, 0, 255).astype(np.uint8)
        write_image(tmp_path / f"images/{name}.png", np.dstack([image_of(labels, n), alpha]))
        write_image(tmp_path / f"masks/{name}.png", labels)
    found = found_in(tmp_path)
    assert (found.info.bands, found.images.has_alpha) == (3, True)
    for name in "abc":
        image = np.random.default_rng(0).integers(0, 255, (64, 64, 4), dtype=np.uint8)
        write_image(tmp_path / f"images/{name}.png", image)
    found = found_in(tmp_path)
    assert (found.info.bands, found.images.has_alpha) == (4, False)
    samples_of(experiment_of(found, tmp_path / "config"))


def test_images_of_two_kinds(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", list("abc"))
    write_image(tmp_path / "images/b.png", labels_of(0))
    with pytest.raises(InputError, match=r"b\.png: 1 bands of uint8, 2 of 3 images have 3"):
        found_in(tmp_path)
    for name in "abc":
        write_image(tmp_path / f"images/{name}.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match="band 1 of its images is 0 everywhere"):
        found_in(tmp_path)


# Scenes -----------------------------------------------------------------------------------------


def write_scenes(root, count, *, side=64, apart=0, dtype=np.uint8):
    """Scenes in a row from west to east, and their labels."""
    found = []
    for n in range(count):
        labels = labels_of(n, side)
        place = ORIGIN @ Affine.translation(n * (side + apart), 0)
        bands = image_of(labels, n).astype(dtype)
        write_bands(root / f"images/s{n}.tif", bands, crs=UTM, transform=place)
        found.append((labels, place))
    return found


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"scales": (0.1,) * 3, "offsets": (-5.0,) * 3}, "a band scale of 0.1 and a band offset"),
        ({"colorinterp": (3, 4, 5)[::-1]}, "the bands blue, green, red in this order"),
    ],
)
def test_values_of_other_meaning(tmp_path, change, what):
    """One image of three is refused, and three are told of."""
    scenes = write_scenes(tmp_path, 3)
    for n, (labels, place) in enumerate(scenes):
        write_labels(tmp_path / f"masks/s{n}.tif", labels, transform=place)

    def write(n):
        with rasterio.open(tmp_path / f"images/s{n}.tif", "r+") as file:
            for name, value in change.items():
                setattr(file, name, tuple(map(ColorInterp, value)) if "color" in name else value)

    write(1)
    with pytest.raises(InputError, match=f"s1.tif: has {what}.*unlike 2 of the 3 images"):
        found_in(tmp_path)
    write(0)
    with pytest.raises(InputError, match=f"s2.tif: lacks {what}.*unlike 2 of the 3 images"):
        found_in(tmp_path)
    write(2)
    assert any(f"the images have {what}" in note for note in found_in(tmp_path).notes)


def test_a_file_of_polygons_for_each_scene(tmp_path):
    for n, (labels, place) in enumerate(write_scenes(tmp_path, 10, apart=4)):
        own = np.where(labels == 1, labels, 255).astype(np.uint8)
        write_regions(tmp_path / f"houses/s{n}.geojson", own, place)
    found = found_in(tmp_path)
    experiment = experiment_of(found, tmp_path / "config")
    # The attribute has one value, so it tells nothing.
    assert experiment.dataset.classes == ("background", "houses")
    splits = names_of(experiment)
    assert [len(splits[split]) for split in ("train", "val", "test")] == [6, 2, 2]
    assert sorted(name for own in splits.values() for name in own) == [f"s{n}" for n in range(10)]
    assert splits["test"] in (["s8", "s9"], ["s0", "s1"])
    (sample,) = [one for one in samples_of(experiment)["train"] if one.name == splits["train"][0]]
    expected = labels_of(int(sample.name[1:])) == 1
    np.testing.assert_array_equal(read_mask(sample.masks["full"], experiment.dataset), expected)
    assert experiment.data.window == 64


def test_the_ground_of_few_scenes_is_divided(tmp_path):
    """Each place is in one split at most, and the guard bands are as wide as the note says."""
    ((labels, place),) = write_scenes(tmp_path, 1, side=200, dtype=np.uint16)
    write_regions(tmp_path / "labels.gpkg", labels, place)
    found = found_in(tmp_path)
    experiment = experiment_of(found, tmp_path / "config")
    assert (experiment.dataset.bits, found.info.root) == (16, str(tmp_path))
    # 100 m x 100 m are 64 blocks of 12.5 m x 12.5 m.
    assert any("blocks of 12 m, at least 1.5 m between" in note for note in found.notes)
    samples = samples_of(experiment)
    drawn = {s: read_mask(own[0].masks["full"], experiment.dataset) for s, own in samples.items()}
    shares = {split: (mask != 255).mean() for split, mask in drawn.items()}
    assert shares["train"] == pytest.approx(0.7 * 0.8, abs=0.1)  # the guard bands take the rest
    assert shares["val"] == pytest.approx(0.15 * 0.85, abs=0.04)
    assert shares["test"] == pytest.approx(0.15, abs=0.02)
    for one, other in combinations(drawn.values(), 2):
        assert not ((one != 255) & (other != 255)).any()
        # From center to center of pixels of half a meter
        apart = 0.5 * ndimage.distance_transform_edt(one == 255)[other != 255].min()
        assert apart >= 1.5 + 0.5
    assert experiment.dataset.classes == tuple(one.name for one in found.proposal.classes)


def test_the_ground_of_images_that_touch_is_divided(tmp_path):
    """Tiles of one image would share the borders of their splits. Apart, they are shared out."""
    for name, apart in (("touching", 0), ("apart", 4)):
        for n, (labels, place) in enumerate(write_scenes(tmp_path / name, 6, apart=apart)):
            write_regions(tmp_path / f"{name}/labels/s{n}.geojson", labels, place)
    found = found_in(tmp_path / "touching")
    assert "some images touch or overlap, so their ground is divided" in found.notes
    experiment = experiment_of(found, tmp_path / "config")
    assert found.counts == {split: len(own) for split, own in samples_of(experiment).items()}
    assert found_in(tmp_path / "apart").counts == {"train": 4, "val": 1, "test": 1}


def test_ground_that_cannot_be_divided(tmp_path):
    """On two continents, where no plane is true enough."""
    for n, crs in enumerate(("EPSG:32632", "EPSG:32756")):
        place = {"crs": crs, "transform": ORIGIN}
        write_bands(tmp_path / f"images/s{n}.tif", image_of(labels_of(n), n), **place)
        write_bands(tmp_path / f"masks/s{n}.tif", labels_of(n)[..., None], **place)
    with pytest.raises(InputError, match=r"too far apart.*; draw areas .* give areas=FILE"):
        found_in(tmp_path)


def test_areas_of_the_user(tmp_path):
    ((labels, place),) = write_scenes(tmp_path, 1, side=96)
    write_regions(tmp_path / "labels.gpkg", labels, place)
    halves = [box(slice(0, 96), slice(0, 60)), box(slice(0, 96), slice(60, 96))]
    write_features(tmp_path / "areas.gpkg", halves, part=["train", "val"])
    for options in ({}, {"areas": tmp_path / "areas.gpkg"}):
        experiment = experiment_of(found_in(tmp_path, **options), tmp_path / "config")
        shown = {
            split: (read_mask(own[0].masks["full"], experiment.dataset) != 255).any(axis=0)
            for split, own in samples_of(experiment).items()
        }
        assert {s: np.flatnonzero(has)[[0, -1]].tolist() for s, has in shown.items()} == {
            "train": [0, 59],
            "val": [60, 95],
        }
        assert (experiment.data.val, experiment.data.test) == ("val", "val")
    write_features(tmp_path / "areas.gpkg", halves, part=["a", "b"])
    with pytest.raises(InputError, match="no attribute of it has the names of splits"):
        found_in(tmp_path, areas=tmp_path / "areas.gpkg")


@pytest.mark.parametrize("is_named", [True, False])
def test_labels_in_formats_for_scenes(tmp_path, is_named):
    """Files of ERDAS beside GeoTIFFs, with the names of images or without."""
    scenes = write_scenes(tmp_path, 4)
    for n, (labels, place) in enumerate(scenes):
        name = f"s{n}" if is_named else f"part_{n}"
        path = tmp_path / f"masks/{name}.tif"
        write_labels(path, labels, transform=place)
        if n % 2 or not is_named:
            rasterio.shutil.copy(path, path.with_suffix(".img"), driver="HFA")
            path.unlink()
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    assert {file.path.suffix for file in experiment.dataset.scenes("train")[0].labels} == (
        {".img", ".tif"} if is_named else {".img"}
    )
    drawn = {sample.name for own in samples_of(experiment).values() for sample in own}
    assert drawn == {f"s{n}" for n in range(4)}


def test_masks_of_plain_images_in_formats_for_scenes(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"])
    for name in "ab":
        path = tmp_path / f"masks/{name}.png"
        rasterio.shutil.copy(path, path.with_suffix(".img"), driver="HFA")
        path.unlink()
    with pytest.raises(InputError, match=r"a.img: masks in folders end in .*convert it"):
        found_in(tmp_path)


@pytest.mark.parametrize("rgb", [False, True])
def test_scenes_with_rasters_of_labels(tmp_path, rgb):
    """Two of them are too few to be shared out, so both are cut."""
    for n, (labels, place) in enumerate(write_scenes(tmp_path, 2, side=96, apart=40)):
        shown = COLORS[labels] if rgb else np.array([10, 20, 30], np.uint8)[labels][..., None]
        write_bands(tmp_path / f"masks/s{n}.tif", shown, crs=UTM, transform=place)
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    for own in samples_of(experiment).values():
        assert [one.name for one in own] == ["s0", "s1"]
        for sample in own:
            drawn = read_mask(sample.masks["full"], experiment.dataset.decoded)
            expected = labels_of(int(sample.name[1]), 96)
            is_used = drawn != 255
            assert is_used.any()
            order = (
                [experiment.dataset.palette.index(tuple(c)) for c in COLORS.tolist()]
                if rgb
                else [0, 1, 2]
            )
            np.testing.assert_array_equal(drawn[is_used], np.array(order)[expected[is_used]])


def test_rasters_of_labels_with_other_names(tmp_path):
    """They belong together by their places on Earth."""
    place = {"crs": UTM, "transform": ORIGIN}
    labels = labels_of(0, 256)
    write_bands(tmp_path / "ortho.tif", image_of(labels), photometric="RGB", **place)
    write_bands(tmp_path / "truth/land_cover.tif", labels[..., None], nodata=255, **place)
    for words in ([tmp_path], [tmp_path / "ortho.tif"]):
        given = () if words == [tmp_path] else (tmp_path / "truth/land_cover.tif",)
        found = found_in(*words, labels=given)
        assert any("by their places on Earth" in note for note in found.notes)
        experiment = experiment_of(found, tmp_path / "config")
        (train,) = samples_of(experiment)["train"]
        with Source(next(iter(train.masks.values()))) as source:
            drawn = source.read(slice(0, 256), slice(0, 256))[0][..., 0]
        assert (drawn[drawn != 255] == labels[drawn != 255]).all()
        assert (drawn != 255).mean() > 0.5
    write_bands(tmp_path / "truth/land_cover.tif", labels[..., None])  # no place on Earth
    with pytest.raises(InputError, match="none of its 1 masks has the name of an image"):
        found_in(tmp_path)


def test_polygons_beside_masks(tmp_path):
    """Masks are the labels. Polygons with the names of splits are areas, and others are unused."""
    for n, (labels, place) in enumerate(write_scenes(tmp_path, 3)):
        write_bands(tmp_path / f"masks/s{n}.tif", labels[..., None], crs=UTM, transform=place)
    write_features(tmp_path / "roads.gpkg", [box(slice(0, 9), slice(0, 9))])
    found = found_in(tmp_path)
    assert any("polygons are not used: " in note and "roads.gpkg" in note for note in found.notes)
    assert isinstance(found.info.splits["train"][0], Folder)
    halves = [box(slice(0, 64), slice(0, 70)), box(slice(0, 64), slice(70, 192))]
    write_features(tmp_path / "areas.gpkg", halves, part=["train", "val"])
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    splits = names_of(experiment)
    assert splits == {"train": ["s0", "s1"], "val": ["s1", "s2"]}


def test_polygons_need_images_on_earth(tmp_path):
    write_image(tmp_path / "images/a.png", image_of(labels_of(0)))
    write_features(tmp_path / "labels.gpkg", [shapely.box(0, 0, 1, 1)])
    with pytest.raises(InputError, match=r"a\.png: does not say where on Earth it lies"):
        found_in(tmp_path)


def test_polygons_that_lie_elsewhere(tmp_path):
    write_scenes(tmp_path, 1)
    far = [shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10), shapely.box(20, 0, 30, 10)]
    write_features(tmp_path / "labels.gpkg", far, use=["a", "b", "a"])
    with pytest.raises(InputError, match="no polygon touches an image"):
        found_in(tmp_path)


def test_folders_whose_images_have_the_same_names(tmp_path):
    """Each folder leaves out its own images, not those that have the names of another folder."""
    for folder in ("urban", "rural"):
        write_pairs(tmp_path / folder / "images", tmp_path / folder / "masks", ["0", "1", "2"])
    found = found_in(tmp_path)
    experiment = experiment_of(found, tmp_path / "config")
    assert experiment.dataset.splits == found.info.splits
    names = [name for own in names_of(experiment).values() for name in own]
    assert sorted(names) == [f"{f}_{n}" for f in ("rural", "urban") for n in range(3)]


@pytest.mark.parametrize("apart", [0, 40])
def test_images_of_two_splits_side_by_side(tmp_path, apart):
    """They are shared out as whole images, and it is said if they touch on Earth."""
    for n, (labels, _) in enumerate(write_scenes(tmp_path, 6, apart=apart)):
        write_image(tmp_path / f"masks/s{n}.png", labels)
    notes = found_in(tmp_path).notes
    assert any("touch or overlap on Earth" in note for note in notes) == (not apart)


def test_scenes_of_one_name(tmp_path):
    for n, (labels, place) in enumerate(write_scenes(tmp_path, 2, apart=4)):
        folder = tmp_path / f"year{n}"
        folder.mkdir()
        (tmp_path / f"images/s{n}.tif").rename(folder / "s.tif")
        write_regions(folder / "s.geojson", labels, place)
    with pytest.raises(InputError, match=r"year1/s\.tif: has the name of .*year0/s\.tif"):
        found_in(tmp_path)


def test_images_without_a_file_of_polygons_are_left_out(tmp_path):
    for n, (labels, place) in enumerate(write_scenes(tmp_path, 6, apart=4)):
        if n < 5:
            write_regions(tmp_path / f"houses/s{n}.geojson", labels, place)
    assert any("without a file of labels are left out: s5" in n for n in found_in(tmp_path).notes)


def test_areas_beside_the_files_of_polygons(tmp_path):
    """A pattern of the labels would match them too, and they are no labels of the last image."""
    for n, (labels, place) in enumerate(write_scenes(tmp_path, 3)):
        if n < 2:
            own = np.where(labels == 1, labels, 255).astype(np.uint8)
            write_regions(tmp_path / f"labels/s{n}.gpkg", own, place)
    columns = [slice(0, 64), slice(64, 96), slice(96, 192)]
    ground = [box(slice(0, 64), own) for own in columns]
    write_features(tmp_path / "labels/areas.gpkg", ground, split=["train", "val", "test"])
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    assert [file.path.name for file in experiment.dataset.scenes("train")[0].labels] == [
        "s0.gpkg",
        "s1.gpkg",
    ]
    samples = samples_of(experiment)
    assert {split: [one.name for one in own] for split, own in samples.items()} == {
        "train": ["s0"],
        "val": ["s1"],
        "test": ["s1"],
    }
    mask = read_mask(samples["train"][0].masks["full"], experiment.dataset)
    np.testing.assert_array_equal(mask, labels_of(0) == 1)
    # Also where somebody wrote the pattern by hand.
    (scenes,) = experiment.dataset.scenes("test")
    (one, _) = scenes.labels
    scenes = replace(scenes, labels=(replace(one, path=Path("labels/*.gpkg")),))
    files = list_files(experiment.dataset, tmp_path, scenes)
    assert [file.path.name for file in files.labels[0]] == ["s0.gpkg", "s1.gpkg"]
    # Polygons of the areas with a class are labels, too, and so is another layer of the file.
    has_class = replace(one, path=Path("labels/*.gpkg"), all_are=None, attribute="split")
    layers = replace(one, path=Path("labels/*.gpkg"), layer="classes")
    for labels in (has_class, layers):
        files = list_files(experiment.dataset, tmp_path, replace(scenes, labels=(labels,)))
        assert len(files.labels[0]) == 3


def test_two_layers_in_the_file_of_an_image(tmp_path):
    for n, (labels, place) in enumerate(write_scenes(tmp_path, 6, apart=4)):
        for label, layer in ((1, "houses"), (2, "trees")):
            rows, columns = (labels == label).nonzero()
            shapes = [
                box(slice(r, r + 1), slice(c, c + 1), place)
                for r, c in zip(rows.tolist(), columns.tolist(), strict=True)
            ]
            frame = geopandas.GeoDataFrame(geometry=shapes, crs=UTM.to_wkt())
            frame.to_file(tmp_path / f"images/s{n}.gpkg", layer=layer)
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    assert set(experiment.dataset.classes) == {"background", "houses", "trees"}
    names = {"houses": 1, "trees": 2, "background": 0}
    values = np.array([names[name] for name in experiment.dataset.classes])
    for own in samples_of(experiment).values():
        for sample in own:
            mask = read_mask(sample.masks["full"], experiment.dataset)
            np.testing.assert_array_equal(values[mask], labels_of(int(sample.name[1:])))


def test_a_layer_that_some_files_lack(tmp_path):
    """Empty layers are often not written; the only one of a file keeps its class."""
    for n, (labels, place) in enumerate(write_scenes(tmp_path, 6, apart=4)):
        for label, layer in ((1, "houses"), (2, "trees"))[: 1 + (n != 3)]:
            own = np.where(labels == label, labels, 255).astype(np.uint8)
            path = tmp_path / f"images/s{n}.gpkg"
            write_regions(tmp_path / "x.gpkg", own, place)
            geopandas.read_file(tmp_path / "x.gpkg")[["geometry"]].to_file(path, layer=layer)
    (tmp_path / "x.gpkg").unlink()
    found = found_in(tmp_path)
    assert {one.name for one in found.proposal.classes} == {"background", "houses", "trees"}
    frame = geopandas.read_file(tmp_path / "images/s0.gpkg", layer="houses")
    (tmp_path / "images/s3.gpkg").unlink()
    frame.to_file(tmp_path / "images/s3.gpkg", layer="s3")
    with pytest.raises(InputError, match=r"s3.gpkg: its layer 's3' has the name of the file"):
        found_in(tmp_path)


def test_brackets_in_the_name_of_a_folder(tmp_path):
    """A pattern of the folder escapes them; another folder would match it otherwise."""
    whole = [labels for labels, _ in write_scenes(tmp_path, 6)]
    (tmp_path / "images").rename(tmp_path / "flight [2024]")
    (tmp_path / "flight 2").mkdir()
    write_regions(tmp_path / "labels.gpkg", np.hstack(whole))
    experiment = experiment_of(found_in(tmp_path), tmp_path / "config")
    names = names_of(experiment)
    assert {name for own in names.values() for name in own} == {f"s{n}" for n in range(6)}


def test_neighbors_of_a_drawn_split_and_places_of_nowhere(tmp_path):
    """Only train has a folder, and val is drawn from it; then, nobody knows where images lie."""
    for n, (labels, _) in enumerate(write_scenes(tmp_path, 6)):
        (tmp_path / "train/images").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"images/s{n}.tif").rename(tmp_path / f"train/images/s{n}.tif")
        write_image(tmp_path / f"train/masks/s{n}.png", labels)
    (tmp_path / "images").rmdir()
    words = "touch or overlap on Earth"
    assert any(words in note for note in found_in(tmp_path).notes)
    for path in (tmp_path / "train/images").iterdir():
        with rasterio.open(path, "r+") as file:
            file.crs = 'LOCAL_CS["site",UNIT["metre",1]]'
    assert not any(words in note for note in found_in(tmp_path).notes)


def test_plain_masks_of_images_on_earth(tmp_path):
    """Two pairs are few, and scenes would be cut into areas; these masks lie nowhere."""
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b", "c"])
    for name in "ab":
        image = image_of(labels_of(0))
        (tmp_path / f"images/{name}.png").unlink()
        write_bands(tmp_path / f"images/{name}.tif", image, crs=UTM, transform=ORIGIN)
    for folder in ("images", "masks"):
        (tmp_path / f"{folder}/c.png").unlink()
    found = found_in(tmp_path)
    names = names_of(experiment_of(found, tmp_path / "config"))
    assert sorted(name for own in names.values() for name in own) == ["a", "b"]


def test_odd_values_of_a_scene_that_is_larger_than_the_memory(tmp_path):
    """Its file is small, since nothing is in most of it."""
    path = tmp_path / "a.tif"
    options = {"width": 100_000, "height": 100_000, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, SPARSE_OK=True, **options) as file:
        file.write(np.full((512, 512), 3, np.float32), 1, window=Window(0, 0, 512, 512))
    tracemalloc.start()
    try:
        assert odd_values([path]) == []
        assert tracemalloc.get_traced_memory()[1] < 1e8
    finally:
        tracemalloc.stop()
