"""Cutting tiles into patches: geometry, labels, names, folders, and what is refused."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.datasets.files import read_rgb, write_image
from network.datasets.info import POTSDAM, VAIHINGEN
from network.datasets.preparation.patches import (
    Patch,
    PatchSplit,
    cut,
    find_tiles,
    read_tile_labels,
    split_tiles,
    zoom_on_cars,
)
from network.datasets.provenance import read_provenance
from network.datasets.windows import inner_windows, padding
from network.errors import InputError

CAR, IGNORE = 4, 6


def options(folder: Path = Path("."), **changes) -> PatchSplit:
    defaults = {
        "info": VAIHINGEN,
        "img_dir": folder / "images",
        "mask_dir": folder / "masks",
        "output_img_dir": folder / "out" / "images",
        "output_mask_dir": folder / "out" / "masks",
        "mode": "val",
        "split_size": 8,
        "stride": 8,
    }
    return PatchSplit(**(defaults | changes))


def random_tile(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    # No zero in the image and no 0 or 6 in the labels: those are padding.
    image = rng.integers(1, 256, (height, width, 3), dtype=np.uint8)
    return image, rng.integers(1, 6, (height, width), dtype=np.uint8)


def add_tile(folder: Path, name: str, image: np.ndarray, labels: np.ndarray, info=VAIHINGEN):
    write_image(folder / "images" / f"{name}{info.tiles.image}", image)
    write_image(folder / "masks" / f"{name}{info.tiles.mask}", info.to_rgb(labels))


@pytest.fixture
def tile(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder with one tile of 11 x 14 pixels: 5 rows and 2 columns short of two patches."""
    image, labels = random_tile(11, 14)
    add_tile(tmp_path, "top_mosaic_09cm_area1", image, labels)
    return tmp_path, image, labels


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_labels(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


# Geometry


sizes = st.integers(1, 12).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), sizes, st.sampled_from(["ignore", "geoseg"]))
def test_patches_hold_every_pixel_of_the_tile(more_rows, more_columns, geometry, policy):
    size, stride = geometry
    split = options(split_size=size, stride=stride, pad_policy=policy)
    image, labels = random_tile(size + more_rows, size + more_columns)
    top, left = (padding(length, size, stride) for length in labels.shape)
    height, width = labels.shape[0] + top, labels.shape[1] + left

    whole_image = np.full((height, width, 3), 77, np.uint8)
    whole_labels = np.full((height, width), 77, np.uint8)
    patches = list(cut("area1", image, labels, split))
    places = list(inner_windows(height, width, size, stride))
    assert len(patches) == len(places)
    for index, (patch, place) in enumerate(zip(patches, places, strict=True)):
        assert patch.name == f"area1_0_{index}"
        assert patch.image.shape == (size, size, 3)
        whole_image[place], whole_labels[place] = patch.image, patch.labels

    np.testing.assert_array_equal(whole_image[top:, left:], image)
    np.testing.assert_array_equal(whole_labels[top:, left:], labels)
    in_padding = np.ones((height, width), bool)
    in_padding[top:, left:] = False
    assert (whole_image[in_padding] == 0).all()
    assert (whole_labels[in_padding] == (IGNORE if policy == "ignore" else 0)).all()


def test_train_variants_are_flips_of_the_padded_tile():
    image, labels = random_tile(5, 6)
    padded = np.pad(labels, ((3, 0), (2, 0)), constant_values=IGNORE)
    split = options(mode="train", split_size=4, stride=4)
    patches = {patch.name: patch for patch in cut("a", image, labels, split)}
    assert list(patches) == [f"a_{variant}_{index}" for variant in range(3) for index in range(4)]
    np.testing.assert_array_equal(patches["a_0_1"].labels, padded[:4, 4:])
    np.testing.assert_array_equal(patches["a_1_1"].labels, padded[:, ::-1][:4, 4:])
    np.testing.assert_array_equal(patches["a_2_1"].labels, padded[::-1][:4, 4:])
    np.testing.assert_array_equal(
        patches["a_2_3"].image, np.pad(image, ((3, 0), (2, 0), (0, 0)))[::-1][4:, 4:]
    )


