"""Order of the images: a permutation in each epoch, shared by the processes without overlap."""

import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.datasets.info import VAIHINGEN
from network.datasets.loaders import EpochSampler, SizeBatchSampler, evaluation_loader
from network.datasets.segmentation import Sample, find_samples
from tests.conftest import ROOT
from tests.scenes import make_dataset


@given(count=st.integers(1, 60), world_size=st.integers(1, 4), epoch=st.integers(0, 5))
def test_processes_share_an_epoch(count, world_size, epoch):
    seen = []
    for rank in range(world_size):
        sampler = EpochSampler(count, 42, rank, world_size)
        sampler.set_epoch(epoch)
        items = list(sampler)
        assert len(items) == len(sampler) == count // world_size
        assert {e for e, _ in items} <= {epoch}
        seen += [index for _, index in items]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(count))


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, seed)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


@given(
    sizes=st.lists(st.sampled_from([(8, 8), (8, 16), (16, 16)]), min_size=1, max_size=30),
    batch_size=st.integers(1, 5),
    world_size=st.integers(1, 4),
)
def test_batches_of_one_size_cover_every_image_once(sizes, batch_size, world_size):
    samples = [Sample(name=str(i), image=None, size=size) for i, size in enumerate(sizes)]
    shares = [
        list(SizeBatchSampler(samples, batch_size, rank, world_size)) for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1  # processes stay in step
    batches = [batch for share in shares for batch in share]
    for batch in batches:
        assert len(batch) <= batch_size
        assert len({sizes[max(index, ~index)] for index in batch}) == 1
    counted = Counter(index for batch in batches for index in batch if index >= 0)
    assert counted == Counter(range(len(sizes)))


def test_workers_do_not_wait_for_threads_of_the_parent(tmp_path):
    """OpenCV's threads, once started, are not there in a forked worker."""
    make_dataset(tmp_path, VAIHINGEN, {"val": 3})
    cv2.setNumThreads(4)
    for _ in range(20):
        cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1500, 1500))
    samples = find_samples(VAIHINGEN, tmp_path, "val")
    loader = evaluation_loader(VAIHINGEN, samples, 1, num_workers=2, timeout=60)
    for batch in loader:
        cv2.resize(batch["image"][0].permute(1, 2, 0).numpy(), (32, 32))
    assert len(loader) == 3


SHARE = """
import os, socket, sys, time
from multiprocessing import resource_sharer
from network.datasets.loaders import prepare_worker

if sys.argv[1] == "prepared":
    prepare_worker()
address = resource_sharer.DupFd(os.open(os.devnull, os.O_RDONLY))._id[0]
connection = socket.socket(socket.AF_UNIX)
connection.connect(address)
connection.close()  # as a main process that ends in the middle of a transfer
time.sleep(0.5)
"""


@pytest.mark.parametrize("state", ["prepared", "bare"])
def test_a_worker_is_silent_when_the_main_process_ends(state):
    """Python's thread that hands tensors over prints a traceback otherwise."""
    ended = subprocess.run(
        [sys.executable, "-c", SHARE, state], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0
    assert ("Traceback" in ended.stderr) == (state == "bare")
