"""The patch tools as commands, run from another folder."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from network.datasets.files import write_image
from network.datasets.info import POTSDAM, VAIHINGEN
from network.datasets.schema import DatasetInfo
from tests import commands
from tests.conftest import ROOT, heed_interrupts

pytestmark = pytest.mark.slow


def run(tool: str, folder: Path, *flags: str) -> subprocess.CompletedProcess:
    return commands.run(f"tools/{tool}.py", *flags, cwd=folder)


def folders(masks: str = "masks") -> tuple[str, ...]:
    return (
        *("--img-dir", "images", "--mask-dir", masks),
        *("--output-img-dir", "out/images", "--output-mask-dir", "out/masks"),
    )


def add_tile(folder: Path, info: DatasetInfo, name: str, size: int = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (size, size), dtype=np.uint8)
    image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    write_image(folder / "images" / f"{name}{info.tiles.image}", image)
    write_image(folder / "masks" / f"{name}{info.tiles.mask}", info.to_rgb(labels))
    eroded = np.where(labels == 3, info.ignore_index, labels)
    write_image(folder / "eroded" / f"{name}{info.tiles.eroded_mask}", info.to_rgb(eroded))
    return labels


def test_vaihingen_train(tmp_path):
    add_tile(tmp_path, VAIHINGEN, "top_mosaic_09cm_area1")
    done = run("vaihingen_patch_split", tmp_path, *folders(), "--split-size", "16", "--stride", "8")
    assert done.returncode == 0, done.stderr
    # 20 pixels become 32; windows at 0, 8 and 16 of both axes, in three variants
    assert done.stdout.startswith("tiles 1, patches 27, padding 60.9% of the pixels; written to")
    assert len(done.stdout.splitlines()) == 1
    provenance = json.loads((tmp_path / "out/masks/patch_split.json").read_text())
    assert provenance["mode"] == "train"
    assert provenance["label_kind"] == "full"


def test_vaihingen_test_with_eroded_masks(tmp_path):
    labels = add_tile(tmp_path, VAIHINGEN, "top_mosaic_09cm_area2")
    flags = ("--mode", "val", "--split-size", "20", "--stride", "20", "--eroded")
    done = run("vaihingen_patch_split", tmp_path, *folders("eroded"), *flags)
    assert done.returncode == 0, done.stderr
    mask = cv2.imread(str(tmp_path / "out/masks/top_mosaic_09cm_area2_0_0.png"), -1)
    np.testing.assert_array_equal(mask, np.where(labels == 3, 6, labels))


def test_vaihingen_train_zooms_on_cars(tmp_path):
    add_tile(tmp_path, VAIHINGEN, "top_mosaic_09cm_area1")
    cars = VAIHINGEN.to_rgb(np.full((20, 20), 4, np.uint8))
    write_image(tmp_path / "masks/top_mosaic_09cm_area1.tif", cars)
    done = run("vaihingen_patch_split", tmp_path, *folders(), "--split-size=20", "--stride=20")
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (tmp_path / "out/masks").glob("*.png")) == [
        f"top_mosaic_09cm_area1_{variant}_0_{view}" for variant in range(3) for view in range(4)
    ]


def test_potsdam_gt(tmp_path):
    labels = add_tile(tmp_path, POTSDAM, "top_potsdam_2_13")
    flags = ("--mode", "val", "--split-size", "16", "--stride", "16", "--gt", "--rgb-image")
    done = run("potsdam_patch_split", tmp_path, *folders(), *flags)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out/images").glob("top_potsdam_2_13_0_?.tif"))) == 4
    whole = cv2.imread(str(tmp_path / "out/masks/origin/top_potsdam_2_13.tif"))[..., ::-1]
    np.testing.assert_array_equal(whole, POTSDAM.to_rgb(labels))
    assert cv2.imread(str(tmp_path / "out/masks/top_potsdam_2_13_0_0.png"), -1).ndim == 3


def test_geoseg_padding_is_labeled_and_recorded(tmp_path):
    add_tile(tmp_path, POTSDAM, "top_potsdam_2_13")
    flags = ("--mode=val", "--split-size=16", "--stride=16", "--pad-policy=geoseg", "--rgb-image")
    assert run("potsdam_patch_split", tmp_path, *folders(), *flags).returncode == 0
    corner = cv2.imread(str(tmp_path / "out/masks/top_potsdam_2_13_0_0.png"), -1)
    assert (corner[:12] == 0).all()
    provenance = json.loads((tmp_path / "out/images/patch_split.json").read_text())
    assert provenance["pad_policy"] == "geoseg"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "did you mean --rgb-image?"),
        (("--rgb-image", "--eroded"), "leave out --eroded"),
        (("--rgb-image", "--split-size", "16", "--stride", "17"), "--stride 17"),
        (("--rgb-image", "--split-size", "16", "--stride", "16", "--workers", "0"), "--workers 0"),
        (("--rgb-image",), "smaller than a patch of 1024"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(tmp_path, flags, message):
    add_tile(tmp_path, POTSDAM, "top_potsdam_2_13")
    done = run("potsdam_patch_split", tmp_path, *folders(), *flags)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("tool", ["vaihingen_patch_split", "potsdam_patch_split"])
def test_help_and_misspelled_flag(tmp_path, tool):
    assert "--pad-policy" in run(tool, tmp_path, "--help").stdout
    assert run(tool, tmp_path, *folders(), "--strid", "x").returncode == 2


def test_interrupt_leaves_nothing_behind(tmp_path):
    for number in range(4):
        add_tile(tmp_path, VAIHINGEN, f"top_mosaic_09cm_area{number}", size=600)
    flags = (*folders(), "--split-size=16", "--stride=4", "--workers=2")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/vaihingen_patch_split.py"), *flags],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.images.partial-*/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert stderr.endswith("interrupted\n")
    assert "Traceback" not in stderr
    assert list(tmp_path.glob("out/*")) == []


def test_the_tools_start_without_torch():
    modules = "network.datasets.preparation.patches, network.datasets.preparation.loveda"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
