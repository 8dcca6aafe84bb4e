"""Images with which an exported file is compared with its network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from network.datasets.files import fitting_size, list_images
from network.datasets.schema import SPLITS, DatasetInfo
from network.datasets.segmentation import Sample, find_samples, to_tensor
from network.datasets.window_reader import WindowReader
from network.errors import InputError
from network.export.source import Source
from network.rasters.pixels import is_measured, network_values

_MOST = 4
_MOST_OF_RANGES = 32
_SEED = 0


@dataclass(frozen=True)
class Images:
    """A source of images.

    Attributes:
        words: what they are.
        are_real: whether they are images of a data set.
        count: number of different images that are drawn.
        draw: function from batch, height and width to pixel values (b, bands, H, W) float32.
    """

    words: str
    are_real: bool
    count: int
    draw: Callable[[int, int, int], Tensor]


def find_sample_images(source: Source) -> Images:
    """Find images of the data set of a network; if there are none, make noise.

    Args:
        source: the network. The splits of its data set are searched in the order val, test, train.
    """
    info, root = source.data_set, source.root
    missing = "the splits of its data set are unknown"
    errors: list[str] = []
    if info is not None and root is not None:
        for split in (*SPLITS[1:], SPLITS[0]):
            if split not in info.splits:
                continue
            try:
                samples = find_samples(info, root, split)
            except InputError as error:
                errors.append(f"{error.where}: {error.problem}")
                continue
            samples = samples[:: -(-len(samples) // _MOST)]
            words = f"parts of images of {info.name}, {split}"
            return Images(words, True, len(samples), _Crops(info, samples))
    return Images(f"noise, since {(errors or [missing])[0]}", False, _MOST, _Noise(source))


def find_calibration_images(source: Source, folder: Path | None = None) -> Images:
    """Find images that show the range of values in each layer.

    Args:
        source: the network.
        folder: folder of images; by default, they are those of the training split.

    Raises:
        InputError: there are no images, or they do not fit the network.
    """
    if folder is not None:
        info = source.card.info
        samples: Sequence[Sample] = [
            Sample(name=name, image=path, size=fitting_size(path, info))
            for name, path in list_images(folder).items()
        ]
        words = f"images of {folder.name}"
    elif (
        source.data_set is not None
        and source.root is not None
        and SPLITS[0] in source.data_set.splits
    ):
        info, words = source.data_set, f"images of {source.data_set.name}, train"
        samples = find_samples(info, source.root, "train")
    else:
        raise InputError(
            "calibrate", "the training images are unknown", "give calibrate=FOLDER of such images"
        )
    samples = samples[:: -(-len(samples) // _MOST_OF_RANGES)]
    words = f"parts of {len(samples)} {words}"
    return Images(words, True, len(samples), _Crops(info, samples))


class _Crops:
    """Parts around the middle of images, one image after the other."""

    def __init__(self, info: DatasetInfo, samples: Sequence[Sample]):
        self._samples, self._reader = samples, WindowReader(info)

    def __call__(self, batch: int, height: int, width: int) -> Tensor:
        return torch.stack([self._crop(number, height, width) for number in range(batch)])

    def _crop(self, number: int, height: int, width: int) -> Tensor:
        sample = self._samples[number % len(self._samples)]
        sides = zip(sample.size, (height, width), strict=True)
        rows, columns = (
            slice(start, min(start + side, length))
            for length, side in sides
            for start in [max(0, (length - side) // 2)]
        )
        values = network_values(*self._reader.image(sample, (rows, columns)))
        missing = height - values.shape[0], width - values.shape[1]
        # Where an image is smaller, it is repeated like tiles.
        values = np.pad(values, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="wrap")
        return to_tensor(values).float()


class _Noise:
    """Noise with the mean and the deviation of each band, which is the same at each call."""

    def __init__(self, source: Source):
        self._card = source.card

    def __call__(self, batch: int, height: int, width: int) -> Tensor:
        card = self._card
        rng = np.random.default_rng(_SEED)
        values = rng.normal(card.mean, card.std, (batch, height, width, card.bands))
        if not is_measured(card.info.dtype):
            values = values.round().clip(0, 2**card.bits - 1)
        return torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))
