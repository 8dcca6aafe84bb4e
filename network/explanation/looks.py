"""A look at one image: what a trained network makes of it, layer by layer."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from network.datasets.cut_windows import SIDE, cut_window, labeled_window
from network.datasets.files import ignore_invalid, read_mask, read_photo, read_valid_image
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.evaluation.figures import without_padding
from network.prediction import check_numbers
from network.predictor import Predictor, heatmaps_of


@dataclass(frozen=True)
class Look:
    """The prediction of a network for an image, or for a window of a large one, layer by layer.

    Notation: k classes, d channels of a class embedding, (h, w) the size of what is shown.

    Attributes:
        name: name of the image.
        is_window: whether only a window of it is shown.
        photo: (h, w, 3) uint8
        truth: (h, w) labels; None if there are none.
        prediction: (h, w) labels, the most probable class of each pixel.
        shown: the prediction without classes in the padding of a patch, for a picture.
        heatmaps: of each layer (k, h', w'), softmax over the classes; empty if the network has
            none.
        pooling: of each layer (k, h', w'), the weights of the pixels that each class embedding is
            refined from; empty if the network does not tell.
        embeddings: of each layer (k, d); empty if the network has none.
    """

    name: str
    is_window: bool
    photo: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray
    shown: np.ndarray
    heatmaps: list[np.ndarray]
    pooling: list[np.ndarray]
    embeddings: list[np.ndarray]

    def present(self, num_classes: int) -> np.ndarray:
        """Tell which classes are in the truth, (k,) bool; all of them if there is no truth."""
        if self.truth is None:
            return np.ones(num_classes, bool)
        return np.isin(np.arange(num_classes), self.truth)


def look_at(predictor: Predictor, sample: Sample, kind: str | None, info: DatasetInfo) -> Look:
    """Segment an image as a whole, and keep what the network tells about it.

    Scenes, and images with a side of more than 1024 pixels, are cut to one window with many labels,
    since the network sees all pixels at once.

    Args:
        predictor: the predictor.
        sample: the image.
        kind: kind of the labels; None if there are none.
        info: description of the data set.

    Raises:
        InputError: a file is damaged.
    """
    name, is_window = sample.name, sample.scene is not None or max(sample.size) > SIDE
    with TemporaryDirectory() as folder:
        if is_window:
            window = labeled_window(sample, info)
            sample, info = cut_window(sample, window, info, Path(folder), "window"), info.decoded
        image, valid = read_valid_image(sample.image, info)
        truth = read_mask(sample.masks[kind], info) if kind else None
        if truth is not None:
            truth = ignore_invalid(truth, valid, info)
        output = predictor.explain(image, valid=valid)
        check_numbers(output.logits[0].amax(dim=0).float().cpu().numpy())
        prediction = output.logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
        shown = without_padding(prediction, truth, sample, info)
        if valid is not None:
            shown = np.where(valid, shown, np.uint8(info.ignore_index))
        photo = read_photo(sample.image, info)
    pooling, embeddings = (
        [layer[0].float().cpu().numpy() for layer in layers or []]
        for layers in (output.pooling, output.class_embeddings)
    )
    return Look(
        name=name,
        is_window=is_window,
        photo=photo,
        truth=truth,
        prediction=prediction,
        shown=shown,
        heatmaps=heatmaps_of(output),
        pooling=pooling,
        embeddings=embeddings,
    )


def pooled_shares(weights: np.ndarray, truth: np.ndarray) -> list[float | None]:
    """Compute how much of the pooled weight of each class lies on pixels of this class.

    Args:
        weights: (k, h', w') weights of the pixels of a feature map.
        truth: (h, w) labels; pixels with other labels than 0 to k-1 do not count.

    Returns:
        For each class a share from 0 to 1; None if the truth lacks the class, or if no counted
        pixel has weight.
    """
    height, width = truth.shape
    _, rows, columns = weights.shape
    factor = max(-(-height // rows), -(-width // columns))
    fine = weights.repeat(factor, axis=1).repeat(factor, axis=2)[:, :height, :width]
    counted = truth < len(weights)
    shares: list[float | None] = []
    for label, weight in enumerate(fine):
        own, total = truth == label, weight[counted].sum(dtype=np.float64)
        pooled = weight[own].sum(dtype=np.float64)
        shares.append(float(pooled / total) if own.any() and total > 0 else None)
    return shares
