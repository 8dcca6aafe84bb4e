"""Figures of results: image, truth and prediction side by side; reliability diagrams."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from network.datasets.files import read_mask, read_photo, replacing
from network.datasets.info import DatasetInfo
from network.datasets.segmentation import Sample
from network.errors import InputError


def write_panel(
    samples: Sequence[Sample], predictions: Path, info: DatasetInfo, output: Path, title: str
) -> None:
    """One row a sample: image, truth (black where ignored), prediction, and the classes below.

    Args:
        predictions: folder of the predicted masks, labels or RGB, named like the samples.
        output: PNG to write.

    Raises:
        InputError: a prediction is missing or has another size.
    """
    columns = ["image", "truth", "prediction"] if samples[0].masks else ["image", "prediction"]
    size = 3 * len(columns), 3 * len(samples) + 0.9
    figure = Figure(figsize=size, layout="constrained")  # pyplot would ask for a display
    axes = figure.subplots(len(samples), len(columns), squeeze=False)
    for row, sample in zip(axes, samples, strict=True):
        for axis, column, pixels in zip(row, columns, _row(sample, predictions, info), strict=True):
            axis.imshow(pixels, interpolation="none")
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
    with replacing(output) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _row(sample: Sample, predictions: Path, info: DatasetInfo) -> list[np.ndarray]:
    path = predictions / f"{sample.name}.png"
    if not path.is_file():
        raise InputError(f"{path}: no prediction of this image; run the test script first")
    masks = [*list(sample.masks.values())[:1], path]
    labels = [read_mask(mask, info) for mask in masks]
    if labels[-1].shape != sample.size:
        raise InputError(f"{path}: {labels[-1].shape} pixels, its image has {sample.size}")
    return [read_photo(sample.image, info), *(info.to_rgb(mask) for mask in labels)]


def write_reliability(
    calibration: np.ndarray, error: float | None, output: Path, title: str
) -> None:
    """Accuracy against confidence, above the share of the pixels in each bin.

    Args:
        calibration: (3, bins): pixels, the sum of their confidences, how many are right.
        error: expected calibration error, 0 to 1.
        output: PNG to write.
    """
    pixels, confidence, correct = calibration
    filled = pixels > 0
    width = 1 / len(pixels)
    centers = (np.arange(len(pixels)) + 0.5) * width
    figure = Figure(figsize=(4.4, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="gray", linewidth=1, label="as sure as right")
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
    with replacing(output) as partial:
        figure.savefig(partial, format="png", dpi=110)
