"""Several machines, as processes of this one; and two trainings of one run at a time."""

import os
import socket
import time
from pathlib import Path

import pytest
import torch

from network.datasets.info import VAIHINGEN
from tests.commands import Command
from tests.conftest import ROOT
from tests.disks import mounted
from tests.scenes import make_dataset

pytestmark = pytest.mark.slow

CONFIG = ROOT / "config/vaihingen/bicor.py"
OVERRIDES = [
    "model.encoder=test_convnext",
    "model.weights=None",
    "data.crop=32",
    "data.batch_size=1",
    "data.workers=0",
    "optim.epochs=1",
    "name=nodes",
]


def start(cwd: Path, *words: str, **environment: str) -> Command:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    args = ["-c", CONFIG, "--accelerator", "cpu", *OVERRIDES, *words]
    return Command("train.py", *args, cwd=cwd, env=env)


def finish(*processes: Command) -> list[tuple[int, str, list[str]]]:
    """Exit code, output and error lines of each."""
    results = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in err, err[-3000:]
        results.append((process.returncode, out, errors))
    return results


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


@pytest.fixture
def nodes(tmp_path):
    """Start two nodes, each in a folder with data of its own; one more word for the second."""
    for name in ("data", "other"):
        make_dataset(tmp_path / name, VAIHINGEN, {"train": 2, "val": 1})

    def run(*second: str, first: tuple[str, ...] = ()):
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        words = ["--num-nodes", "2", "--devices", "1", "data.root=data"]
        processes = [
            start(tmp_path, *words, *first, **environment, NODE_RANK="0"),
            start(tmp_path, *words, *second, **environment, NODE_RANK="1"),
        ]
        return finish(*processes)

    return run


def made(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.glob("*/nodes/*"))


def test_two_nodes_are_one_run(nodes, tmp_path):
    """One folder; the data may lie elsewhere; it is the run of two processes on one machine."""
    results = nodes("data.root=other")
    assert [code for code, _, _ in results] == [0, 0], results
    assert made(tmp_path) == ["lightning_logs/nodes/version_0", "model_weights/nodes/version_0"]
    assert ["checkpoints in" in out for _, out, _ in results] == [True, False]
    last = tmp_path / "model_weights/nodes/version_0/last.ckpt"
    saved = torch.load(last, weights_only=True)
    assert saved["settings"]["processes"] == 2

    words = ["--devices", "2", "data.root=data", "name=one"]
    ((code, _, _),) = finish(start(tmp_path, *words))
    assert code == 0
    one = torch.load(tmp_path / "model_weights/one/version_0/last.ckpt", weights_only=True)
    for name, value in saved["state_dict"].items():
        torch.testing.assert_close(value, one["state_dict"][name])


def weights_of(folder: Path, name: str) -> dict[str, torch.Tensor]:
    path = folder / f"model_weights/{name}/version_0/last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def test_processes_share_cached_patches(tmp_path):
    """The second epoch reads the cache, and the training is that without one."""
    make_dataset(tmp_path / "data", VAIHINGEN, {"train": 4, "val": 1})
    words = ["--devices", "2", "data.root=data", "optim.epochs=2", "data.workers=1"]
    for where in ("None", "ram", "disk"):
        ((code, out, _),) = finish(
            start(tmp_path, *words, f"data.cache={where}", f"name=cache-{where}")
        )
        assert code == 0, out
        on_disk = list((tmp_path / "data/.bicor-seg").glob("*.cache"))
        assert bool(on_disk) == (where == "disk")
    plain = weights_of(tmp_path, "cache-None")
    for where in ("ram", "disk"):
        cached = weights_of(tmp_path, f"cache-{where}")
        assert all(value.equal(cached[key]) for key, value in plain.items())


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (["optim.lr=2e-4"], "error: optim.lr: process 0 has 8e-05, process 1 has 0.0002"),
        (["--seed", "7"], "error: seed: process 0 has 42, process 1 has 7"),
        (["data.root=changed"], "error: full training labels: process 0 has "),
    ],
)
def test_nodes_that_differ(nodes, tmp_path, second, told):
    changed = make_dataset(tmp_path / "changed", VAIHINGEN, {"train": 2, "val": 1})
    masks = changed / VAIHINGEN.splits["train"][0].masks[0].folder
    first, other = sorted(masks.iterdir())
    other.write_bytes(first.read_bytes())
    for code, _, errors in nodes(*second):
        assert code == 2
        assert len(errors) == 1
        assert errors[0].startswith(told)
    assert made(tmp_path) == []


