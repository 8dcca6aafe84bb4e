"""Crops of unlabeled images beside labeled ones, for self-training."""

from collections.abc import Sequence

import albumentations
import numpy as np
import torch
from torch.utils.data import Dataset

from network.datasets.files import ignore_invalid, read_valid_image
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, to_tensor
from network.datasets.transforms import Pair, TrainTransform
from network.rasters.pixels import network_values


class WithUnlabeled(Dataset):
    """A training data set whose items also have a crop of an unlabeled image.

    An item is that of the labeled data set, with these tensors more: ``unlabeled`` (bands, H, W),
    the crop after turns, flips and scaling; ``strong`` (bands, H, W), the same crop with other
    brightness, contrast, colors and sharpness; and ``known`` (H, W) bool, true where the image has
    data. The crop depends only on the seed and the index ``(epoch, index)``.

    Args:
        labeled: the data set of labeled crops.
        samples: the unlabeled images.
        info: description of the data set.
        transform: the augmentation of the crops.
        seed: seed of the draws.
    """

    def __init__(
        self,
        labeled: Dataset,
        samples: Sequence[Sample],
        info: DatasetInfo,
        transform: TrainTransform,
        seed: int,
    ):
        self.labeled, self.samples, self.info = labeled, samples, info
        self.transform, self.seed = transform, seed

    def __getitem__(self, item: tuple[int, int]) -> dict:
        rng = np.random.default_rng([self.seed, *item, 3])
        number = int(rng.integers(len(self.samples)))
        image, labels = self.transform(self._read, number, len(self.samples), rng)
        return self.labeled[item] | {
            "unlabeled": to_tensor(image),
            "strong": to_tensor(strong_view(image, rng)),
            "known": torch.from_numpy(labels != self.info.ignore_index),
        }

    def _read(self, index: int) -> Pair:
        image, valid = read_valid_image(self.samples[index].image, self.info)
        labels = np.zeros(image.shape[:2], np.uint8)
        return network_values(image, valid), ignore_invalid(labels, valid, self.info)


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
