"""Maps whose prediction is killed, or meets a full disk, at any moment."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.disks import mounted, remount
from tests.faults.test_kills import ENDS, KILLS, campaign, contents

pytestmark = pytest.mark.slow

PREDICT = ["predict.py", "-c", "fields.py", "--checkpoint", "weights.ckpt", "--device", "cpu"]
PREDICT += ["-p", "96", "--halo", "32", "--confidence", "--polygons", "--min-area", "3"]


def write_image(path: Path) -> None:
    """Write an image of several blocks; a corner of it has no data."""
    pixels = np.random.default_rng(0).integers(1, 256, (3, 900, 700), dtype=np.uint8)
    pixels[:, :200, :200] = 0
    place = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.1, 0.1)}
    size = {"height": 900, "width": 700, "count": 3, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, **size, **place) as file:
        file.write(pixels)


def test_mapping(launcher, project, tmp_path, trials, count):
    """Prediction of a map in blocks, killed and given again: the same bytes."""
    for name in ("fields.py", "weights.ckpt"):
        (tmp_path / name).symlink_to(project / name)
    write_image(tmp_path / "a.tif")
    argv = [*PREDICT, "-i", "a.tif", "-o", "OUT"]
    campaign(launcher, tmp_path, argv, count, trials(KILLS), trials(ENDS), 3)


def test_full(launcher, project, tmp_path, trials, count):
    """Prediction of a map on a disk that is full at first: the same bytes."""
    for name in ("fields.py", "weights.ckpt"):
        (tmp_path / name).symlink_to(project / name)
    write_image(tmp_path / "a.tif")
    argv = [*PREDICT, "-i", "a.tif", "-o"]
    assert launcher.run(tmp_path, *argv, "quiet").code == 0
    expected = contents(tmp_path / "quiet")
    rng = np.random.default_rng(0)
    for number in range(trials(40)):
        size = f"{int(rng.integers(20, 1500))}k"
        with mounted(tmp_path / f"disk{number}", size) as disk:
            ended = launcher.run(tmp_path, *argv, str(disk / "out"))
            count.note("ended before" if ended.code == 0 else "full")
            count.add(ended.code == 0 or ended.error is not None, f"{size}: {ended.log[-1500:]}")
            remount(disk, "size=40m")
            ended = launcher.run(tmp_path, *argv, str(disk / "out"))
            found = contents(disk / "out")
            count.add(ended.code == 0 and found == expected, f"{size}: {ended.log[-1500:]}")