def test_eroded_boundaries_stay_ignored_under_both_policies():
    image, labels = random_tile(8, 8)
    labels[3] = IGNORE
    for policy in ("ignore", "geoseg"):
        (patch,) = cut("a", image, labels, options(pad_policy=policy))
        assert (patch.labels[3] == IGNORE).all()


# Zoom on cars


def car_patch(size: int = 64) -> Patch:
    """All cars; the image tells where a pixel comes from."""
    rows, columns = np.mgrid[:size, :size].astype(np.uint8)
    image = np.stack([rows * 2, columns * 2, rows], axis=-1)
    return Patch(name="a_0_0", image=image, labels=np.full((size, size), CAR, np.uint8))


@pytest.mark.parametrize("seed", range(5))
def test_zoom_crop_in_four_views(seed):
    patches = list(zoom_on_cars(car_patch(), CAR, np.random.default_rng(seed)))
    assert [patch.name for patch in patches] == [f"a_0_0_{view}" for view in range(4)]
    first, left_right, top_bottom, turned = (patch.image for patch in patches)
    np.testing.assert_array_equal(left_right, first[:, ::-1])
    np.testing.assert_array_equal(top_bottom, first[::-1])
    assert any(np.array_equal(turned, np.rot90(first, turns)) for turns in (1, 2, 3))
    side = (int(first[..., 0].max()) - int(first[..., 0].min())) / 2 + 1
    assert 24 <= side <= 32  # 3/8 and 1/2 of 64
    assert all((patch.labels == CAR).all() for patch in patches)


def test_image_and_labels_are_zoomed_alike():
    patch = car_patch()
    patch.labels[:, 20:] = 1
    patch.labels[:, 44:] = CAR
    for view in zoom_on_cars(patch, CAR, np.random.default_rng(3)):
        is_car = view.labels == CAR
        columns = view.image[..., 1] / 2
        far = (abs(columns - 19.5) > 1) & (abs(columns - 43.5) > 1)
        np.testing.assert_array_equal(is_car[far], ((columns < 20) | (columns >= 44))[far])


def test_patch_without_enough_cars_stays_as_it_is():
    patch = car_patch()
    patch.labels[:] = 1
    patch.labels[::4, ::4] = CAR  # 1 in 16 pixels of every crop
    assert list(zoom_on_cars(patch, CAR, np.random.default_rng(0))) == [patch]


@given(st.integers(1, 9))
def test_zoom_works_for_any_patch_size(size):
    patches = list(zoom_on_cars(car_patch(size), CAR, np.random.default_rng(size)))
    assert [patch.labels.shape for patch in patches] == [(size, size)] * 4


def test_only_the_train_mode_of_data_with_car_zoom_zooms():
    image, labels = random_tile(8, 8)
    labels[:] = CAR

    def count(**changes):
        return len(list(cut("a", image, labels, options(**changes))))

    assert count(mode="train", car_zoom=True) == 12
    assert count(mode="train") == 3
    assert count(mode="val", car_zoom=True) == 1


def test_zoom_depends_on_seed_and_tile_only():
    image, labels = random_tile(64, 64)
    labels[:] = CAR
    split = options(mode="train", car_zoom=True, split_size=64, stride=64)

    def first(tile, **changes):
        return next(cut(tile, image, labels, dataclasses.replace(split, **changes))).image

    np.testing.assert_array_equal(first("a"), first("a"))
    assert not np.array_equal(first("a"), first("b"))
    assert not np.array_equal(first("a"), first("a", seed=7))


# Whole runs


def test_split_writes_patches_and_provenance(tile):
    folder, image, labels = tile
    split = options(folder)
    done = split_tiles(split)
    stems = [f"top_mosaic_09cm_area1_0_{index}" for index in range(4)]
    records = ["patch_split.json", "patch_split.sha256"]
    assert names(split.output_img_dir) == [*records, *(f"{s}.tif" for s in stems)]
    assert names(split.output_mask_dir) == [*records, *(f"{s}.png" for s in stems)]
    np.testing.assert_array_equal(read_rgb(split.output_img_dir / f"{stems[3]}.tif"), image[3:, 6:])
    np.testing.assert_array_equal(
        read_labels(split.output_mask_dir / f"{stems[3]}.png"), labels[3:, 6:]
    )
    corner = read_labels(split.output_mask_dir / f"{stems[0]}.png")
    assert (corner[:5] == IGNORE).all()
    assert (corner[:, :2] == IGNORE).all()
    np.testing.assert_array_equal(corner[5:, 2:], labels[:3, :6])
    assert done.to_json() == {
        "tool": "vaihingen_patch_split",
        "dataset": "vaihingen",
        "mode": "val",
        "split_size": 8,
        "stride": 8,
        "pad_policy": "ignore",
        "unknown_color": "error",
        "label_kind": "full",
        "gt": False,
        "val_scale": 1.0,
        "image_ending": ".tif",
        "seed": 42,
        "tiles": 1,
        "patches": 4,
        "padding_share": round(1 - 11 * 14 / 256, 6),
    }
    assert read_provenance(split.output_img_dir) == done
    assert read_provenance(split.output_mask_dir) == done


