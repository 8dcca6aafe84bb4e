"""check_data.py and prepare_data.py as processes."""

import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from network.datasets.files import write_image
from network.datasets.info import VAIHINGEN
from tests import commands
from tests.conftest import ROOT
from tests.scenes import make_dataset

pytestmark = pytest.mark.slow


def run(tool: str, *args: str | Path) -> subprocess.CompletedProcess:
    return commands.run(f"tools/{tool}", *args, cwd=ROOT)


def test_check_data(tmp_path):
    make_dataset(tmp_path / "data", VAIHINGEN, {"train": 2, "val": 1, "test": 1}, ((96, 96),))
    args = ["-c", ROOT / "config/demo/bicor.py", f"data.root={tmp_path}/data"]
    for folder in (tmp_path / "data").iterdir():
        for path in list(folder.iterdir()):
            path.rename(path.with_name(path.name.replace("1024", "256")))
    sound = run("check_data.py", *args, "--workers", "1")
    assert (sound.returncode, sound.stdout.splitlines()[-1]) == (0, "0 findings in 4 images")

    (tmp_path / "data/val/masks_256/val-0-0.png").unlink()
    write_image(tmp_path / "data/val/masks_256/other.png", np.zeros((8, 8), np.uint8))
    found = run("check_data.py", *args, "--html", tmp_path / "page.html")
    assert found.returncode == 1
    assert found.stdout.count("of this name in") == 2
    assert "of this name in" in (tmp_path / "page.html").read_text()

    wrong = run("check_data.py", *args[:2], "--splits", "tran", f"data.root={tmp_path}/data")
    assert wrong.returncode == 2
    assert "did you mean 'train'?" in wrong.stderr


def test_prepare_data(tmp_path):
    archives = tmp_path / "archives"
    archives.mkdir()
    image = np.zeros((1030, 1024, 3), np.uint8)
    mask = np.full_like(image, 255)
    write_image(tmp_path / "image.tif", image)
    write_image(tmp_path / "mask.tif", mask)
    with zipfile.ZipFile(archives / "vaihingen.zip", "w") as archive:
        for area in (1, 30):
            archive.write(tmp_path / "image.tif", f"top/top_mosaic_09cm_area{area}.tif")
            name = f"gts_for_participants/top_mosaic_09cm_area{area}.tif"
            archive.write(tmp_path / "mask.tif", name)
    args = ["vaihingen", "--archives", archives, "--output", tmp_path / "out"]
    refused = run("prepare_data.py", *args)
    assert refused.returncode == 2
    assert "14 of the 15 train tiles" in refused.stderr
    done = run("prepare_data.py", *args, "--partial")
    assert done.returncode == 0, done.stderr
    assert "4 files unpacked" in done.stdout
    # 1030 rows are padded to 2048; at half a patch's stride in training
    assert len(list((tmp_path / "out/val/images_1024").glob("*.tif"))) == 2
    assert len(list((tmp_path / "out/train/images_1024").glob("*.tif"))) == 3 * 3
    assert run("prepare_data.py", "potsdam", "--archives", archives).returncode == 2
    assert run("prepare_data.py", "loveda", "--archives", archives, "--infrared").returncode == 2
