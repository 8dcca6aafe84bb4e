"""Prediction and counts of images of any size: windows that the network sees one after the other.

A mask is written at once, so a byte for each pixel is kept in memory, but never the pixels or the
scores of the whole image.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from network.datasets.files import write_mask
from network.datasets.loaders import evaluation_loader
from network.datasets.scene_windows import evaluation_windows
from network.datasets.segmentation import Sample
from network.datasets.window_reader import WindowReader
from network.datasets.windows import Window, separate_windows, with_halo
from network.evaluation.boundary import Part
from network.evaluation.calibration import Calibration
from network.evaluation.records import Counter, Counts
from network.prediction import ImagePredictor, best_classes
from network.progress import progress_bar

SIDE = 2048
"""Side of the parts in which a mask is counted, in pixels."""

ReadLabels = Callable[[Window], np.ndarray]
"""A function that reads a window of labels (h, w) uint8."""


def predict_large(
    predictor: ImagePredictor,
    sample: Sample,
    output: Path,
    counter: Counter,
    *,
    window: int,
    rgb: bool,
    workers: int,
) -> dict[str, Counts]:
    """Predict an image in windows, write its mask and count it.

    Args:
        predictor: the predictor, with ``patch=None``; a step has ``batch_size`` windows.
        sample: the image.
        output: the mask to write, a PNG.
        counter: counter of the pixels.
        window: largest side of the windows, in pixels.
        rgb: whether to write colors instead of labels.
        workers: number of processes that read the windows.

    Returns:
        The counts by label kind. They are those of the whole mask.

    Raises:
        InputError: the image or a mask is damaged, or the disk refuses to write.
    """
    info, size = predictor.info, sample.size
    labels = np.zeros(size, np.uint8)
    valid = np.ones(size, bool)
    calibrations = {kind: Calibration() for kind in sample.masks}
    windows = evaluation_windows([sample], window)
    loader = evaluation_loader(info, windows, predictor.batch_size, num_workers=workers)
    views = len(predictor.views)
    bar = progress_bar(
        total=len(windows), desc=f"{sample.name} ({views} views)", unit="window", leave=False
    )
    with bar, torch.inference_mode():
        for batch in loader:
            logits = None
            if batch["valid"].any():
                logits = predictor.logits(batch["image"])
            for number in range(len(batch["image"])):
                part = windows[batch["index"][number]].part
                assert part is not None
                valid[part.core] = batch["valid"][number][part.inside].numpy()
                if logits is None:
                    continue
                best = best_classes(logits[number][:, *part.inside])
                labels[part.core] = best.labels
                for kind, masks in batch["labels"].items():
                    truth = masks[number][part.inside]
                    confidence, found = map(torch.from_numpy, (best.confidence, best.labels))
                    calibrations[kind].update(confidence, found == truth, truth < info.num_classes)
            bar.update(len(batch["image"]))
    write_mask(output, labels, info, rgb=rgb, valid=None if valid.all() else valid)
    del valid
    reader = WindowReader(info)
    return {
        kind: replace(
            count_in_parts(
                counter,
                size,
                labels.__getitem__,
                partial(reader.labels, sample, path),
            ),
            calibration=calibrations[kind].counts.numpy(),
        )
        for kind, path in sample.masks.items()
    }


def count_in_parts(
    counter: Counter, size: tuple[int, int], predicted: ReadLabels, truth: ReadLabels
) -> Counts:
    """Count a mask part by part, without padding and without confidences.

    The counts are those of :meth:`Counter.count` for the whole mask.

    Args:
        counter: the counter.
        size: height and width of the mask.
        predicted: reads labels 0 to k-1 of the prediction.
        truth: reads labels of the truth.
    """
    counts, reach = Counts.none(counter.info.num_classes), counter.reach(size)
    for core in separate_windows(*size, SIDE, keep_rest=True):
        window = with_halo(core, reach, size)
        part = Part(window, core, size)
        counts += counter.count_part(None, predicted(window), truth(window), part)
    return counts
