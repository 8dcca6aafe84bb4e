"""Crops of unlabeled images beside labeled ones, for self-training."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import albumentations
import numpy as np
import torch
from torch.utils.data import Dataset

from network.datasets.files import ignore_invalid, read_valid_image
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, is_read_in_windows, lazy_pair, to_tensor
from network.datasets.transforms import Pair, TrainTransform
from network.datasets.window_reader import WindowReader
from network.datasets.windows import Window
from network.rasters.pixels import network_values


class Crops(Protocol):
    """Unlabeled images of which crops are made."""

    def crop(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Make a crop at random: image (H, W, bands), and labels (H, W), ignored without data."""


class ImageCrops:
    """Crops of unlabeled images in folders, each image with the same probability.

    Args:
        samples: the images. Of large ones, only the pixels of the crop are read.
        info: description of the data set.
        transform: the augmentation of the crops, without mosaics.
    """

    def __init__(self, samples: Sequence[Sample], info: DatasetInfo, transform: TrainTransform):
        self.samples, self.info, self.transform = samples, info, transform
        self._reader = WindowReader(info)

    def crop(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Make a crop at random, see :class:`Crops`.

        Args:
            rng: source of all random decisions.
        """
        number = int(rng.integers(len(self.samples)))
        return self.transform(self._read, number, len(self.samples), rng)

    def _read(self, index: int) -> Pair:
        sample = self.samples[index]
        if is_read_in_windows(sample.size):
            return lazy_pair(self._reader, sample, self.info, partial(self._labels, sample))
        image, valid = read_valid_image(sample.image, self.info)
        labels = np.zeros(image.shape[:2], np.uint8)
        return network_values(image, valid), ignore_invalid(labels, valid, self.info)

    def _labels(self, sample: Sample, window: Window) -> np.ndarray:
        rows, columns = window
        labels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        return ignore_invalid(labels, self._reader.valid(sample, window), self.info)


class WithUnlabeled(Dataset):
    """A training data set whose items also have a crop of an unlabeled image.

    An item is that of the labeled data set, with these tensors more: ``unlabeled`` (bands, H, W),
    the crop after turns, flips and scaling; ``strong`` (bands, H, W), the same crop with other
    brightness, contrast, colors and sharpness; and ``known`` (H, W) bool, true where the image has
    data and belongs to the split. The crop depends only on the seed and the index ``(epoch,
    index)``.

    Args:
        labeled: the data set of labeled crops.
        unlabeled: the unlabeled images.
        ignore_index: label of the pixels of their crops that are not known.
        seed: seed of the draws.
    """

    def __init__(self, labeled: Dataset, unlabeled: Crops, ignore_index: int, seed: int):
        self.labeled, self.unlabeled = labeled, unlabeled
        self.ignore_index, self.seed = ignore_index, seed

    def __getitem__(self, item: tuple[int, int]) -> dict:
        rng = np.random.default_rng([self.seed, *item, 3])
        image, labels = self.unlabeled.crop(rng)
        return self.labeled[item] | {
            "unlabeled": to_tensor(image),
            "strong": to_tensor(strong_view(image, rng)),
            "known": torch.from_numpy(labels != self.ignore_index),
        }


def strong_view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, colors and sharpness of a crop, but no place.

    Source: the strong views of FixMatch (Sohn et al., NeurIPS 2020) and, for segmentation, of
    UniMatch (Yang et al., CVPR 2023). Images of more than 8 bits only get another contrast and
    blur, since a number added to all bands would be too much for some of them.

    Args:
        image: (h, w, bands)
        rng: source of randomness.
    """
    is_photo = image.dtype == np.uint8
    transforms = [
        albumentations.RandomBrightnessContrast(
            brightness_limit=0.3 if is_photo else 0.0, contrast_limit=0.4, p=0.8
        ),
        albumentations.GaussianBlur(blur_limit=(3, 7), p=0.5),
    ]
    if is_photo and image.shape[2] == 3:
        colors = albumentations.HueSaturationValue(10, 40, 0, p=0.8)
        transforms += [colors, albumentations.ToGray(p=0.1)]
    for transform in transforms:
        transform.set_random_seed(int(rng.integers(2**31)))
        image = transform(image=image)["image"]
    return np.ascontiguousarray(image)
