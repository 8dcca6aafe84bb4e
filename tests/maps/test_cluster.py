"""Maps on Dask workers: the bytes of one process, also when workers are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from network.config import load_experiment
from network.datasets.info import VAIHINGEN
from tests.commands import Command, error_of, run, succeed
from tests.conftest import ROOT
from tests.maps.local import PLACE, contents, random_image
from tests.scenes import make_dataset, write_bands
from tests.tools.test_patch_split import add_tile

pytestmark = pytest.mark.slow

CONFIG = '''"""A small network, whose process ends where an image is flat, as for lack of memory."""

import os
import time
from functools import partial
from pathlib import Path

from torch import nn

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.bicor import BiCoRLoss
from network.models.output import SegOutput

class Net(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.layer = nn.Conv2d(3, classes, 5, padding=2)

    def forward(self, image):
        with Path(f"passes/{os.getpid()}").open("a") as file:
            file.write("x")
        time.sleep(0.005)
        if (image.amax((-2, -1)) == image.amin((-2, -1))).all():
            os._exit(1)
        return SegOutput(self.layer(image))

experiment = Experiment(
    dataset=VAIHINGEN,
    model=partial(Net, VAIHINGEN.num_classes),
    loss=partial(BiCoRLoss, VAIHINGEN.ignore_index),
    data=Data(crop=32, batch_size=2, workers=1),
    optim=Optim(lr=1e-3, epochs=1),
)
'''
PREDICT = ["-c", "config.py", "--checkpoint", "weights.ckpt", "-p", "64", "--halo", "0"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "config.py").write_text(CONFIG)
    (folder / "passes").mkdir()
    torch.manual_seed(0)
    state = load_experiment(folder / "config.py").build_model(pretrained=False).state_dict()
    torch.save({"state_dict": state}, folder / "weights.ckpt")
    for number in range(3):
        path = folder / f"in/{number}.tif"
        write_bands(path, random_image(700, 900, number), photometric="RGB", **PLACE)
    succeed("predict.py", *PREDICT, "-i", "in", "-o", "one", "--confidence", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def scheduler(project) -> Iterator[str]:
    """The file of a scheduler with two workers on machines where this project is installed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    at = {"cwd": project, "env": environment, "start_new_session": True}
    file, processes = project / "scheduler.json", []
    local = ("--host", "127.0.0.1")
    for words in (
        ("scheduler", "--port", "0", "--scheduler-file", file, "--no-dashboard", *local),
        *[("worker", "--scheduler-file", file, "--nthreads", "1", "--no-dashboard", *local)] * 2,
    ):
        command = [sys.executable, "-m", "dask", *map(str, words)]
        log = (project / f"dask{len(processes)}.log").open("w")
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, **at))
        log.close()
    while not file.exists():
        assert processes[0].poll() is None
        time.sleep(0.05)
    yield "scheduler.json"
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_killed_worker_on_this_machine(project):
    """The other one, and the one that takes its place, do what it had."""
    argv = [*PREDICT, "-i", "in", "-o", "killed", "--confidence", "--workers", "2"]
    command = Command("predict.py", *argv, cwd=project)
    deadline = time.monotonic() + 90
    while not list((project / "killed").rglob("r*.tif")):
        assert time.monotonic() < deadline
        assert command.poll() is None, command.stderr
        time.sleep(0.01)
    worker = max((project / "passes").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    os.kill(int(worker.name), signal.SIGKILL)
    assert command.wait(90) == 0, command.stderr
    assert contents(project / "killed") == contents(project / "one")


def test_a_scheduler(project, scheduler):
    """Its workers make the same maps; an image that cannot be read is left out, as elsewhere."""
    argv = [*PREDICT, "--scheduler", scheduler]
    succeed("predict.py", *argv, "-i", "in", "-o", "two", "--confidence", cwd=project)
    assert contents(project / "two") == contents(project / "one")
    before = passes(project)
    succeed("predict.py", *argv, "-i", "in", "-o", "two", "--confidence", cwd=project)
    assert passes(project) == before  # nothing was left to do
    error = error_of("predict.py", *argv, "-i", "in", "-o", "two", cwd=project)
    assert "its layers is" in error
    write_bands(project / "some/a.tif", random_image(90, 90), photometric="RGB", **PLACE)
    write_bands(project / "some/b.tif", random_image(90, 90)[..., :1], **PLACE)
    ended = run("predict.py", *argv, "-i", "some", "-o", "some_maps", cwd=project)
    assert (ended.returncode, "1 of 2 images could not be" in ended.stderr) == (3, True)
    assert (project / "some_maps/a.tif").exists()


def test_tools_on_a_scheduler(project, scheduler):
    """The patches, the record beside them, and the findings are those of one process."""
    for name in ("area1", "area3", "area5"):
        add_tile(project / "tiles", VAIHINGEN, f"top_mosaic_09cm_{name}", size=90)
    for name, workers in (("alone", ["--workers", "1"]), ("shared", ["--scheduler", scheduler])):
        argv = ["--img-dir", "tiles/images", "--mask-dir", "tiles/masks", "--mode", "train"]
        argv += ["--split-size", "64", "--stride", "64", "--output-img-dir", f"{name}/images"]
        argv += ["--output-mask-dir", f"{name}/masks", *workers]
        succeed("tools/vaihingen_patch_split.py", *argv, cwd=project)
    assert contents(project / "shared") == contents(project / "alone")
    data = make_dataset(project / "data", VAIHINGEN, {"train": 3})
    damaged = next((data / VAIHINGEN.splits["train"][0].images).iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-100])
    argv = ["-c", ROOT / "config/vaihingen/bicor.py", "data.root=data", "--splits", "train"]
    found = [
        run("tools/check_data.py", *argv, *workers, cwd=project).stdout
        for workers in (["--workers", "1"], ["--scheduler", scheduler])
    ]
    assert damaged.name in found[0]
    assert found[0] == found[1]


