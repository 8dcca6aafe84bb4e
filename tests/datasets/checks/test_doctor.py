"""Each fault is planted in a sound data set, and found with its file."""

import shutil
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasterio.transform import from_origin

from network.datasets import segmentation
from network.datasets.checks import contact_sheet, images
from network.datasets.checks.contact_sheet import write_contact_sheet
from network.datasets.checks.doctor import examine
from network.datasets.files import read_image, read_mask, write_image
from network.datasets.info import VAIHINGEN
from network.datasets.provenance import Provenance, tile_of_patch, write_provenance
from network.datasets.schema import DatasetInfo, Folder, MaskFolder
from network.datasets.window_reader import strips
from network.errors import InputError
from tests.scenes import make_dataset, write_bands

INFO = DatasetInfo(
    name="town",
    root="data/town",
    classes=("road", "house", "tree"),
    palette=((255, 255, 255), (0, 0, 255), (0, 255, 0)),
    ignore_index=255,
    splits={
        split: (Folder(images=f"{split}/images", masks=(MaskFolder(folder=f"{split}/masks"),)),)
        for split in ("train", "val", "test")
    },
)


@pytest.fixture
def root(tmp_path) -> Path:
    return make_dataset(tmp_path / "town", INFO, {"train": 4, "val": 2, "test": 2}, ((96, 96),))


def findings(root: Path, info: DatasetInfo = INFO) -> list[str]:
    return [str(finding) for finding in examine(info, root).findings]


def test_a_sound_data_set(root):
    diagnosis = examine(INFO, root)
    assert diagnosis.findings == ()
    assert [len(diagnosis.of_split(split)) for split in INFO.splits] == [4, 2, 2]
    masks = [read_mask(path, INFO) for path in sorted((root / "train/masks").iterdir())]
    labels = np.concatenate([mask.ravel() for mask in masks])
    expected = [np.sum(labels == label) for label in (0, 1, 2, 255)]
    assert diagnosis.pixels("train").tolist() == expected


def test_what_has_no_data_is_ignored(root):
    """By the mask's own value, and where the image says so."""
    before = examine(INFO, root).pixels("train")
    path = root / "train/masks/train-0-0.png"
    labels = read_mask(path, INFO).astype(np.int16)
    labels[:24] = -32768
    write_bands(path.with_suffix(".tif"), labels[..., None], nodata=-32768)
    path.unlink()
    image = root / "train/images/train-0-1.png"
    alpha = np.full((96, 96), 255, np.uint8)
    alpha[:, :48] = 0
    Image.fromarray(np.dstack([read_image(image, INFO), alpha])).save(image)
    diagnosis = examine(INFO, root)
    assert diagnosis.findings == ()
    ignored = [np.sum(read_mask(m, INFO) == 255) for m in sorted((root / "train/masks").iterdir())]
    ignored[1] += 94 * 48  # two rows were ignored before
    after = diagnosis.pixels("train")
    assert after[-1] == sum(ignored) > 96 * 24 + 96 * 48
    assert after.sum() == before.sum()


