"""Loaders: a resumable order for training, batches of one size for evaluation."""

import random
from collections.abc import Iterator, Sequence
from typing import TypedDict, Unpack

import cv2
from torch.utils.data import DataLoader, Dataset, Sampler

from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, SegmentationDataset


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) in an order that depends on seed and epoch alone; a share per process.

    The epoch travels with the index: workers that live on through the epochs would not learn
    of it otherwise.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world_size: int = 1):
        self.count, self.seed, self.rank, self.world_size = count, seed, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = list(range(self.count))
        random.Random(f"{self.seed}/{self.epoch}").shuffle(order)
        # The remainder of an uneven split is another one in each epoch.
        share = order[self.rank : len(self) * self.world_size : self.world_size]
        return iter([(self.epoch, index) for index in share])


class SizeBatchSampler(Sampler[list[int]]):
    """Batches of images of one size, each once over all processes.

    A process that would have a batch less gets one whose labels are all ignored (``~index``):
    processes stay in step, and no image counts twice.
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
    """How the workers of a loader run; the keys are those of torch's DataLoader."""

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
    **workers: Unpack[WorkerOptions],
) -> DataLoader:
    """Whole images of ``samples`` with all their labels, without augmentation."""
    dataset = SegmentationDataset(samples, info)
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
    """A loader whose workers, forked from a process that has used OpenCV, do not hang."""
    # The workers are forked: they share the cores, and would wait forever for the threads that
    # OpenCV has started in this process, which they do not inherit. So end those first.
    cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        batch_sampler=batch_sampler,
        drop_last=drop_last,
        **workers,
    )
