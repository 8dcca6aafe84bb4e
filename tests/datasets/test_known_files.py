"""Facts about unchanged files: the same as when all are read, and no longer used after a change."""

import os
import shutil
from array import array
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

import network.datasets.file_checks as file_checks
import network.datasets.files as files
import network.datasets.known_files as known_files
import network.datasets.workers as workers
from network.datasets.files import read_mask, write_image
from network.datasets.info import LOVEDA, VAIHINGEN
from network.datasets.known_files import KnownFiles, stems_beside
from network.datasets.schema import normal
from network.datasets.segmentation import Labels, Sample, check_samples, find_samples
from network.errors import InputError
from tests.scenes import make_dataset, write_bands

NAME = "train-0-1.png"
NOT_COMPRESSED = (cv2.IMWRITE_PNG_COMPRESSION, 0)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(known_files, "WORTH_KEEPING", 0.0)
    monkeypatch.setattr(known_files, "_FRESH", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return make_dataset(tmp_path / "data", VAIHINGEN, {"train": 4, "test": 2}, ((64, 48), (20, 30)))


def found(root, split="train", info=VAIHINGEN) -> tuple[list[Sample], Labels]:
    known = KnownFiles(info, root)
    samples = find_samples(info, root, split, known)
    labels = check_samples(samples, info, split, known)
    known.keep()
    return samples, labels


def plainly(root, split="train", info=VAIHINGEN) -> tuple[list[Sample], Labels]:
    samples = find_samples(info, root, split)
    return samples, check_samples(samples, info, split)


def are_equal(one: tuple[list[Sample], Labels], other: tuple[list[Sample], Labels]) -> bool:
    return (
        list(one[0]) == list(other[0])
        and one[1].digests == other[1].digests
        and one[1].counts.keys() == other[1].counts.keys()
        and all((one[1].counts[kind] == other[1].counts[kind]).all() for kind in one[1].counts)
    )


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the files whose header or labels are read."""
    names: list[str] = []
    check, strips = file_checks._check_patch, file_checks._mask_strips

    def noted_check(patch, *rest):
        names.append(Path(patch.image).stem)
        return check(patch, *rest)

    def noted_strips(size, path, *rest):
        names.append(path.stem)
        return strips(size, path, *rest)

    monkeypatch.setattr(file_checks, "_check_patch", noted_check)
    monkeypatch.setattr(file_checks, "_mask_strips", noted_strips)
    return names


@pytest.mark.parametrize("split", ["train", "test"])
def test_nothing_is_read_again(root, read, split):
    expected = plainly(root, split)
    assert are_equal(found(root, split), expected)
    read.clear()
    assert are_equal(found(root, split), expected)
    assert not read


def test_splits_of_one_folder_share_the_facts(root, read):
    (folder,) = VAIHINGEN.splits["train"]
    parts = (replace(folder, only=("*-[01]",)), replace(folder, only=("*-2",), prefix="more-"))
    info = replace(VAIHINGEN, splits={"train": parts, "val": (folder,)}, tile_splits={})
    assert are_equal(found(root, info=info), plainly(root, info=info))
    read.clear()
    again = found(root, "val", info)
    assert set(read) == {"train-0-3"}
    assert are_equal(again, plainly(root, "val", info))


def test_folders_without_masks(tmp_path, root):
    make_dataset(tmp_path / "loveda", LOVEDA, {"test": 3})
    for _ in range(2):
        known = KnownFiles(LOVEDA, tmp_path / "loveda")
        samples = find_samples(LOVEDA, tmp_path / "loveda", "test", known)
        assert list(samples) == list(find_samples(LOVEDA, tmp_path / "loveda", "test"))
        known.keep()


def test_a_changed_mask_is_read(root, read):
    mask = root / "train/masks_1024" / NAME
    before = found(root)
    labels = read_mask(mask, VAIHINGEN).copy()
    labels[5:9] = 3
    write_image(mask, labels)
    read.clear()
    after = found(root)
    assert set(read) == {"train-0-1"}
    assert are_equal(after, plainly(root))
    assert after[1].digests != before[1].digests


def test_a_mask_with_the_old_size_and_time_is_read(root):
    """A copy can have both; only the time of its last change (ctime) shows it."""
    mask = root / "train/masks_1024" / NAME
    contents = [
        cv2.imencode(".png", np.full((20, 30), label, np.uint8), NOT_COMPRESSED)[1].tobytes()
        for label in (1, 2)
    ]
    mask.write_bytes(contents[0])
    before, about = found(root), mask.stat()
    mask.write_bytes(contents[1])
    os.utime(mask, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (mask.stat().st_size, mask.stat().st_ino) == (about.st_size, about.st_ino)
    after = found(root)
    assert after[1].digests != before[1].digests
    assert are_equal(after, plainly(root))


def test_a_wrong_label_is_never_forgotten(root):
    found(root)
    mask = root / "train/masks_1024" / NAME
    labels = read_mask(mask, VAIHINGEN).copy()
    labels[5, 6] = 200
    write_image(mask, labels)
    for _ in range(2):
        with pytest.raises(InputError, match=r"train-0-1\.png: label 200 at row 5, column 6"):
            found(root)


def test_new_and_removed_images(root, read):
    found(root)
    for folder in (root / "train/images_1024", root / "train/masks_1024"):
        shutil.copy2(folder / NAME, folder / "new.png")
        (folder / "train-0-2.png").unlink()
    read.clear()
    found(root)
    assert set(read) == {"new"}
    assert are_equal(found(root), plainly(root))


def test_a_file_beside_an_image_counts(root, read):
    """It may call pixels invalid, or say where they lie."""
    found(root)
    (root / "train/images_1024" / f"{NAME}.aux.xml").write_text("<PAMDataset/>")
    read.clear()
    found(root)
    assert set(read) == {"train-0-1"}
    assert are_equal(found(root), plainly(root))
    folder = root / "train/masks_1024"
    (folder / "train-0-1.wld").write_text("0.5\n0\n0\n-0.5\n1000\n2000\n")
    read.clear()
    found(root)
    assert set(read) == {"train-0-1"}


def test_stems():
    assert stems_beside("SHA256SUMS") == []
    assert "a.b" in stems_beside("A.b.tfw")


def test_another_coding_is_another_fact(root, read):
    found(root)
    info = replace(VAIHINGEN, ignore_index=7)
    read.clear()
    with pytest.raises(InputError, match="label 6"):
        found(root, info=info)
    assert read


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "folder", "password", "version"])
def test_damaged_facts_are_ignored(root, damage):
    expected = found(root)
    (file,) = (root / ".bicor-seg").iterdir()
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    else:
        entry = content.index(b"PK\1\2")  # of the zip's list of files
        damaged = {
            "cut": content[:-300],
            "empty": b"",
            "text": b"hello",
            "password": content[: entry + 8] + b"\1" + content[entry + 9 :],
            "version": content[: entry + 6] + b"\xff" + content[entry + 7 :],
        }
        file.write_bytes(damaged[damage])
    assert are_equal(found(root), expected)


def test_a_changed_byte_is_noticed(root):
    """In the digests, which the checksum of the file protects."""
    expected = found(root)
    (file,) = (root / ".bicor-seg").iterdir()
    content = bytearray(file.read_bytes())
    with np.load(file) as kept:
        place = content.index(kept["digests"].tobytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert are_equal(found(root), expected)


def test_read_only_data(root, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    expected = found(root)
    assert not (root / ".bicor-seg").exists()
    (folder,) = (tmp_path / "caches/bicor-seg").iterdir()
    assert folder.name.startswith("data-")
    assert are_equal(found(root), expected)


def test_a_full_disk_does_no_harm(root, full_disk, monkeypatch):
    monkeypatch.setattr(known_files, "cache_folder", lambda _: full_disk)
    (full_disk / "ballast").write_bytes(bytes(shutil.disk_usage(full_disk).free))
    assert are_equal(found(root), plainly(root))
    assert [path.name for path in full_disk.iterdir()] == ["ballast"]


def test_small_work_is_not_kept(root, monkeypatch):
    monkeypatch.setattr(known_files, "WORTH_KEEPING", 2.0)
    found(root)
    assert not (root / ".bicor-seg").exists()


def test_files_that_were_just_written_are_read_again(root, read, monkeypatch):
    """They may change again in the same tick of the clock."""
    monkeypatch.setattr(known_files, "_FRESH", 10**12)
    found(root)
    read.clear()
    found(root)
    assert len(set(read)) == 4


def test_images_on_earth(tmp_path, monkeypatch):
    """Their places are compared once, and again after a change."""
    monkeypatch.setattr(known_files, "WORTH_KEEPING", 0.0)
    monkeypatch.setattr(known_files, "_FRESH", 0)
    make_dataset(tmp_path, VAIHINGEN, {"train": 1}, ((16, 16),))
    here, there = (rasterio.Affine(0.5, 0, east, 0, -0.5, 9000) for east in (4000, 4100))
    image = tmp_path / "train/images_1024/train-0-0.png"
    mask = tmp_path / "train/masks_1024/train-0-0.png"
    labels = np.tile(np.arange(4, dtype=np.uint8), (16, 4))[..., None]
    image.unlink()
    mask.unlink()
    options = {"crs": "EPSG:25832", "transform": here}
    write_bands(image.with_suffix(".tif"), np.ones((16, 16, 3), np.uint8), **options)
    write_bands(mask.with_suffix(".tif"), labels, **options)
    assert are_equal(found(tmp_path), found(tmp_path))
    write_bands(mask.with_suffix(".tif"), labels, **options | {"transform": there})
    with pytest.raises(InputError, match=r"200\.0 pixels away from its image"):
        found(tmp_path)


def test_files_without_a_state_are_read_again(root, read, monkeypatch):
    """Otherwise, a file that is never told would seem to be unchanged forever."""
    tell = files._state

    def some(entry):
        return array("q", files.NO_STATE) if entry.name == NAME else tell(entry)

    monkeypatch.setattr(files, "_state", some)
    found(root)
    read.clear()
    assert are_equal(found(root), plainly(root))
    assert set(read) >= {"train-0-1"}


def test_processes_find_the_same(root, monkeypatch):
    monkeypatch.setattr(workers, "TRIED", 1)
    monkeypatch.setattr(workers, "TRIAL", 0.0)
    monkeypatch.setattr(workers, "WORTH_PROCESSES", -1.0)
    monkeypatch.setattr(workers, "available_cores", lambda: 2)
    started = []
    start = workers._started
    monkeypatch.setattr(workers, "_started", lambda *a: started.append(a[1]) or start(*a))
    (root / "train/masks_1024" / f"{NAME}.aux.xml").write_text("<PAMDataset/>")
    known = KnownFiles(VAIHINGEN, root, workers=2)
    samples = find_samples(VAIHINGEN, root, "train", known)
    labels = check_samples(samples, VAIHINGEN, "train", known)
    assert started == [1]  # three files are left, in one part
    assert are_equal((samples, labels), plainly(root))


def test_a_share_of_the_samples_in_another_order(root):
    """As data.image_share draws them."""
    known = KnownFiles(VAIHINGEN, root)
    samples = find_samples(VAIHINGEN, root, "train", known)
    some = [samples[3], samples[1]]
    expected = check_samples(some, VAIHINGEN, "train")
    assert are_equal((some, check_samples(some, VAIHINGEN, "train", known)), (some, expected))
    assert known.states_of("train-0-3", ["full"])[1, 3] == samples[3].masks["full"].stat().st_ino
    assert known.states_of("nothing", ["full"]) is None


def test_names_with_accents(root, read):
    """In names, macOS writes an accent as a character of its own; they match all the same."""
    part = VAIHINGEN.folders("train")[0]
    image, (mask, *_) = root / part.images / NAME, (root / one.folder / NAME for one in part.masks)
    image.rename(image.with_name("a\u0308.png"))
    mask.rename(mask.with_name("\u00e4.png"))
    expected = plainly(root)
    (sample,) = (sample for sample in expected[0] if sample.name == "\u00e4")
    assert sample.image.name == "a\u0308.png"
    assert [path.name for path in sample.masks.values()] == ["\u00e4.png"]
    info = replace(VAIHINGEN, splits={"train": (replace(part, only=("a\u0308", "train-0-2")),)})
    assert [one.name for one in plainly(root, info=info)[0]] == ["\u00e4", "train-0-2"]
    assert are_equal(found(root), expected)
    read.clear()
    assert are_equal(found(root), expected)
    assert read == []
    (mask.parent / "\u00e4.png.aux.xml").write_text("<PAMDataset></PAMDataset>")
    found(root)
    assert set(map(normal, read)) == {"\u00e4"}  # a file beside it is seen
