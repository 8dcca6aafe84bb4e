"""Time of loading training samples, divided by the floor; also with decoded patches in memory.

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
from network.datasets.files import list_images, read_image
from network.datasets.known_files import KnownFiles
from network.datasets.patch_cache import PatchCache
from network.datasets.preparation.patches import PatchSplit, split_tiles
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, SegmentationDataset, files_of, find_samples
from network.datasets.transforms import Normalize, Pair, TrainTransform
from network.errors import InputError
from network.rasters.reader import SAME_READS

SAMPLES = 48

FORMATS: dict[str, tuple[int, ...]] = {
    ".tif": (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW),
    ".png": (),
    ".jpg": (cv2.IMWRITE_JPEG_QUALITY, 90),
}
"""Formats of synthetic patches, and how OpenCV writes them."""


def benchmark_loading(experiment: Experiment, repeats: int = 16) -> list[dict]:
    """Measure the samples per second of one worker and of the floor, and the ratio of their times.

    A sample is decoded (a mosaic from four files), scaled, cropped, flipped and normalized. The
    experiment's training images are used. If there are none, synthetic ones are, with a row for
    each format.

    Args:
        experiment: data set and augmentation.
        repeats: number of rounds.

    Raises:
        InputError: there are no training images, and the data set has no tiles to imitate.
    """
    first = experiment.dataset.folders(experiment.data.train)[0]
    if (experiment.root / first.images).is_dir():
        root = experiment.root
        return [{"images": str(root), **_measure(experiment, root, repeats)}]
    if experiment.dataset.tiles is None:
        raise InputError(experiment.root, "no training images", "give data.root=PATH")
    rows = []
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _write_patches(experiment, root)
        for suffix, options in FORMATS.items():
            _encode_again(root / first.images, suffix, options)
            rows.append({"images": f"synthetic {suffix}", **_measure(experiment, root, repeats)})
    return rows


def _encode_again(folder: Path, suffix: str, options: Sequence[int]) -> None:
    """Write the images of a folder in another format, in place of the old files."""
    for path in list_images(folder).values():
        image = cv2.imread(str(path))
        assert image is not None  # it was written just now
        path.unlink()
        path.with_suffix(suffix).write_bytes(cv2.imencode(suffix, image, options)[1].tobytes())


def _write_patches(experiment: Experiment, root: Path) -> None:
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


def _measure(experiment: Experiment, root: Path, repeats: int) -> dict:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    info, seed = experiment.dataset, experiment.seed
    known = KnownFiles(info, root)
    samples = find_samples(info, root, experiment.data.train, known)
    transform = TrainTransform(experiment.data, info.ignore_index)
    dataset = _Recorded(samples, info, transform, seed)
    files = [files_of(sample, known, training=True) for sample in samples]
    cache = PatchCache(files, info, None, experiment.data.cache_gb)
    cached = SegmentationDataset(samples, info, transform, seed, cache=cache.part(0))
    normalize = Normalize(*experiment.normalization)
    for index in range(SAMPLES):
        dataset[0, index]
    reads = dataset.reads.copy()  # the same in every round

    def load() -> None:
        for index in range(SAMPLES):
            dataset[0, index]

    def load_cached() -> None:
        for index in range(SAMPLES):
            cached[0, index]

    def load_and_normalize() -> None:
        for index in range(SAMPLES):
            normalize(dataset[0, index]["image"])

    def decode() -> None:
        for index in reads:
            sample = samples[index]
            if info.is_rgb8:
                cv2.imread(str(sample.image), cv2.IMREAD_COLOR_RGB)
            else:
                read_image(sample.image, info)
            cv2.imread(str(next(iter(sample.masks.values()))), cv2.IMREAD_UNCHANGED)

    functions = {
        "decode": decode,
        "load": load,
        "normalized": load_and_normalize,
        "cached": load_cached,
    }
    # In round SAME_READS, the reader compares pixels of OpenCV with those of GDAL; from then on
    # OpenCV decodes.
    times = interleave(functions, repeats, warmup=SAME_READS + 1, label="loading")
    return {
        "files_per_sample": len(reads) / SAMPLES,
        "samples_per_s": 1000 * SAMPLES / median(times["load"]),
        "samples_per_s_normalized": 1000 * SAMPLES / median(times["normalized"]),
        "floor_samples_per_s": 1000 * SAMPLES / median(times["decode"]),
        "ratio": ratio(times, "load", "decode"),
        "ratio_normalized": ratio(times, "normalized", "decode"),
        "ratio_cached": ratio(times, "cached", "decode"),
        "gain_of_the_cache": ratio(times, "load", "cached"),
    }