def test_the_script_for_a_slurm_cluster(project):
    """The one on the page, with an ``srun`` that starts a process on this machine."""
    page = (ROOT / "docs/maps.md").read_text()
    blocks = re.findall(r"```bash.*?\n(.*?)```", page, re.S)
    (script,) = (block for block in blocks if "srun" in block)
    command = "python predict.py -c config/potsdam/bicor.py -i orthophotos -o fig_results/maps"
    assert command in script
    ours = f"python {ROOT}/predict.py {' '.join(PREDICT)} --confidence -i in -o slurm"
    script = script.replace(command, ours).replace("scheduler.json", "slurm.json")
    script = script.replace("dask scheduler", "dask scheduler --port 0")
    for name, line in (
        ("python", f'exec {sys.executable} "$@"'),
        ("dask", f'exec {sys.executable} -m dask "$@" --no-dashboard --host 127.0.0.1'),
        ("srun", 'shift; exec "$@"'),
    ):
        path = project / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SLURM_CPUS_PER_TASK": "1"}
    environment["PATH"] = f"{project}/bin:{environment['PATH']}"
    with (project / "slurm.log").open("w") as log:
        job = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=project,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert job.wait(120) == 0, (project / "slurm.log").read_text()
    finally:
        os.killpg(job.pid, signal.SIGKILL)  # as SLURM ends what a job has left
    assert contents(project / "slurm") == contents(project / "one")


def test_a_block_that_ends_its_worker(project, scheduler):
    """It is given up after three times and named; all others are done, and are done only once."""
    pixels = random_image(700, 900)
    pixels[300:420, 520:700] = 0
    write_bands(project / "bad/a.tif", pixels, photometric="RGB", **PLACE)
    argv = [*PREDICT, "--scheduler", scheduler, "-i", "bad", "-o", "bad_maps"]
    ended = run("predict.py", *argv, cwd=project)
    assert (ended.returncode, "1 blocks of images" in ended.stderr) == (3, True), ended.stderr
    (failed,) = map(json.loads, (project / "bad_maps/failed.jsonl").read_text().splitlines())
    assert (failed["rows"], failed["columns"]) == ([320, 384], [0, 900])
    assert len(list((project / "bad_maps").rglob("r*.tif"))) == 11 - 1


def test_a_scheduler_that_is_not_there(project):
    error = error_of(
        "predict.py", *PREDICT, "-i", "in", "-o", "x", "--scheduler", "x.json", cwd=project
    )
    assert "--scheduler x.json: no such scheduler file" in error


def passes(project: Path) -> int:
    return sum(path.stat().st_size for path in (project / "passes").iterdir())
