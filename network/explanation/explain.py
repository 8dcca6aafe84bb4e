"""The look inside a trained network over a split, which collects what figures and tables show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network.compute import find_device
from network.config import Experiment
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, evenly_spread
from network.errors import InputError, nearest
from network.evaluation.shown_windows import shown_kind
from network.explanation.borders import BorderErrors
from network.explanation.embeddings import (
    LayerEmbeddings,
    Projection,
    project_pca,
    project_tsne,
)
from network.explanation.looks import Look, look_at
from network.extras import require_extra
from network.predictor import Predictor, load_network
from network.progress import progress_bar
from network.writing import file_hash

IMAGES, COUNT, BORDER = 2, 100, 5
"""Defaults of :func:`explain`."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The findings of a look inside a network, from which figures and tables are made.

    Attributes:
        name: name of the experiment.
        info: description of the data set.
        checkpoint: path of the checkpoint.
        checkpoint_sha256: digest of the checkpoint.
        split: name of the split.
        looks: the images to draw.
        count: number of images that embeddings and errors are taken from.
        images_in_split: number of images of the split.
        are_windows: whether some of the images are windows of large ones.
        layers: class embeddings of each layer; empty if the network has none.
        projections: PCA and t-SNE of each layer.
        present: (n, k) bool, whether a class is in the truth of an image.
        errors: counts of wrong pixels; None if the split has no labels.
    """

    name: str
    info: DatasetInfo
    checkpoint: Path
    checkpoint_sha256: str
    split: str
    looks: list[Look]
    count: int
    images_in_split: int
    are_windows: bool
    layers: list[LayerEmbeddings]
    projections: list[tuple[Projection, Projection]]
    present: np.ndarray
    errors: BorderErrors | None


def explain(
    experiment: Experiment,
    samples: Sequence[Sample],
    *,
    checkpoint: Path,
    split: str,
    images: Sequence[str] | int = IMAGES,
    count: int = COUNT,
    border: int = BORDER,
    device: str = "auto",
) -> Findings:
    """Look inside a trained network.

    The network sees each image as a whole, without test-time augmentation. Of scenes, and of images
    with a side of more than 1024 pixels, it sees one window with many labels.

    Args:
        experiment: the experiment.
        samples: the images of the split.
        checkpoint: the checkpoint file.
        split: name of the split.
        images: names of the images to draw, or how many, evenly spread over the split.
        count: number of images that embeddings and errors are taken from, evenly spread over the
            split; all of a smaller split.
        border: largest distance of a pixel that is near a border, in pixels.
        device: name of the device, see :func:`network.compute.find_device`.

    Raises:
        InputError: a value is out of range, scikit-learn is missing, or data or checkpoint cannot
            be used.
    """
    for name, value in (("count", count), ("border", border)):
        if value < 1:
            raise InputError(f"{name}={value}", "must be at least 1")
    drawn, measured = _chosen(samples, images), evenly_spread(samples, count)
    info = experiment.dataset
    trained = load_network(experiment, checkpoint)
    predictor = Predictor.of(trained.experiment, trained.model, device=find_device(device))
    kind = shown_kind(samples[0].masks)
    errors = BorderErrors(info.num_classes, border)
    kept: dict[str, Look] = {}
    embeddings, present, are_windows = [], [], False
    others = [sample for sample in drawn if sample not in measured]
    for number, sample in enumerate(
        progress_bar([*measured, *others], desc="Explaining", unit="image")
    ):
        look = look_at(predictor, sample, kind, info)
        if look.embeddings and not number:  # before the work on all other images
            require_extra("explain", "t-SNE of class embeddings")
        if sample in drawn:
            kept[sample.name] = look
        if number < len(measured):
            are_windows |= look.is_window
            embeddings.append(look.embeddings)
            present.append(look.present(info.num_classes))
            if look.truth is not None:
                errors.update(look.prediction, look.truth)
    has_layers = bool(look.heatmaps)
    layers = [
        LayerEmbeddings.of(f"layer {number}" if has_layers else "class vectors", list(of_images))
        for number, of_images in enumerate(zip(*embeddings, strict=True), 1)
    ]
    bar = progress_bar(layers, desc="t-SNE", unit="layer", leave=False)
    return Findings(
        name=experiment.name,
        info=info,
        checkpoint=checkpoint,
        checkpoint_sha256=file_hash(checkpoint),
        split=split,
        looks=[kept[sample.name] for sample in drawn],
        count=len(measured),
        images_in_split=len(samples),
        are_windows=are_windows,
        layers=layers,
        projections=[(project_pca(one.embeddings), project_tsne(one.embeddings)) for one in bar],
        present=np.stack(present),
        errors=None if kind is None else errors,
    )


def _chosen(samples: Sequence[Sample], images: Sequence[str] | int) -> list[Sample]:
    """Choose the images to draw, by their names or by their number.

    A single word such as ``"4"`` is a number, unless an image has this name.
    """
    by_name = {sample.name: sample for sample in samples}
    if not isinstance(images, int) and len(images) == 1 and images[0] not in by_name:
        images = int(images[0]) if images[0].isdecimal() else images
    if isinstance(images, int):
        if images < 0:
            raise InputError(f"images={images}", "must be at least 0")
        return evenly_spread(samples, images)
    for name in images:
        if name not in by_name:
            problem = f"the split has no such image{nearest(name, by_name)}"
            raise InputError(f"images={name}", problem, "give names of images, or a number")
    return [by_name[name] for name in dict.fromkeys(images)]
