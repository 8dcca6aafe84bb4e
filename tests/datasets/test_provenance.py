"""Checksums beside patches: what sha256sum says of them, and what has changed since."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from network.datasets.files import read_rgb
from network.datasets.preparation.patches import split_tiles
from network.datasets.preparation.uavid import split_frames
from network.datasets.provenance import (
    CHECKSUMS_FILE,
    PROVENANCE_FILE,
    PointRecord,
    Provenance,
    changed_files,
    read_provenance,
    recorded_kind,
    write_hashed,
    write_provenance,
)
from network.errors import InputError
from network.points.labels import make_point_labels
from network.points.rules import PointRule
from tests.datasets.preparation import test_patches, test_uavid
from tests.points.test_labels import INFO
from tests.scenes import make_dataset

RED = np.full((2, 3, 3), (255, 0, 0), np.uint8)


def says_sha256sum(folder: Path) -> bool:
    """Whether that program finds every file as its checksum."""
    command = ["sha256sum", "-c", "--strict", CHECKSUMS_FILE]
    return not subprocess.run(command, cwd=folder, capture_output=True).returncode


@pytest.mark.parametrize("name", ["a.png", "origin/Köln 1.tif", "back\\slash.png", "new\nline.png"])
def test_checksums_are_those_of_sha256sum(tmp_path: Path, name: str):
    checksum = write_hashed(tmp_path / name, RED)
    np.testing.assert_array_equal(read_rgb(tmp_path / name), RED)
    write_provenance(tmp_path, Provenance(tool="x"), {name: checksum})
    assert read_provenance(tmp_path) == Provenance(tool="x")
    assert says_sha256sum(tmp_path)
    assert changed_files(tmp_path) == []
    with (tmp_path / name).open("ab") as file:
        file.write(b"1")
    assert not says_sha256sum(tmp_path)
    assert changed_files(tmp_path) == [tmp_path / name]


def test_changed_and_missing_files_are_named(tmp_path: Path):
    checksums = {name: write_hashed(tmp_path / name, RED) for name in ("a.png", "b.png", "c.png")}
    write_provenance(tmp_path, Provenance(tool="x"), checksums)
    (tmp_path / "d.png").touch()  # nobody's
    (tmp_path / "b.png").unlink()
    content = bytearray((tmp_path / "c.png").read_bytes())
    content[-20] ^= 1
    (tmp_path / "c.png").write_bytes(content)
    (tmp_path / PROVENANCE_FILE).write_text("{}")
    assert changed_files(tmp_path) == [
        tmp_path / name for name in ("b.png", "c.png", PROVENANCE_FILE)
    ]


def test_without_checksums_nothing_is_known(tmp_path: Path):
    assert changed_files(tmp_path) == []


@pytest.mark.parametrize("damaged", [b"", b"0123  a.png\n", b"\xff" * 64 + b"  a.png\n"])
def test_damaged_checksums(tmp_path: Path, damaged: bytes):
    (tmp_path / CHECKSUMS_FILE).write_bytes(damaged)
    with pytest.raises(InputError, match=rf"{CHECKSUMS_FILE}: unreadable .* make the folder again"):
        changed_files(tmp_path)


def test_provenance_nested_a_thousand_deep(tmp_path: Path):
    (tmp_path / PROVENANCE_FILE).write_text('{"a":' * 100_000)
    with pytest.raises(InputError, match=r"nested too deep.*make the folder again"):
        read_provenance(tmp_path)


def test_facts_of_other_versions_are_kept(tmp_path: Path):
    """In the order of this version; points come last, as they always have."""
    points = {"rule": {"radius": 1}, "points": [1, 2], "dense": None, "of": "another version"}
    document = {"later": [1], "label_kind": "points", "tool": "x", "points": points}
    (tmp_path / PROVENANCE_FILE).write_text(json.dumps(document))
    found = read_provenance(tmp_path)
    assert (found.tool, found.split_size, found.others) == ("x", None, {"later": [1]})
    assert found.points == PointRecord(rule={"radius": 1}, points=(1, 2))
    assert list(found.to_json()) == ["tool", "label_kind", "later", "points"]
    assert recorded_kind(tmp_path, "full") == "points"
    assert recorded_kind(tmp_path.parent, "full") == "full"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "not a JSON object"),
        ({"label_kind": ["full"]}, r"label_kind is \['full'\], not text"),
        ({"pad_policy": 3}, "pad_policy is 3, not text"),
        ({"points": [1]}, r"points is \[1\], not a JSON object"),
    ],
)
def test_damaged_provenance(tmp_path: Path, document, words: str):
    (tmp_path / PROVENANCE_FILE).write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"{PROVENANCE_FILE}: {words}; make the folder again"):
        read_provenance(tmp_path)


def cut_tiles(root: Path) -> list[Path]:
    for number in (1, 2):
        name = f"top_mosaic_09cm_area{number}"
        test_patches.add_tile(root, name, *test_patches.random_tile(11, 14, number))
    split = test_patches.options(root, gt=True)
    split_tiles(split, workers=1)
    return [split.output_img_dir, split.output_mask_dir]


def cut_frames(root: Path) -> list[Path]:
    test_uavid.make_frames(root / "frames")
    split = test_uavid.options(root)
    split_frames(split, workers=1)
    return [split.output_img_dir, split.output_mask_dir]


def draw_points(root: Path) -> list[Path]:
    make_dataset(root, INFO, {"train": 3})
    make_point_labels(INFO, root, "train", "dots", PointRule(budget=9), workers=1)
    return [root / "train/dots"]


@pytest.mark.slow
@pytest.mark.parametrize("tool", [cut_tiles, cut_frames, draw_points])
def test_every_tool_knows_all_its_files_and_replaces_them(tmp_path: Path, tool):
    for _ in range(2):  # the rerun finds checksums, and takes them for its own
        for folder in tool(tmp_path):
            lines = (folder / CHECKSUMS_FILE).read_text().splitlines()
            files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
            assert {Path(line.partition("  ")[2]) for line in lines} == files - {
                Path(CHECKSUMS_FILE)
            }
            assert len(files) > 3
            assert says_sha256sum(folder)
            assert changed_files(folder) == []
