"""Drawn labels on a full disk, and after a process was killed: whole files, or none."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from network.datasets.on_earth.files import LabelFile
from network.datasets.on_earth.find import CACHE
from network.datasets.segmentation import find_samples
from network.errors import InputError
from tests.conftest import ROOT
from tests.datasets.on_earth.scenes import by_class, dataset, write_regions, write_scene
from tests.rasters.earth import blocks, write_labels

DRAW = """
from pathlib import Path
from network.datasets.segmentation import find_samples
from tests.datasets.on_earth.scenes import by_class, dataset
info = dataset(train={"images": ("a.tif",), "labels": (by_class(),)})
find_samples(info, Path("."), "train")
"""


def test_a_full_disk(tmp_path, full_disk):
    labels = np.random.default_rng(0).integers(0, 3, (700, 700), dtype=np.uint8)
    write_scene(tmp_path / "a.tif", labels)
    write_labels(tmp_path / "labels/a.tif", labels)
    (tmp_path / CACHE).symlink_to(full_disk)
    file = LabelFile(path=Path("labels/a.tif"))
    info = dataset(train={"images": ("a.tif",), "labels": (file,)})
    with pytest.raises(InputError, match=r"a-\w+\.(tif|npz): .*(free|space)"):
        find_samples(info, tmp_path, "train")
    assert not list(full_disk.iterdir())


@pytest.mark.slow
def test_killed_while_drawing(tmp_path):
    """At several moments; the next run draws the rest, and leaves nothing behind."""
    labels = blocks(0, 2000, 2000, 10)
    write_scene(tmp_path / "a.tif", labels)
    write_regions(tmp_path / "labels.gpkg", labels)
    command = [sys.executable, "-c", DRAW]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = {"cwd": tmp_path, "env": environment, "stderr": subprocess.DEVNULL}
    for delay in (0.05, 0.4):
        process = subprocess.Popen(command, **options)
        while not list((tmp_path / CACHE).glob(".*")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, **options)
    assert sorted(path.suffix for path in (tmp_path / CACHE).iterdir()) == [".npz", ".tif"]
    info = dataset(train={"images": ("a.tif",), "labels": (by_class(),)})
    (sample,) = find_samples(info, tmp_path, "train")
    assert sample.scene.labels.pixels.tolist() == np.bincount(labels.ravel()).tolist()