def test_provenance_of_other_folders(tmp_path):
    assert read_provenance(tmp_path) is None
    for damaged in ("{", "[]"):
        (tmp_path / "patch_split.json").write_text(damaged)
        with pytest.raises(InputError, match="make the folder again"):
            read_provenance(tmp_path)


def test_gt_writes_rgb_patches_and_the_whole_mask(tile):
    folder, _, labels = tile
    split = options(folder, gt=True)
    split_tiles(split)
    corner = read_rgb(split.output_mask_dir / "top_mosaic_09cm_area1_0_0.png")
    assert (corner[:5] == 0).all()
    np.testing.assert_array_equal(corner[5:, 2:], VAIHINGEN.to_rgb(labels[:3, :6]))
    whole = read_rgb(split.output_mask_dir / "origin" / "top_mosaic_09cm_area1.tif")
    np.testing.assert_array_equal(whole, VAIHINGEN.to_rgb(labels))
    split_tiles(options(folder))  # replaces the folder, origin/ included
    assert "origin" not in names(split.output_mask_dir)


def test_eroded_masks(tmp_path):
    image, labels = random_tile(8, 8)
    labels[2:4] = IGNORE
    name = "top_potsdam_2_10"
    write_image(tmp_path / "images" / f"{name}_IRRG.tif", image)
    write_image(tmp_path / "masks" / f"{name}_label_noBoundary.tif", POTSDAM.to_rgb(labels))
    split = options(tmp_path, info=POTSDAM, eroded=True)
    assert split_tiles(split).label_kind == "eroded"
    np.testing.assert_array_equal(read_labels(split.output_mask_dir / f"{name}_0_0.png"), labels)


def test_val_scale_resizes_image_and_labels_alike(tmp_path):
    labels = np.repeat(np.arange(1, 5, dtype=np.uint8), 4)[None].repeat(16, axis=0)
    image = (labels * 50)[..., None].repeat(3, axis=-1)
    add_tile(tmp_path, "area1", image, labels)
    split = options(tmp_path, val_scale=0.5)
    assert split_tiles(split).patches == 1
    patch = read_labels(split.output_mask_dir / "area1_0_0.png")
    np.testing.assert_array_equal(patch, labels[::2, ::2])
    image_patch = read_rgb(split.output_img_dir / "area1_0_0.tif")
    np.testing.assert_array_equal(image_patch[..., 0], patch * 50)


def test_unknown_color_is_an_error_that_changes_nothing_or_is_ignored(tile):
    folder, _, labels = tile
    split = options(folder)
    split_tiles(split)
    before = {path: path.read_bytes() for path in split.output_mask_dir.iterdir()}

    rgb = VAIHINGEN.to_rgb(labels)
    rgb[4, 5] = (6, 0, 0)
    mask = folder / "masks" / "top_mosaic_09cm_area1.tif"
    write_image(mask, rgb)
    with pytest.raises(
        InputError, match=r"color \(6, 0, 0\).*row 4, column 5.*unknown_color=nearest"
    ):
        split_tiles(split)
    assert {path: path.read_bytes() for path in split.output_mask_dir.iterdir()} == before
    assert names(folder / "out") == ["images", "masks"]

    ignoring = options(folder, unknown_color="ignore")
    found = read_tile_labels(find_tiles(ignoring)[0], ignoring)
    assert found[4, 5] == IGNORE
    assert (found != labels).sum() == 1
    lossy = options(folder, unknown_color="nearest")
    rgb[4, 5] = np.abs(VAIHINGEN.to_rgb(labels)[4, 5].astype(int) - 9)
    write_image(mask, rgb)
    np.testing.assert_array_equal(read_tile_labels(find_tiles(lossy)[0], lossy), labels)


