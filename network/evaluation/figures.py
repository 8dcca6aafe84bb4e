"""Figures of results: panels of masks, reliability diagrams and overviews of points."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from network.datasets.files import read_image, read_mask, read_own_mask, read_photo
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, find_samples
from network.datasets.windows import padding_margin
from network.errors import InputError
from network.evaluation.calibration import expected_calibration_error
from network.evaluation.figure_fonts import save_figure
from network.points.labels import PointCounts


def write_panel(
    samples: Sequence[Sample],
    predictions: Path,
    info: DatasetInfo,
    output: Path,
    title: str,
    trained_on: Sequence[Path] | None = None,
) -> None:
    """Draw a panel with one row for each sample: image, truth and prediction.

    Ignored pixels of the truth are black, and so is the padding of a patch in the prediction. The
    colors of the classes are explained below the rows.

    Args:
        samples: the samples.
        predictions: folder of the predicted masks, labels or RGB, named like the samples.
        info: description of the data set.
        output: the PNG file to write.
        title: title of the panel.
        trained_on: other training masks of the samples, such as points, for an additional column.

    Raises:
        InputError: a prediction is missing or has another size.
    """
    columns = [
        "image",
        *(["truth"] if samples[0].masks else []),
        *(["trained on"] if trained_on else []),
        "prediction",
    ]
    size = 3 * len(columns), 3 * len(samples) + 0.9
    figure = Figure(figsize=size, layout="constrained")  # pyplot would ask for a display
    axes = figure.subplots(len(samples), len(columns), squeeze=False)
    others: Sequence[Path | None] = trained_on or [None] * len(samples)
    for row, sample, own in zip(axes, samples, others, strict=True):
        pictures = _row(sample, predictions, info, own)
        for axis, column, pixels in zip(row, columns, pictures, strict=True):
            axis.imshow(pixels, interpolation=None if column == "trained on" else "none")
            axis.set(xticks=[], yticks=[])
            if axis in axes[0]:
                axis.set_title(column)
        row[0].set_ylabel(sample.name, fontsize=7)
    figure.suptitle(title)
    colors = np.array(info.palette) / 255
    handles = [
        Patch(facecolor=color, edgecolor="gray", label=name)
        for name, color in zip(info.classes, colors, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    save_figure(figure, output)


def _row(
    sample: Sample, predictions: Path, info: DatasetInfo, trained_on: Path | None
) -> list[np.ndarray]:
    path = predictions / f"{sample.name}.png"
    if not path.is_file():
        raise InputError(path, "no prediction of this image", "run the test script first")
    labels = [read_mask(mask, info) for mask in list(sample.masks.values())[:1]]
    labels.append(read_own_mask(path, info))
    if labels[-1].shape != sample.size:
        raise InputError(path, f"{labels[-1].shape} pixels, its image has {sample.size}")
    labels[-1] = without_padding(labels[-1], labels[0] if sample.masks else None, sample, info)
    photo, colored = read_photo(sample.image, info), [info.to_rgb(mask) for mask in labels]
    points = [_marked(photo, read_mask(trained_on, info), info)] if trained_on else []
    return [photo, *colored[:-1], *points, colored[-1]]


def without_padding(
    prediction: np.ndarray, truth: np.ndarray | None, sample: Sample, info: DatasetInfo
) -> np.ndarray:
    """Take away the classes that a network gave to the padding of a patch, for a picture.

    The padding is no part of the image. Where it has a class in the truth, the prediction is kept,
    since it is scored. The mask files keep it everywhere.

    Args:
        prediction: (h, w) labels.
        truth: (h, w) labels; None if there are none.
        sample: the patch.
        info: description of the data set.

    Returns:
        (h, w) labels, the ignore label in the padding.
    """
    if not info.tiles:
        return prediction
    rows, columns = padding_margin(read_image(sample.image, info))
    is_padding = np.zeros(prediction.shape, bool)
    is_padding[:rows] = True
    is_padding[:, :columns] = True
    if truth is not None:
        is_padding &= truth == info.ignore_index
    return np.where(is_padding, np.uint8(info.ignore_index), prediction)


def write_reliability(calibration: np.ndarray, output: Path, title: str) -> None:
    """Draw a reliability diagram: accuracy against confidence, and the share of pixels by bin.

    Args:
        calibration: (3, bins): number of pixels, sum of their confidences, and number of correct
            pixels.
        output: the PNG file to write.
        title: title of the figure; the calibration error is added to it.
    """
    error = expected_calibration_error(torch.from_numpy(calibration))
    pixels, confidence, correct = calibration
    filled = pixels > 0
    width = 1 / len(pixels)
    centers = (np.arange(len(pixels)) + 0.5) * width
    figure = Figure(figsize=(4.4, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="gray", linewidth=1, label="confidence = accuracy")
    accuracy = correct[filled] / pixels[filled]
    upper.bar(centers[filled], accuracy, width, alpha=0.35, edgecolor="white")
    upper.plot(confidence[filled] / pixels[filled], accuracy, "o-", label="measured")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.legend(loc="upper left", frameon=False)
    upper.set_title(
        title if error is None else f"{title}\ncalibration error {100 * error:.2f} %", fontsize=10
    )
    lower.bar(centers, 100 * pixels / max(1, pixels.sum()), width, edgecolor="white")
    lower.set(xlabel="confidence", ylabel="% of pixels")
    save_figure(figure, output)


def write_points(
    info: DatasetInfo, root: Path, split: str, name: str, counts: PointCounts, output: Path
) -> None:
    """Draw four images with their points, and the number of points and pixels of each class.

    Args:
        info: description of the data set.
        root: folder of the data set.
        split: name of the split.
        name: name of the folder of points.
        counts: numbers of points and pixels by class.
        output: the PNG file to write.
    """
    samples = find_samples(info.relabeled(split, name), root, split)
    shown = _spread(samples, info)
    figure = Figure(figsize=(3.6 * len(shown), 6.6), layout="constrained")
    upper, lower = np.ravel(figure.subfigures(2, 1, squeeze=False, height_ratios=[3.6, 3]))
    colors = np.array(info.palette) / 255
    for axis, sample in zip(np.ravel(upper.subplots(1, len(shown))), shown, strict=True):
        photo = read_photo(sample.image, info)
        mask = _read_first_mask(sample, info)
        axis.imshow(_marked(photo, mask, info))
        axis.set(xticks=[], yticks=[])
        axis.set_title(sample.name, fontsize=7)
    axis = lower.subplots()
    places = np.arange(info.num_classes)
    bars = [("points", counts.points)]
    if counts.pixels != counts.points:
        bars.append(("labeled pixels", counts.pixels))
    if counts.dense:
        bars.append(("pixels of the masks", counts.dense))
    width = 0.8 / len(bars)
    for number, (label, heights) in enumerate(bars):
        shift = (number - (len(bars) - 1) / 2) * width
        axis.bar(
            places + shift,
            heights,
            width,
            label=label,
            color=colors,
            edgecolor="black",
            hatch=("", "//", "..")[number],
            linewidth=0.6,
        )
    axis.set_yscale("symlog", linthresh=1)
    axis.set_xticks(places, info.classes)
    axis.set(ylabel="number")
    # The legend is above the axes, since bars may be as high as the axes.
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(bars))
    figure.suptitle(f"{info.name}, {split}: {name}")
    save_figure(figure, output)


def _read_first_mask(sample: Sample, info: DatasetInfo) -> np.ndarray:
    return read_mask(next(iter(sample.masks.values())), info)


def _spread(samples: Sequence[Sample], info: DatasetInfo) -> list[Sample]:
    """Choose up to four evenly spaced samples; those without labels are replaced by the next."""

    @cache
    def has_labels(index: int) -> bool:
        return bool((_read_first_mask(samples[index], info) < info.num_classes).any())

    count, found = len(samples), []
    for i in range(min(4, count)):
        place = (2 * i + 1) * count // 8
        order = ((place + step) % count for step in range(count))
        found.append(next((n for n in order if n not in found and has_labels(n)), None))
    return [samples[n] for n in found if n is not None]


def _marked(photo: np.ndarray, mask: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Draw labeled pixels on a paler photo (h, w, 3); the fewer there are, the larger the dots."""
    gray = photo.mean(axis=2, keepdims=True)
    shown = (0.5 * gray + 0.5 * photo).astype(np.uint8)
    is_labeled = mask != info.ignore_index
    spacing = math.sqrt(mask.size / max(1, is_labeled.sum()))
    radius = round(min(max(mask.shape) / 150, spacing / 6))
    if radius > 1:
        shown[_dilated(is_labeled, radius + 2)] = 0
    for label, color in enumerate(info.palette):
        shown[_dilated(mask == label, radius)] = color
    return shown


def _dilated(mask: np.ndarray, radius: int) -> np.ndarray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0
