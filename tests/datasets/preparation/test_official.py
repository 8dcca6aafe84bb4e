"""From archives in the official layout, tiny ones, to the folders that the configs read."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from network.datasets.files import read_mask, write_image
from network.datasets.info import LOVEDA, POTSDAM, VAIHINGEN
from network.datasets.preparation.archives import check_disk_space, find_sources
from network.datasets.preparation.official import Preparation, prepare
from network.datasets.preparation.patches import PatchSplit, split_tiles
from network.datasets.provenance import tile_of_patch
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import find_samples
from network.errors import InputError
from tests.scenes import make_pair

SIZE = 40
PATCH = 32


def tile_files(folder: Path, info: DatasetInfo, tile: str, number: int) -> dict[str, Path]:
    """Image, mask and eroded mask of a tile, by kind."""
    image, labels = make_pair(info, number, SIZE, SIZE)
    labels[labels == info.ignore_index] = 0
    eroded = labels.copy()
    eroded[::4] = info.ignore_index
    names = info.tiles
    files = {
        "image": (folder / "image" / f"{tile}{names.image}", image),
        "mask": (folder / "mask" / f"{tile}{names.mask}", info.to_rgb(labels)),
        "eroded": (folder / "eroded" / f"{tile}{names.eroded_mask}", info.to_rgb(eroded)),
    }
    for path, pixels in files.values():
        write_image(path, pixels)
    return {kind: path for kind, (path, _) in files.items()}


def write_zip(path: Path, members: dict[str, Path]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in members.items():
            archive.write(file, name)


@pytest.fixture
def vaihingen(tmp_path) -> Path:
    """The three official archives with all 33 tiles."""
    tiles = [tile for split in VAIHINGEN.tile_splits.values() for tile in split]
    files = {t: tile_files(tmp_path / "raw", VAIHINGEN, t, i) for i, t in enumerate(tiles)}
    folder, stem = tmp_path / "archives", "ISPRS_semantic_labeling_Vaihingen"
    labeled = VAIHINGEN.tile_splits["train"] + VAIHINGEN.tile_splits["val"]
    members = {f"top/{t}.tif": f["image"] for t, f in files.items()}
    members |= {f"dsm/dsm_09cm_matching_{t[16:]}.tif": f["image"] for t, f in files.items()}
    members |= {f"gts_for_participants/{t}.tif": files[t]["mask"] for t in labeled}
    write_zip(folder / f"{stem}.zip", members)
    full = {f"{t}.tif": f["mask"] for t, f in files.items()}
    write_zip(folder / f"{stem}_ground_truth_COMPLETE.zip", full)
    eroded = {f"{t}_noBoundary.tif": f["eroded"] for t, f in files.items()}
    write_zip(folder / f"{stem}_ground_truth_eroded_COMPLETE.zip", eroded)
    return folder


def preparation(archives: Path, info: DatasetInfo = VAIHINGEN, **options) -> Preparation:
    return Preparation(
        info=info,
        archives=archives,
        output=archives.parent / "out",
        split_size=PATCH,
        train_stride=PATCH // 2,
        **options,
    )


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_vaihingen(vaihingen, capsys):
    summaries = prepare(preparation(vaihingen))
    out = vaihingen.parent / "out"
    for split, tiles in VAIHINGEN.tile_splits.items():
        for kind in ("images", "masks"):
            assert {p.stem for p in (out / f"{split}_{kind}").iterdir()} == set(tiles)
    assert len(list((out / "test_masks_eroded").iterdir())) == 17
    assert not (out / "train_masks_eroded").exists()
    # Each split is read as by training and testing, with both kinds of test masks.
    for split, tiles in VAIHINGEN.tile_splits.items():
        samples = find_samples(VAIHINGEN, out, split)
        assert {tile_of_patch(s.name) for s in samples} == set(tiles)
        assert set(samples[0].masks) == ({"eroded", "full"} if split == "test" else {"full"})
    # The patches are those of the patch tool, enlarged cars among them.
    split = PatchSplit(
        info=VAIHINGEN,
        img_dir=out / "train_images",
        mask_dir=out / "train_masks",
        output_img_dir=out / "again" / "images",
        output_mask_dir=out / "again" / "masks",
        split_size=PATCH,
        stride=PATCH // 2,
        car_zoom=True,
    )
    split_tiles(split)
    for kind in ("images", "masks"):
        expected = contents(out / "again" / kind)
        actual = contents(out / "train" / f"{kind}_1024")
        assert {k: v[0] for k, v in actual.items()} == {k: v[0] for k, v in expected.items()}
    # Pixels are counted on the full masks.
    by_split = {summary.split: summary for summary in summaries}
    assert [by_split[s].sources for s in ("train", "val", "test")] == [15, 1, 17]
    masks = [sample.masks["full"] for sample in find_samples(VAIHINGEN, out, "test")]
    labels = np.concatenate([read_mask(path, VAIHINGEN).ravel() for path in masks])
    assert by_split["test"].pixels == tuple(np.bincount(labels, minlength=7))
    # Images and masks of 33 tiles, eroded masks of the 17 test tiles; the others stay packed.
    assert capsys.readouterr().out.startswith("83 files unpacked, 0 were there")


@pytest.mark.slow
def test_a_rerun_does_nothing_again_and_an_interrupted_one_goes_on(vaihingen, capsys):
    first = prepare(preparation(vaihingen))
    out = vaihingen.parent / "out"
    before = contents(out)
    capsys.readouterr()
    assert prepare(preparation(vaihingen)) == first
    assert contents(out) == before
    printed = capsys.readouterr().out
    assert printed.startswith("0 files unpacked, 83 were there")
    assert printed.count("cut already") == 4

    lost = out / "test_images" / "top_mosaic_09cm_area2.tif"
    lost.unlink()
    for path in (out / "val" / "masks_1024").iterdir():
        path.unlink()
    prepare(preparation(vaihingen))
    assert {k: v[0] for k, v in contents(out).items()} == {k: v[0] for k, v in before.items()}
    assert "1 files unpacked, 82 were there" in capsys.readouterr().out


@pytest.mark.slow
def test_unpacked_folders_are_linked(vaihingen):
    unpacked = vaihingen.parent / "unpacked"
    for path in vaihingen.iterdir():
        with zipfile.ZipFile(path) as archive:
            archive.extractall(unpacked / path.stem)
    prepare(preparation(unpacked))
    out = vaihingen.parent / "out"
    one = out / "val_images" / "top_mosaic_09cm_area30.tif"
    original = unpacked / "ISPRS_semantic_labeling_Vaihingen" / "top" / one.name
    assert os.path.samefile(one, original)
    # A mask is never taken for the image of the same name.
    assert (out / "val_masks" / one.name).read_bytes() != one.read_bytes()


@pytest.mark.parametrize("damage", ["end", "middle"])
def test_damaged_archive(vaihingen, damage):
    path = vaihingen / "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE.zip"
    data = bytearray(path.read_bytes())
    if damage == "end":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[200 : len(data) // 2] = bytes(len(data) // 2 - 200)
        path.write_bytes(data)
    with pytest.raises(InputError, match=rf"{path.name}: damaged or truncated .*download it again"):
        prepare(preparation(vaihingen))
    out = vaihingen.parent / "out"
    assert not [p for p in out.rglob("*") if "partial" in p.name]
    assert not (out / "train").exists()


@pytest.mark.slow
def test_missing_tiles(vaihingen):
    path = vaihingen / "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE.zip"
    path.unlink()
    with pytest.raises(InputError, match="17 of the 17 test tiles of vaihingen have no mask"):
        prepare(preparation(vaihingen))
    assert not (vaihingen.parent / "out").exists()
    summaries = prepare(preparation(vaihingen, partial=True))
    assert [summary.split for summary in summaries] == ["train", "val"]


@pytest.mark.slow
def test_without_eroded_masks(vaihingen):
    (vaihingen / "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE.zip").unlink()
    summaries = prepare(preparation(vaihingen))
    assert summaries[-1].sources == 17
    out = vaihingen.parent / "out"
    assert not (out / "test_masks_eroded").exists()
    assert set(find_samples(VAIHINGEN, out, "test")[0].masks) == {"full"}


def test_potsdam_leaves_the_mislabeled_tile_out(tmp_path):
    tiles = ("top_potsdam_2_10", "top_potsdam_7_10")
    files = {t: tile_files(tmp_path / "raw", POTSDAM, t, i) for i, t in enumerate(tiles)}
    archives = tmp_path / "archives"
    images = {f"2_Ortho_RGB/{f['image'].name}": f["image"] for f in files.values()}
    write_zip(archives / "2_Ortho_RGB.zip", images)
    masks = {f["mask"].name: f["mask"] for f in files.values()}
    write_zip(archives / "5_Labels_all.zip", masks)
    prepare(preparation(archives, POTSDAM, partial=True))
    names = {path.name for path in (tmp_path / "out").rglob("*.tif")}
    assert any("2_10" in name for name in names)
    assert not any("7_10" in name for name in names)


@pytest.mark.parametrize("other", [POTSDAM, LOVEDA])
def test_archives_of_another_data_set(vaihingen, other):
    with pytest.raises(InputError, match=rf"of {other.name} among .*official archives"):
        prepare(preparation(vaihingen, other))


def test_loveda(tmp_path, capsys):
    archives, raw, photo = tmp_path / "archives", tmp_path / "raw.png", tmp_path / "photo.png"
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) % 8
    Image.fromarray(values).save(raw)
    Image.fromarray(values).convert("RGB").save(photo)
    for split, domains in {
        "Train": ("Rural", "Urban"),
        "Val": ("Rural",),
        "Test": ("Urban",),
    }.items():
        members = {}
        for number, domain in enumerate(domains):
            kinds = {"images_png": photo} | ({} if split == "Test" else {"masks_png": raw})
            members |= {f"{split}/{domain}/{k}/{split}{number}.png": f for k, f in kinds.items()}
        write_zip(archives / f"{split}.zip", members)
    info = replace(LOVEDA, image_counts={"train": 2, "val": 1, "test": 1})
    with pytest.raises(InputError, match="2 train images of loveda instead of 2522"):
        prepare(preparation(archives, LOVEDA))
    # The layout of folders that the data set does not have is not asked for.
    splits = {
        "train": info.splits["train"],
        "val": info.splits["val"][:1],
        "train_val": info.splits["train_val"],
        "test": info.splits["test"][1:],
    }
    info = replace(info, splits=splits)
    summaries = prepare(preparation(archives, info))
    assert [(s.split, s.images) for s in summaries] == [("train", 2), ("val", 1), ("test", 1)]
    assert summaries[0].pixels == (16,) * 8
    assert summaries[2].pixels == (0,) * 8
    # An archive that somebody has also unpacked beside it has no further images.
    with zipfile.ZipFile(archives / "Train.zip") as archive:
        archive.extractall(archives)
    capsys.readouterr()
    assert prepare(preparation(archives, info)) == summaries
    assert "0 files unpacked" in capsys.readouterr().out


def test_a_file_of_another_size_is_not_replaced(vaihingen):
    target = vaihingen.parent / "out" / "val_images" / "top_mosaic_09cm_area30.tif"
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    with pytest.raises(InputError, match=r"area30\.tif: another file than"):
        prepare(preparation(vaihingen))
    assert target.read_text() == "mine"


def test_folder_that_holds_nothing(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_sources(tmp_path / "nowhere")
    with pytest.raises(InputError, match="empty"):
        find_sources(tmp_path)
    write_zip(tmp_path / "inner.zip", {"a": Path(__file__)})
    write_zip(tmp_path / "outer" / "outer.zip", {"inner.zip": tmp_path / "inner.zip"})
    with pytest.raises(InputError, match="holds further archives"):
        find_sources(tmp_path / "outer")


def test_files_of_systems_are_left_out(tmp_path):
    """Also what somebody has deleted, and previews, which have the names of other files."""
    names = ("a.png", "__MACOSX/._a.png", "__MACOSX/._inner.zip", "._b.png", ".Trash/c.png")
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as archive:
        for name in (*names, "@eaDir/d.png"):
            archive.writestr(name, b"x")
    (tmp_path / "._Train.zip").write_bytes(b"\0\5\x16\7")
    for folder in ("#recycle", ".Trash-1000/files", "$RECYCLE.BIN", ".ipynb_checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").write_bytes(b"y")
    assert [str(source.path) for source in find_sources(tmp_path)] == ["a.png"]


def test_archives_of_windows(tmp_path):
    """Some of its programs write back slashes into archives."""
    files = tile_files(tmp_path / "raw", POTSDAM, "top_potsdam_2_10", 0)
    archives = tmp_path / "archives"
    image, mask = files["image"], files["mask"]
    write_zip(archives / "images.zip", {f".\\2_Ortho_RGB\\{image.name}": image})
    write_zip(archives / "labels.zip", {f"5_Labels_all\\{mask.name}": mask, "__MACOSX\\a": mask})
    assert [source.path.name for source in find_sources(archives)] == [image.name, mask.name]
    prepare(preparation(archives, POTSDAM, partial=True))
    split = next(s for s, tiles in POTSDAM.tile_splits.items() if "top_potsdam_2_10" in tiles)
    placed = tmp_path / "out" / f"{split}_images" / image.name
    assert placed.read_bytes() == image.read_bytes()


def test_two_versions_of_a_mask(tmp_path, capsys):
    """The first one is used as before, and the other one is named, if its content differs."""
    files = tile_files(tmp_path / "raw", POTSDAM, "top_potsdam_2_10", 0)
    archives = tmp_path / "archives"
    image, mask = files["image"], files["mask"]
    write_zip(archives / "images.zip", {image.name: image})
    write_zip(archives / "labels_1.zip", {mask.name: mask})
    write_zip(archives / "labels_2.zip", {mask.name: mask})
    prepare(preparation(archives, POTSDAM, partial=True))
    assert "not used" not in capsys.readouterr().err
    write_zip(archives / "labels_2.zip", {mask.name: files["eroded"]})
    prepare(preparation(archives, POTSDAM, partial=True))
    assert (
        f"{archives}/labels_2.zip:{mask.name}: not used, {archives}/labels_1.zip:{mask.name} has "
        "another content and comes first" in capsys.readouterr().err
    )


def test_full_disk(tmp_path):
    check_disk_space(tmp_path / "a" / "b", 1)
    with pytest.raises(InputError, match=r"needs about 1000000000\.0 GB"):
        check_disk_space(tmp_path / "a" / "b", 10**18)


@pytest.mark.slow
def test_archives_unpacked_into_the_output(vaihingen, capsys):
    """The same command again takes no patches and no whole masks of its own for tiles."""
    out = vaihingen.parent / "out"
    prepare(preparation(vaihingen))
    before = contents(out)
    for _ in range(2):
        prepare(replace(preparation(vaihingen), archives=out))
        assert contents(out) == before
