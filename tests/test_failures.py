"""What failed outside the project is told in one line; a mistake of ours stays a traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from network.failures import explain, is_lost_peer, is_terminated_worker, why_not_written


def caught(function) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("no error")


class Failing(Dataset):
    """A data set whose workers raise what they are given."""

    def __init__(self, function):
        self.function = function

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
        return self.function()


def in_a_worker(function) -> BaseException:
    return caught(lambda: list(DataLoader(Failing(function), num_workers=1)))


def take_too_much_in_numpy() -> None:
    np.ones(1 << 50, np.uint8)


def take_too_much_in_torch() -> None:
    torch.ones(1 << 55, dtype=torch.uint8)


def open_missing() -> None:
    Path("/nowhere/is.txt").read_text()


@pytest.mark.parametrize("run", [caught, in_a_worker])
@pytest.mark.parametrize("function", [take_too_much_in_numpy, take_too_much_in_torch])
def test_full_memory(run, function):
    line = explain(run(function))
    assert line.startswith("the memory of this machine is full (")
    for remedy in ("data.batch_size", "data.crop", "smaller images", "-p"):
        assert remedy in line
    assert "\n" not in line


def test_bytes_are_told_in_gib():
    error = RuntimeError(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes."
    )
    assert "(3 GiB more were wanted)" in explain(error)


def test_full_memory_of_the_gpu():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
    line = explain(error)
    assert line.startswith("the memory of the GPU is full (2.00 GiB more were wanted); ")
    assert "data.batch_size" in line


@pytest.mark.parametrize("run", [caught, in_a_worker])
def test_a_file_is_named(run):
    assert explain(run(open_missing)) == "/nowhere/is.txt: No such file or directory"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "not read-only"),
        (errno.EACCES, "permission"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "try again"),
    ],
)
def test_what_the_system_refuses_has_a_remedy(number, remedy):
    line = explain(OSError(number, os.strerror(number), "out/x.png"))
    assert line.startswith("out/x.png: ")
    assert os.strerror(number) in line
    assert remedy in line


def test_a_cause_counts():
    def wrap() -> None:
        try:
            open_missing()
        except OSError as error:
            raise ValueError("no settings") from error

    assert explain(caught(wrap)) == "/nowhere/is.txt: No such file or directory"


@pytest.mark.parametrize(
    "text",
    [
        "unable to allocate shared memory(shm) for file </torch_1_2_3>: Success (0)",
        "unable to write to file </torch_1_2_3>: No space left on device (28)",
        "unable to open shared memory object </torch_1_2_3> in read-write mode: Permission "
        "denied (13)",
        "DataLoader worker (pid 4) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your shared memory "
        "limit.",
    ],
)
def test_workers_without_shared_memory(text):
    line = explain(RuntimeError(text))
    assert "data.workers=0" in line
    assert "--shm-size=8g" in line


def test_a_killed_worker():
    line = explain(in_a_worker(lambda: os.kill(os.getpid(), 9)))
    assert line.startswith("a data worker was killed")
    assert not is_terminated_worker(RuntimeError(line))
    assert is_terminated_worker(in_a_worker(lambda: os.kill(os.getpid(), 15)))


@pytest.mark.parametrize(
    "text",
    [
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer "
        "[127.0.0.1]:7386",
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:544] Read error [127.0.0.1]:1: Connection "
        "reset by peer",
    ],
)
def test_a_lost_process_of_a_training(text):
    error = RuntimeError(text)
    assert is_lost_peer(error)
    assert "--resume" in explain(error)


COMPILE = """
import torch
from network.failures import explain

try:
    torch.compile(torch.nn.Sequential(torch.nn.GELU(), torch.nn.Softmax(1)))(torch.ones(2, 3))
except Exception as error:
    print(explain(error))
"""


@pytest.mark.slow
def test_no_compiler(tmp_path):
    environment = os.environ | {"CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )
    assert "apt-get install g++" in run.stdout
    assert "compute.compile=True" in run.stdout
    assert run.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        RuntimeError("shape [2] is invalid"),
        OSError(errno.EBADF, "x"),
    ],
)
def test_mistakes_of_ours_are_not_explained(error):
    assert explain(error) is None


def test_why_a_file_is_not_written():
    error = OSError(errno.ENOSPC, "No space left on device")
    assert why_not_written(error) == (
        "cannot be written (No space left on device); free some space"
    )
