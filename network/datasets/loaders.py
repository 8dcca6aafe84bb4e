"""Data loaders with a resumable order for training, and batches of one size for evaluation."""

import random
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TypedDict, Unpack

import cv2
from torch.utils.data import DataLoader, Dataset, Sampler

from network.datasets.patch_cache import CachePart
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, SegmentationDataset


class EpochSampler(Sampler[tuple[int, int]]):
    """Sampler of (epoch, index) in an order that depends only on the seed and the epoch.

    Each process gets a share of the order. The epoch is part of an item, since workers that stay
    alive between epochs would not know it otherwise.

    Args:
        count: number of images.
        seed: seed of the order.
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world_size: int = 1):
        self.count, self.seed, self.rank, self.world_size = count, seed, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = list(range(self.count))
        random.Random(f"{self.seed}/{self.epoch}").shuffle(order)
        # If the images do not divide evenly, each epoch leaves out other ones.
        share = order[self.rank : len(self) * self.world_size : self.world_size]
        return iter([(self.epoch, index) for index in share])


class SizeBatchSampler(Sampler[list[int]]):
    """Sampler of batches whose images have one size; each image comes once over all processes.

    All processes need the same number of batches. A process with one batch too few gets an extra
    batch whose labels are all ignored (``~index``), so no image counts twice.

    Args:
        samples: the images.
        batch_size: the largest number of images in a batch.
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    def __init__(
        self, samples: Sequence[Sample], batch_size: int, rank: int = 0, world_size: int = 1
    ):
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, sample in enumerate(samples):
            by_size.setdefault(sample.size, []).append(index)
        batches = [
            indices[start : start + batch_size]
            for indices in by_size.values()
            for start in range(0, len(indices), batch_size)
        ]
        batches += [[~index for index in batches[0]]] * (-len(batches) % world_size)
        self.batches = batches[rank::world_size]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


class WorkerOptions(TypedDict, total=False):
    """Options of a loader's workers, named as in torch's DataLoader."""

    num_workers: int
    persistent_workers: bool
    pin_memory: bool
    timeout: float


def evaluation_loader(
    info: DatasetInfo,
    samples: Sequence[Sample],
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    cache: CachePart | None = None,
    **workers: Unpack[WorkerOptions],
) -> DataLoader:
    """Make a loader of whole images with all their labels, without augmentation.

    Args:
        info: description of the data set.
        samples: the images and their masks.
        batch_size: the largest number of images in a batch.
        rank: number of this process, from 0.
        world_size: number of processes.
        cache: decoded patches, in the order of the samples.
        workers: options of the workers.
    """
    dataset = SegmentationDataset(samples, info, cache=cache)
    sampler = SizeBatchSampler(samples, batch_size, rank, world_size)
    return make_loader(dataset, batch_sampler=sampler, **workers)


def make_loader(
    dataset: Dataset,
    *,
    batch_size: int = 1,
    sampler: Sampler | None = None,
    batch_sampler: Sampler[list[int]] | None = None,
    drop_last: bool = False,
    **workers: Unpack[WorkerOptions],
) -> DataLoader:
    """Make a loader whose workers do not hang, even if this process has used OpenCV before.

    The arguments are those of torch's DataLoader.
    """
    # A forked worker does not inherit the threads that OpenCV has started in this process, and
    # would wait for them forever. So end them first.
    cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        batch_sampler=batch_sampler,
        drop_last=drop_last,
        worker_init_fn=prepare_worker,
        **workers,
    )


def prepare_worker(*_: object) -> None:
    """Let a worker say nothing when the main process ends in the middle of a transfer.

    A thread of Python's own (``multiprocessing.resource_sharer``) hands the memory of tensors over.
    It would print the traceback of a connection that is broken.
    """
    report = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, EOFError | ConnectionError):
            report(kind, error, trace)

    sys.excepthook = hook