def test_files_that_are_not_as_their_tool_wrote_them(root):
    """Other pixels that every decoder reads, a missing file, and damaged checksums."""
    folder = root / "train/images"
    names = {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    write_provenance(folder, Provenance(tool="test"), names)
    assert findings(root) == []
    write_image(folder / "train-0-1.png", np.zeros((96, 96, 3), np.uint8))
    assert findings(root) == [
        f"{folder}/train-0-1.png: does not match its checksum in patch_split.sha256; "
        "make the folder again"
    ]
    for kind in ("images", "masks"):
        (root / f"train/{kind}/train-0-1.png").unlink()
    assert findings(root) == [f"{folder}/train-0-1.png: is missing; make the folder again"]
    (folder / "patch_split.sha256").write_bytes(b"\xff")
    assert [f.split(": ")[0] for f in findings(root)] == [f"{folder}/patch_split.sha256"]


def test_number_of_workers_does_not_matter(root):
    (root / "val/images/val-0-0.png").write_bytes(b"no image")
    assert examine(INFO, root, workers=2) == examine(INFO, root, workers=1)


def lose_mask(root: Path) -> None:
    (root / "train/masks/train-0-1.png").unlink()


def lose_image(root: Path) -> None:
    (root / "train/images/train-0-1.png").unlink()


def truncate_image(root: Path) -> None:
    path = root / "train/images/train-0-1.png"
    path.write_bytes(path.read_bytes()[:200])


def truncate_mask(root: Path) -> None:
    path = root / "train/masks/train-0-1.png"
    path.write_bytes(path.read_bytes()[:60])


def change_size(root: Path) -> None:
    write_image(root / "train/masks/train-0-1.png", np.zeros((96, 64), np.uint8))


def wrong_label(root: Path) -> None:
    labels = np.zeros((96, 96), np.uint8)
    labels[5, 7] = 9
    write_image(root / "train/masks/train-0-1.png", labels)


def wrong_color(root: Path) -> None:
    rgb = np.zeros((96, 96, 3), np.uint8)
    rgb[5, 7] = (1, 2, 3)
    write_image(root / "train/masks/train-0-1.png", rgb)


def fourth_band(root: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (96, 96, 4), dtype=np.uint8)
    Image.fromarray(rgba, "RGBA").save(root / "train/images/train-0-1.png")


def damage_pixels(root: Path) -> None:
    path = root / "train/images/train-0-1.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)


def lossy_mask(root: Path) -> None:
    path = root / "train/masks/train-0-1.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()


def moved_mask(root: Path) -> None:
    """Half a pixel is nothing, a whole one is a finding."""
    image = read_image(root / "train/images/train-0-1.png", INFO)
    labels = read_mask(root / "train/masks/train-0-1.png", INFO)
    for name, shift in (("train-0-1", 1.0), ("train-0-2", 0.3)):
        place = {"crs": "EPSG:32632", "transform": from_origin(500000, 5400000, 0.2, 0.2)}
        write_bands(root / f"train/images/{name}.tif", image + 1 if shift < 1 else image, **place)
        place["transform"] = from_origin(500000 + 0.2 * shift, 5400000, 0.2, 0.2)
        write_bands(root / f"train/masks/{name}.tif", labels[..., None], **place)
        for folder in ("images", "masks"):
            (root / f"train/{folder}/{name}.png").unlink()


def turned_image(root: Path) -> None:
    path = root / "train/images/train-0-1.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.open(path).save(path, exif=exif)


def class_as_no_data(root: Path) -> None:
    path = root / "train/masks/train-0-1.png"
    write_bands(path.with_suffix(".tif"), read_mask(path, INFO)[..., None], nodata=0)
    path.unlink()


def other_color_table(root: Path) -> None:
    path = root / "train/masks/train-0-1.png"
    mask = Image.fromarray(read_mask(path, INFO), "P")
    # houses and trees change their colors
    mask.putpalette([255, 255, 255, 0, 255, 0, 0, 0, 255] + 759 * [0])
    mask.save(path)


def leak(root: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(root / f"train/{kind}/train-0-1.png", root / f"test/{kind}/leaked.png")


def copy_within_split(root: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(root / f"train/{kind}/train-0-1.png", root / f"train/{kind}/zz_copy.png")


def lose_class(root: Path) -> None:
    for path in (root / "train/masks").iterdir():
        labels = read_mask(path, INFO)
        write_image(path, np.where(labels == 2, 0, labels).astype(np.uint8))


def empty_folder(root: Path) -> None:
    shutil.rmtree(root / "val/masks")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lose_mask, ["train-0-1.png", "no mask of this name", "add it, or remove this file"]),
        (lose_image, ["masks/train-0-1.png", "no image of this name"]),
        (truncate_image, ["images/train-0-1.png", "truncated"]),
        (truncate_mask, ["masks/train-0-1.png", "truncated"]),
        (change_size, ["masks/train-0-1.png", "96 x 64", "96 x 96"]),
        (wrong_label, ["masks/train-0-1.png", "label 9 at row 5, column 7"]),
        (wrong_color, ["masks/train-0-1.png", "(1, 2, 3)", "row 5, column 7"]),
        (fourth_band, ["images/train-0-1.png", "alpha band looks like an image", "bands=4"]),
        (damage_pixels, ["images/train-0-1.png", "damaged pixels"]),
        (lossy_mask, ["masks/train-0-1.jpg", "compressed with loss"]),
        (moved_mask, ["masks/train-0-1.tif", "lies 1.0 pixels away from its image"]),
        (turned_image, ["images/train-0-1.png", "EXIF orientation is 6", "exif_orientation="]),
        (class_as_no_data, ["masks/train-0-1.tif", "label 0 (road) its no-data value"]),
        (other_color_table, ["masks/train-0-1.png", "color table", "label 1", "house"]),
        (leak, ["test/images/leaked.png", "train/images/train-0-1.png", "(leakage)"]),
        (copy_within_split, ["zz_copy.png", "the same pixels", "remove one of them"]),
        (lose_class, ["train split", "no pixel of tree", "nothing can be learned"]),
        (empty_folder, ["val/masks", "no such folder"]),
    ],
)
def test_planted_fault(root, fault, words):
    fault(root)
    found = findings(root)
    assert len(found) == 1, found
    assert all(word in found[0] for word in words), found


