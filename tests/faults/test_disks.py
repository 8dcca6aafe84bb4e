"""Full and read-only disks: one line, and what was there before stays as it was."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from network.datasets.info import VAIHINGEN
from tests.datasets.preparation.test_official import tile_files
from tests.disks import mounted, remount
from tests.faults.conftest import leftovers

pytestmark = pytest.mark.slow

TRAIN = ("train.py", "-c", "fields.py", "--accelerator", "cpu")
PREDICT = ("-c", "fields.py", "--checkpoint", "weights.ckpt", "--device", "cpu")


def place(project: Path, folder: Path) -> None:
    for name in ("fields.py", "data", "weights.ckpt"):
        (folder / name).symlink_to(project / name)


def commands(folder: Path) -> dict[str, list[str]]:
    """What writes, by name; the whole tiles are outside of the disk."""
    patches = ["tools/vaihingen_patch_split.py", "--workers", "1", "--split-size", "32"]
    patches += ["--img-dir", str(folder / "raw/image"), "--mask-dir", str(folder / "raw/mask")]
    patches += ["--output-img-dir", "cut/images", "--output-mask-dir", "cut/masks"]
    doctor = ["tools/check_data.py", "-c", "fields.py", "--workers", "1", "--html", "sheet.html"]
    return {
        "train": [*TRAIN, "optim.epochs=2"],
        "test": ["test_custom.py", *PREDICT, "-o", "tested", "--report"],
        "predict": ["predict.py", *PREDICT, "-i", "data/test/images", "-o", "predicted"],
        "patches": patches,
        "doctor": doctor,
        "points": ["tools/make_points.py", "-c", "fields.py", "--name", "few", "--budget", "9",
                   "--workers", "1", "data.root=copy"],
        "measure": ["tools/measure_bands.py", "-c", "fields.py", "--workers", "1"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    for number, tile in enumerate(VAIHINGEN.tile_splits["val"]):
        tile_files(folder / "raw", VAIHINGEN, tile, number)
    return folder


def test_full(launcher, project, tiles, tmp_path, trials, count):
    """Commands on a disk that is full at some moment."""
    rng = np.random.default_rng(0)
    found = commands(tiles)
    for number in range(trials(60)):
        name = list(found)[number % 5]  # those that write whole files
        size = f"{int(rng.integers(8, 400))}k"
        with mounted(tmp_path / f"disk{number}", size) as disk:
            place(project, disk)
            log = str(tmp_path / "log.txt")
            ended = launcher.run(disk, *found[name], log=log)
            count.note("ended before" if ended.code == 0 else "full")
            held = ended.code == 0 or ended.error is not None
            count.add(held and not leftovers(disk), f"{name}, {size}: {ended.log[-1500:]}")
            for checkpoint in disk.rglob("*.ckpt"):
                count.add(_is_whole(checkpoint), f"{name}, {size}: {checkpoint.name} is not whole")


def test_full_while_resuming(launcher, project, tmp_path, trials, count):
    """Resumed trainings on a full disk: they keep the last checkpoint, and can be resumed again."""
    with mounted(tmp_path / "disk", "16m") as disk:
        place(project, disk)
        log = str(tmp_path / "log.txt")
        first = launcher.run(disk, *TRAIN, "optim.epochs=1", log=log)
        assert first.code == 0, first.log[-2000:]
        last = disk / "model_weights/fields/version_0/last.ckpt"
        last = next(disk.rglob("last.ckpt"))
        for number in range(trials(8)):
            before = last.read_bytes()
            used = sum(p.stat().st_size for p in disk.rglob("*") if p.is_file())
            remount(disk, f"size={used // 1024 + 16 + 24 * number}k")
            resume = ["--resume", str(last), f"optim.epochs={number + 2}"]
            ended = launcher.run(disk, *TRAIN, *resume, log=log)
            count.add(ended.error is not None, ended.log[-1500:])
            count.add(last.read_bytes() == before, "last.ckpt is another one")
            count.add(not leftovers(disk), f"left over: {leftovers(disk)}")
            remount(disk, "size=16m")
            ended = launcher.run(disk, *TRAIN, *resume, log=log)
            count.add(ended.code == 0, ended.log[-1500:])


def test_read_only(launcher, project, tiles, tmp_path, count):
    """All commands on a read-only disk."""
    with mounted(tmp_path / "disk", "64m") as disk:
        place(project, disk)
        shutil.copytree(project / "data", disk / "copy")
        remount(disk, "ro")
        for name, argv in commands(tiles).items():
            ended = launcher.run(disk, *argv, log=str(tmp_path / "log.txt"))
            held = ended.code == 0 if name == "measure" else ended.error is not None
            count.add(held, f"{name}: code {ended.code} {ended.log[-1500:]}")


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(torch.load(checkpoint, weights_only=True))
    except (RuntimeError, OSError, EOFError):
        return False