@pytest.mark.slow
def test_result_does_not_depend_on_the_number_of_workers(tmp_path):
    for number in (1, 2, 3):
        image, labels = random_tile(20, 20, seed=number)
        labels[:, ::2] = CAR
        add_tile(tmp_path, f"top_mosaic_09cm_area{number}", image, labels)
    results = []
    for workers in (1, 2):
        split = options(
            tmp_path, mode="train", car_zoom=True, output_img_dir=tmp_path / f"images{workers}"
        )
        split_tiles(split, workers=workers)
        folders = (split.output_img_dir, split.output_mask_dir)
        results.append([(p.name, p.read_bytes()) for f in folders for p in sorted(f.iterdir())])
    assert results[0] == results[1]


# Folders


def test_rerun_replaces_the_folders_and_never_mixes(tile):
    folder, *_ = tile
    split = options(folder)
    for stale in (split.output_img_dir / "gone_2_17.tif", split.output_mask_dir / "gone_2_17.png"):
        write_image(stale, np.zeros((2, 2), np.uint8))  # as GeoSeg's tool names them
    write_image(split.output_mask_dir / "origin" / "gone.tif", np.zeros((2, 2), np.uint8))
    split_tiles(split)
    assert not [name for name in names(split.output_img_dir) if name.startswith("gone")]
    assert names(folder / "out") == ["images", "masks"]


@pytest.mark.parametrize(
    "foreign",
    [
        "images/notes.txt",
        "images/area1.tif",
        "images/area1_0_0.png",
        "masks/area1_3_0.png",
        "masks/area1_0_0.tif",
        "masks/origin/notes.txt",
        "images/area1_0_0.tif/x",
    ],
)
def test_what_is_not_ours_is_never_deleted(tile, foreign):
    folder, *_ = tile
    path = folder / "out" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="not made by this tool"):
        split_tiles(options(folder))
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (("images", "out"), "input folder"),
        (("out", "masks"), "input folder"),
        ((".", "out"), "input folder"),
        (("out", "out"), "overlaps"),
        (("out", "out/masks"), "overlaps"),
    ],
)
def test_folders_that_overlap_are_refused(tile, outputs, message):
    folder, *_ = tile
    images, masks = (folder / output for output in outputs)
    with pytest.raises(InputError, match=message):
        split_tiles(options(folder, output_img_dir=images, output_mask_dir=masks))
    assert names(folder) == ["images", "masks"]


def test_output_that_is_a_link_replaces_the_folder_behind_it(tile):
    folder, *_ = tile
    (folder / "disk").mkdir()
    (folder / "out").mkdir()
    (folder / "out" / "images").symlink_to(folder / "disk")
    split_tiles(options(folder))
    assert (folder / "out" / "images").is_symlink()
    assert "top_mosaic_09cm_area1_0_0.tif" in names(folder / "disk")


# Input that cannot be used


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split_size": 0}, "split_size=0"),
        ({"stride": 0}, "stride=0"),
        ({"stride": 9}, "stride=9: expected 1 to 8"),
        ({"val_scale": 0.0}, "val_scale=0.0"),
        ({"val_scale": float("nan")}, "val_scale=nan"),
        ({"val_scale": float("inf")}, "val_scale=inf"),
        ({"val_scale": 0.5, "mode": "train"}, "only mode=val"),
        ({"seed": -1}, "seed=-1"),
        ({"mode": "test"}, "mode=test"),
        ({"pad_policy": "geseg"}, "did you mean 'geoseg'"),
        ({"unknown_color": "drop"}, "unknown_color=drop"),
    ],
)
def test_values_out_of_range(changes, message):
    with pytest.raises(InputError, match=message):
        options(**changes)


def test_too_few_workers(tile):
    with pytest.raises(InputError, match="workers=0"):
        split_tiles(options(tile[0]), workers=0)
    assert not (tile[0] / "out").exists()