HEIGHTS = replace(INFO, bands=2, bits=32, values="float", rgb_bands=())


@pytest.fixture
def heights(tmp_path) -> Path:
    return make_dataset(
        tmp_path / "heights", HEIGHTS, dict.fromkeys(HEIGHTS.splits, 2), ((96, 96),)
    )


def change_heights(root: Path, change, nodata: float | None = None) -> str:
    """Change the pixels of an image by a function; return its path."""
    path = root / "train/images/train-0-1.tif"
    image = read_image(path, HEIGHTS).copy()
    change(image)
    write_bands(path, image, nodata=nodata)
    return str(path)


def nan(image: np.ndarray) -> None:
    image[:24, :, 1] = np.nan


def infinite(image: np.ndarray) -> None:
    image[5, 7] = -np.inf


def constant(image: np.ndarray) -> None:
    image[..., 1] = 2.5


def undeclared(image: np.ndarray) -> None:
    image[:, :12, 0] = -3.4028235e38


def empty(image: np.ndarray) -> None:
    image[:] = -9999


@pytest.mark.parametrize(
    ("change", "nodata", "problem", "remedy"),
    [
        (nan, None, "25.00% of its pixels are NaN", "say so (gdal_edit.py -a_nodata nan)"),
        (nan, -9999, "25.00% of its pixels are NaN", "write its no-data value -9999 there"),
        (infinite, None, "0.01% of its pixels are infinite", "mend the image"),
        (constant, None, "band 2 is 2.5 everywhere", "say so (gdal_edit.py -a_nodata 2.5)"),
        (
            undeclared,
            None,
            "band 1 is -3.4028234663852886e+38 in 12.50% of its pixels, all others are ",
            "say so (gdal_edit.py -a_nodata -3.4028234663852886e+38)",
        ),
        (empty, -9999, "none of its pixels has data", "remove it"),
    ],
)
def test_planted_values(heights, tmp_path, change, nodata, problem, remedy):
    assert findings(heights, HEIGHTS) == []
    path = change_heights(heights, change, nodata)
    (found,) = findings(heights, HEIGHTS)
    assert found.startswith(f"{path}: {problem}")
    assert remedy in found
    page = tmp_path / "page.html"
    write_contact_sheet(examine(HEIGHTS, heights), ["train"], page)
    assert page.read_text().count("data:image/webp;base64,") == 2 * 2


@pytest.mark.parametrize(
    ("change", "nodata", "pixels"),
    [
        (nan, float("nan"), 24 * 96),
        (undeclared, -3.4028234663852886e38, 12 * 96),
        (infinite, None, 1),
    ],
)
def test_share_without_data(heights, change, nodata, pixels):
    """It is told for each split; what the file calls its no-data value is no finding."""
    change_heights(heights, change, nodata)
    diagnosis = examine(HEIGHTS, heights)
    assert (diagnosis.findings == ()) == (nodata is not None)
    assert diagnosis.no_data_share("train") == pixels / (2 * 96 * 96)
    assert diagnosis.no_data_share("val") == 0


def test_values_that_are_in_order(heights):
    """A band of two values, a sea at 0 m beside hills, and a single extreme pixel."""

    def change(image: np.ndarray) -> None:
        image[..., 0] = np.arange(96) % 2
        image[..., 1] = 200 + 50 * np.random.default_rng(0).random((96, 96))
        image[:48, :, 1] = 180
        image[0, 0, 1] = 9000

    change_heights(heights, change)
    assert findings(heights, HEIGHTS) == []


def test_all_faults_at_once(root):
    """The first does not hide the others."""
    for fault in (wrong_label, leak, empty_folder):
        fault(root)
    assert len(findings(root)) == 3 + 1  # the leaked mask has the wrong label, too