def test_nodes_resume_from_the_same_checkpoint(nodes, tmp_path):
    assert [code for code, _, _ in nodes()] == [0, 0]
    last = tmp_path / "model_weights/nodes/version_0/last.ckpt"
    other = tmp_path / "copy/last.ckpt"
    other.parent.mkdir()
    content = torch.load(last, weights_only=True)
    content["state_dict"]["model.class_embeddings"] *= 2
    torch.save(content, other)
    longer = ("optim.epochs=2", "--resume")
    results = nodes(*longer, str(other), first=(*longer, str(last)))
    for code, _, errors in results:
        assert code == 2
        assert errors[0].startswith("error: checkpoint to resume: process 0 has ")
    results = nodes(*longer, first=longer)
    assert [code for code, _, _ in results] == [0, 0], results
    assert torch.load(last, weights_only=True)["epoch"] == 1
    assert len([x for x in results[0][1].splitlines() if "from 1 to 2 epochs;" in x]) == 1


WRONG = ("optim.lr=1e12", "optim.epochs=4", "data.repeat=3")


def test_a_loss_that_is_not_finite_ends_all_nodes(nodes):
    for code, _, errors in nodes(*WRONG, first=WRONG):
        assert code == 2
        assert len(errors) == 1
        assert ": the loss is nan" in errors[0]


def test_a_loss_that_is_not_finite_ends_all_processes(nodes, tmp_path):
    """Those of one machine report once."""
    ((code, _, errors),) = finish(start(tmp_path, "--devices", "2", "data.root=data", *WRONG))
    assert code == 2
    assert len(errors) == 1
    assert ": the loss is nan" in errors[0]


def test_a_full_disk_ends_all_processes(tmp_path):
    """The first one writes; the other must not wait for it."""
    data = make_dataset(tmp_path / "data", VAIHINGEN, {"train": 2, "val": 1})
    words = ["--devices", "2", f"data.root={data}", "model.dim=32", "optim.epochs=9"]
    with mounted(tmp_path / "disk", "6500k") as disk:
        ((code, _, errors),) = finish(start(disk, *words))
        assert code == 2
        assert len(errors) == 1
        assert "last.ckpt: cannot be written" in errors[0]
        last = disk / "model_weights/nodes/version_0/last.ckpt"
        assert torch.load(last, weights_only=True)["epoch"] == 0
        assert sorted(os.listdir(last.parent)) == ["best.ckpt", "experiment.txt", "last.ckpt"]


def test_a_node_of_no_other(tmp_path):
    make_dataset(tmp_path / "data", VAIHINGEN, {"train": 1, "val": 1})
    ((code, _, errors),) = finish(start(tmp_path, "data.root=data", NODE_RANK="1"))
    assert code == 2
    assert "--num-nodes 1: " in errors[0]
    assert made(tmp_path) == []


def test_a_run_has_one_writer(tmp_path):
    """A second process cannot go on with what a first one trains."""
    make_dataset(tmp_path / "data", VAIHINGEN, {"train": 1, "val": 1})
    first = start(tmp_path, "data.root=data", "optim.epochs=400")
    last = tmp_path / "model_weights/nodes/version_0/last.ckpt"
    while not last.is_file():
        assert first.poll() is None
        time.sleep(0.1)
    ((code, _, errors),) = finish(start(tmp_path, "data.root=data", "optim.epochs=400", "--resume"))
    assert code == 2
    assert len(errors) == 1
    assert f"version_0: process {first.pid} on " in errors[0]
    assert first.poll() is None
    first.kill()
    first.communicate()
    done = torch.load(last, weights_only=True)["epoch"] + 1
    longer = f"optim.epochs={done + 1}"
    ((code, _, errors),) = finish(start(tmp_path, "data.root=data", longer, "--resume"))
    assert (code, len(errors)) == (2, 1)  # shorter than planned
    assert not list(tmp_path.rglob(".*"))
