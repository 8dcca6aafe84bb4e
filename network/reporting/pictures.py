"""Pictures of single images: image, truth, prediction, errors, and heatmaps of each layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch

from network.config import Experiment
from network.datasets.files import (
    ignore_invalid,
    read_mask,
    read_own_mask,
    read_valid_image,
    to_photo,
)
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.datasets.thumbnails import mask_uri, photo_uri
from network.errors import InputError
from network.evaluation.figures import without_padding
from network.predictor import Predictor, load_network

HEATMAP_SIDE = 128
RIGHT, WRONG, IGNORED = (225, 228, 232), (200, 30, 80), (120, 126, 134)


@dataclass(frozen=True)
class Layers:
    """The pictures of one image.

    Attributes:
        uris: data URIs by layer: ``image``, ``prediction``, and with labels ``truth`` and
            ``errors``.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """

    uris: dict[str, str]
    height: int
    width: int


def draw_layers(
    sample: Sample, kind: str | None, mask: Path | None, info: DatasetInfo, side: int
) -> Layers:
    """Draw the layers of one image.

    Args:
        sample: the image.
        kind: kind of the labels; None if there are no labels.
        mask: predicted mask, labels or colors; None if it is missing, which is an error.
        info: description of the data set.
        side: largest side of the pictures, in pixels.

    Raises:
        InputError: a file is missing, or does not have the size of its image.
    """
    if mask is None:
        raise InputError(sample.image, "no prediction of this image", "run the test script again")
    pixels, valid = read_valid_image(sample.image, info)
    image, prediction = to_photo(pixels, valid, info), read_own_mask(mask, info)
    if prediction.shape != image.shape[:2]:
        raise InputError(
            mask,
            f"{prediction.shape} pixels, its image {sample.image} has {image.shape[:2]}",
            "run the test script again",
        )
    uris = {"image": photo_uri(image, side)}
    truth = ignore_invalid(read_mask(sample.masks[kind], info), valid, info) if kind else None
    if truth is not None:
        uris["truth"] = mask_uri(info.to_rgb(truth), side)
    prediction = without_padding(prediction, truth, sample, info)
    uris["prediction"] = mask_uri(info.to_rgb(prediction), side)
    if truth is not None:
        uris["errors"] = mask_uri(error_colors(truth, prediction, info), side)
    return Layers(uris, *prediction.shape)


def error_colors(truth: np.ndarray, prediction: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Color the pixels (h, w, 3) that are right, wrong or ignored.

    Args:
        truth: (h, w) labels.
        prediction: (h, w) labels.
        info: description of the data set.
    """
    colors = np.array([RIGHT, WRONG, IGNORED], np.uint8)
    return colors[np.where(truth == info.ignore_index, 2, prediction != truth)]


def draw_heatmaps(
    experiment: Experiment, checkpoint: Path, samples: Sequence[Sample], device: torch.device
) -> dict[str, list[list[str]]]:
    """Draw class heatmaps, which show how strongly each layer responds to each class.

    Values are a softmax over the classes, from 0 (dark) to 1.

    Args:
        experiment: the experiment.
        checkpoint: the checkpoint file.
        samples: the images.
        device: the device.

    Returns:
        Data URIs by sample, layer and class; empty for a model without heatmaps.
    """
    trained = load_network(experiment, checkpoint)
    normalization = trained.experiment.normalization
    predictor = Predictor(trained.model, experiment.dataset, normalization, device=device)
    found = {}
    for sample in samples:
        image, valid = read_valid_image(sample.image, experiment.dataset)
        layers = predictor.heatmaps(image, valid=valid)
        if not layers:
            return {}
        found[sample.name] = [[_heat_uri(one) for one in layer] for layer in layers]
    return found


def _heat_uri(heat: np.ndarray) -> str:
    colors = matplotlib.colormaps["viridis"](heat, bytes=True)[..., :3]
    return photo_uri(np.ascontiguousarray(colors), HEATMAP_SIDE)