def test_patches_of_tiles_in_the_wrong_split(tmp_path):
    folders = VAIHINGEN.splits
    make_dataset(tmp_path, VAIHINGEN, {"train": 1, "val": 1, "test": 1}, ((96, 96),))
    tiles = {"train": "area2", "val": "area30", "test": "area4"}
    for split, area in tiles.items():
        folder = folders[split][0]
        for part in (folder.images, *(mask.folder for mask in folder.masks)):
            (path,) = (tmp_path / part).iterdir()
            path.rename(path.with_name(f"top_mosaic_09cm_{area}_0_0.png"))
    found = findings(tmp_path, VAIHINGEN)
    wrong = "top_mosaic_09cm_area2: in the train split, officially a test tile; move it to test"
    assert wrong in found
    assert any(f.startswith("train split: 15 of 15 official tiles have no patch") for f in found)
    assert any(f.startswith("test split: 16 of 17 official tiles have no patch") for f in found)
    assert not any(f.startswith("val split: 1 of") for f in found)
    left_out = replace(VAIHINGEN, left_out=("top_mosaic_09cm_area4",))
    assert any(
        "area4: in the test split, but mislabeled" in f for f in findings(tmp_path, left_out)
    )
    others = tuple(t for t in VAIHINGEN.tile_splits["test"] if t != "top_mosaic_09cm_area2")
    without = replace(VAIHINGEN, tile_splits={**VAIHINGEN.tile_splits, "test": others})
    unknown = "top_mosaic_09cm_area2: in the train split, but in no official split; move its "
    assert any(f.startswith(unknown) for f in findings(tmp_path, without))


@pytest.mark.parametrize(
    ("name", "tile"),
    [
        ("top_mosaic_09cm_area1_0_5", "top_mosaic_09cm_area1"),
        ("top_mosaic_09cm_area1_2_0_3", "top_mosaic_09cm_area1"),
        ("top_mosaic_09cm_area1_0_1_2", "top_mosaic_09cm_area1"),
        ("top_potsdam_2_10_0_5", "top_potsdam_2_10"),
        ("top_potsdam_2_10_2_11", "top_potsdam_2_10"),
        ("house", None),
    ],
)
def test_tile_of_patch(name, tile):
    assert tile_of_patch(name) == tile


def test_official_counts(root):
    info = replace(INFO, image_counts={"train": 4, "val": 3})
    assert findings(root, info) == [
        "val split: 2 images, officially 3; add what is missing, or remove what does not belong"
    ]


def test_contact_sheet(root, tmp_path):
    wrong_label(root)
    page = tmp_path / "page.html"
    write_contact_sheet(examine(INFO, root), ["train", "val"], page)
    html = page.read_text()
    assert "label 9 at row 5, column 7" in html
    assert html.count("data:image/webp;base64,") == 2 * 6 - 1  # the wrong mask has no picture
    assert "test: 2 images" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; give data\.root=PATH"):
        examine(INFO, tmp_path / "nowhere")


def in_strips(monkeypatch, rows: int = 7) -> None:
    """Let the check take every image for a large one, and read it in strips of a few rows."""
    monkeypatch.setattr(segmentation, "READ_WHOLE", 10)
    monkeypatch.setattr(images, "strips", partial(strips, pixels=96 * rows))
    monkeypatch.setattr(contact_sheet, "strips", partial(strips, pixels=96 * rows))


@pytest.mark.parametrize(
    "fault",
    [
        truncate_image,
        change_size,
        wrong_label,
        wrong_color,
        fourth_band,
        damage_pixels,
        class_as_no_data,
        other_color_table,
        leak,
    ],
)
def test_large_images_have_the_findings_of_small_ones(root, monkeypatch, fault):
    """Only an unknown label or color is named with the strip that it is in."""
    fault(root)
    whole = examine(INFO, root)
    in_strips(monkeypatch)
    found = examine(INFO, root)
    apart = ", from row 0 and column 0 on"
    assert [str(one).replace(apart, "") for one in found.findings] == list(map(str, whole.findings))
    for one, other in zip(found.images, whole.images, strict=True):
        facts = [(e.size, e.pixels, e.content, e.no_data) for e in (one, other)]
        assert facts[0] == facts[1]


@pytest.mark.parametrize(
    ("change", "nodata"),
    [(nan, None), (nan, -9999), (infinite, None), (constant, None), (undeclared, None)],
)
def test_large_measurements_have_the_findings_of_small_ones(heights, monkeypatch, change, nodata):
    change_heights(heights, change, nodata)
    whole = examine(HEIGHTS, heights)
    assert len(whole.findings) == 1
    in_strips(monkeypatch)
    assert examine(HEIGHTS, heights) == whole


def test_contact_sheet_of_large_images(root, tmp_path, monkeypatch):
    in_strips(monkeypatch)
    page = tmp_path / "page.html"
    diagnosis = examine(INFO, root)
    write_contact_sheet(diagnosis, ["train"], page)
    in_strips(monkeypatch, rows=96)
    whole = tmp_path / "whole.html"
    write_contact_sheet(diagnosis, ["train"], whole)
    assert page.read_text() == whole.read_text()
    assert page.read_text().count("data:image/webp;base64,") == 2 * 4
