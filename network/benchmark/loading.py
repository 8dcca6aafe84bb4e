"""Time of loading training samples, divided by the floor.

The floor is the time in which OpenCV only decodes the same files.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch

from network.benchmark.scenes import write_tiles
from network.benchmark.timing import interleave, median, ratio
from network.config import Experiment
from network.datasets.files import read_image
from network.datasets.preparation.patches import PatchSplit, split_tiles
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, SegmentationDataset, find_samples
from network.datasets.transforms import Normalize, Pair, TrainTransform
from network.errors import InputError

SAMPLES = 48


def benchmark_loading(experiment: Experiment, repeats: int = 16) -> dict:
    """Measure the samples per second of one worker and of the floor, and the ratio of their times.

    A sample is decoded (a mosaic from four files), scaled, cropped, flipped and normalized. The
    experiment's training images are used, or synthetic ones if there are none.

    Args:
        experiment: data set and augmentation.
        repeats: number of rounds.

    Raises:
        InputError: there are no training images, and the data set has no tiles to imitate.
    """
    first = experiment.dataset.folders(experiment.data.train)[0]
    if (experiment.root / first.images).is_dir():
        samples = find_samples(experiment.dataset, experiment.root, experiment.data.train)
        return _measure(experiment, samples, repeats) | {"images": str(experiment.root)}
    if experiment.dataset.tiles is None:
        raise InputError(experiment.root, "no training images", "give data.root=PATH")
    with TemporaryDirectory() as folder:
        samples = _synthetic_samples(experiment, Path(folder))
        return _measure(experiment, samples, repeats) | {"images": "synthetic"}


def _synthetic_samples(experiment: Experiment, root: Path) -> list[Sample]:
    info = experiment.dataset
    images, masks = write_tiles(root, info, count=2, size=2048)
    train = info.folders("train")[0]
    split = PatchSplit(
        info=info,
        img_dir=images,
        mask_dir=masks,
        output_img_dir=root / train.images,
        output_mask_dir=root / train.masks[0].folder,
        rgb_image=True,
    )
    split_tiles(split)
    return find_samples(info, root, "train")


class _Recorded(SegmentationDataset):
    """A dataset that remembers which samples it has read."""

    def __init__(
        self, samples: Sequence[Sample], info: DatasetInfo, transform: TrainTransform, seed: int
    ) -> None:
        super().__init__(samples, info, transform, seed)
        self.reads: list[int] = []

    def _read(self, index: int) -> Pair:
        self.reads.append(index)
        return super()._read(index)


def _measure(experiment: Experiment, samples: list[Sample], repeats: int) -> dict:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    transform = TrainTransform(experiment.data, experiment.dataset.ignore_index)
    dataset = _Recorded(samples, experiment.dataset, transform, experiment.seed)
    normalize = Normalize(*experiment.normalization)
    for index in range(SAMPLES):
        dataset[0, index]
    reads = dataset.reads.copy()  # the same in every round

    def load() -> None:
        for index in range(SAMPLES):
            dataset[0, index]

    def load_and_normalize() -> None:
        for index in range(SAMPLES):
            normalize(dataset[0, index]["image"])

    def decode() -> None:
        for index in reads:
            sample = samples[index]
            if experiment.dataset.is_rgb8:
                cv2.imread(str(sample.image), cv2.IMREAD_COLOR_RGB)
            else:
                read_image(sample.image, experiment.dataset)
            cv2.imread(str(next(iter(sample.masks.values()))), cv2.IMREAD_UNCHANGED)

    functions = {"decode": decode, "load": load, "normalized": load_and_normalize}
    times = interleave(functions, repeats, label="loading")
    return {
        "files_per_sample": len(reads) / SAMPLES,
        "samples_per_s": 1000 * SAMPLES / median(times["load"]),
        "samples_per_s_normalized": 1000 * SAMPLES / median(times["normalized"]),
        "floor_samples_per_s": 1000 * SAMPLES / median(times["decode"]),
        "ratio": ratio(times, "load", "decode"),
        "ratio_normalized": ratio(times, "normalized", "decode"),
    }