def test_tile_without_mask_or_image(tile):
    folder, image, labels = tile
    add_tile(folder, "top_mosaic_09cm_area2", image, labels)
    add_tile(folder, "top_mosaic_09cm_area3", image, labels)
    for kind, missing in (("images", "mask in"), ("masks", "image in")):
        other = "masks" if kind == "images" else "images"
        moved = [folder / other / f"top_mosaic_09cm_area{number}.tif" for number in (2, 3)]
        content = [path.read_bytes() for path in moved]
        for path in moved:
            path.unlink()
        message = f"{kind}/top_mosaic_09cm_area2.tif: no {missing}.*2 of 3 files"
        with pytest.raises(InputError, match=message):
            find_tiles(options(folder))
        for path, data in zip(moved, content, strict=True):
            path.write_bytes(data)
    assert len(find_tiles(options(folder))) == 3


def test_wrong_ending_says_which_flag_may_be_meant(tmp_path):
    image, labels = random_tile(8, 8)
    add_tile(tmp_path, "top_potsdam_2_10", image, labels, POTSDAM)
    assert len(find_tiles(options(tmp_path, info=POTSDAM, rgb_image=True))) == 1
    with pytest.raises(InputError, match=r"_IRRG\.tif.*did you mean rgb_image=True"):
        find_tiles(options(tmp_path, info=POTSDAM))
    with pytest.raises(InputError, match=r"_label_noBoundary\.tif.*leave out eroded=True"):
        find_tiles(options(tmp_path, info=POTSDAM, rgb_image=True, eroded=True))
    (tmp_path / "images" / "top_potsdam_2_10_RGB.tif").rename(
        tmp_path / "images" / "top_potsdam_2_10_IRRG.tif"
    )
    with pytest.raises(InputError, match=r"_RGB\.tif.*without rgb_image=True"):
        find_tiles(options(tmp_path, info=POTSDAM, rgb_image=True))


def test_no_tile_at_all(tile):
    folder, *_ = tile
    (folder / "images" / "top_mosaic_09cm_area1.tif").rename(folder / "images" / "photo.jpg")
    with pytest.raises(InputError, match=r"end in \.tif, found 1 others such as photo\.jpg"):
        find_tiles(options(folder))


def test_eroded_masks_without_the_flag(tile):
    folder, *_ = tile
    mask = folder / "masks" / "top_mosaic_09cm_area1.tif"
    eroded = mask.with_name("top_mosaic_09cm_area1_noBoundary.tif")
    eroded.write_bytes(mask.read_bytes())
    assert find_tiles(options(folder))[0].mask == mask  # both kinds in one folder
    assert find_tiles(options(folder, eroded=True))[0].mask == eroded
    mask.unlink()
    with pytest.raises(InputError, match="did you mean eroded=True"):
        find_tiles(options(folder))


def test_other_files_beside_the_tiles_do_no_harm(tile):
    folder, *_ = tile
    (folder / "images" / "top_mosaic_09cm_area1.tfw").write_text("0.09")
    write_image(folder / "images" / "overview.png", np.zeros((2, 2), np.uint8))
    assert [tile.name for tile in find_tiles(options(folder))] == ["top_mosaic_09cm_area1"]


def test_sizes_that_cannot_be_cut(tile):
    folder, *_ = tile
    with pytest.raises(InputError, match="11 x 14 pixels, smaller than a patch of 12"):
        find_tiles(options(folder, split_size=12))
    with pytest.raises(InputError, match=r"after val_scale=0\.5, smaller than a patch"):
        find_tiles(options(folder, val_scale=0.5))
    write_image(folder / "masks" / "top_mosaic_09cm_area1.tif", np.zeros((11, 13, 3), np.uint8))
    with pytest.raises(InputError, match=r"11 x 13 pixels, its image .* has 11 x 14"):
        find_tiles(options(folder))


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_truncated_file_is_found_before_anything_is_written(tile, kind):
    folder, *_ = tile
    path = folder / kind / "top_mosaic_09cm_area1.tif"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"area1\.tif"):
        split_tiles(options(folder))
    assert not (folder / "out").exists()


def test_provenance_names_no_machine(tile):
    folder, *_ = tile
    split_tiles(options(folder))
    text = (folder / "out" / "masks" / "patch_split.json").read_text()
    assert str(folder) not in text
    assert json.loads(text)["tool"] == "vaihingen_patch_split"
