"""From the counts of images to everything that is reported of a test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from network.datasets.schema import DatasetInfo
from network.evaluation import bootstrap
from network.evaluation.boundary import BoundaryCounts
from network.evaluation.calibration import expected_calibration_error
from network.evaluation.metrics import Scores, compute_scores
from network.evaluation.records import ImageRecord

WORST = 10


@dataclass(frozen=True)
class Summary:
    """Of one kind of labels.

    Attributes:
        scores: as the labels say, on padding too.
        padding_is_labeled: whether the labels give the padding a class.
        other_padding: then without the padding, else with all of it as the first class, as
            published rows have it; None where there is no padding.
        boundary_iou, boundary_f1: by class; None where there is nothing to score, as on eroded
            masks, which ignore the boundaries.
        calibration_error: 0 to 1.
        calibration: (3, bins), see :class:`Calibration`.
        intervals: 95 % bootstrap intervals of mIoU and OA over whole tiles, where images are
            patches of them, else over images; empty below two of these.
        worst: the images with the lowest mIoU over the classes that they have, lowest first.
    """

    scores: Scores
    padding_is_labeled: bool
    other_padding: Scores | None
    boundary_iou: tuple[float | None, ...]
    boundary_f1: tuple[float | None, ...]
    calibration_error: float | None
    calibration: np.ndarray
    intervals: dict[str, tuple[float, float]]
    worst: list[tuple[str, float]]


def summarize(records: Sequence[ImageRecord], kind: str, info: DatasetInfo) -> Summary:
    """Pool the counts of ``records`` for one kind of labels."""
    names = [record.name for record in records]
    counts = [record.counts[kind] for record in records]
    without = np.stack([c.matrix for c in counts])  # (n, k, k)
    labeled_padding = np.stack([c.padding_matrix for c in counts])
    chosen = without + labeled_padding
    other, padding_is_labeled = without.copy(), bool(labeled_padding.any())
    if not padding_is_labeled:
        other[:, 0] += np.stack([c.padding for c in counts])
    boundary = BoundaryCounts(info.num_classes, info.ignore_index, 1, 1)
    if kind != "eroded":
        boundary.counts = np.sum([c.boundary for c in counts], axis=0)
    calibration = np.sum([c.calibration for c in counts], axis=0)
    has_padding = any(c.padding.any() for c in counts)
    return Summary(
        scores=compute_scores(chosen.sum(0), info),
        padding_is_labeled=padding_is_labeled,
        other_padding=compute_scores(other.sum(0), info) if has_padding else None,
        boundary_iou=tuple(boundary.iou()),
        boundary_f1=tuple(boundary.f1()),
        calibration_error=expected_calibration_error(torch.from_numpy(calibration)),
        calibration=calibration,
        intervals=_intervals(names, chosen, info),
        worst=_worst(names, chosen, info),
    )


def _intervals(
    names: Sequence[str], matrices: np.ndarray, info: DatasetInfo
) -> dict[str, tuple[float, float]]:
    units = bootstrap.units(names, matrices, is_cut=info.patched)
    scores = {"mIoU": bootstrap.mean_iou(info.scored), "OA": bootstrap.overall_accuracy}
    found = {name: bootstrap.interval(units, score) for name, score in scores.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def _worst(
    names: Sequence[str], matrices: np.ndarray, info: DatasetInfo
) -> list[tuple[str, float]]:
    mious = [compute_scores(matrix, info).miou for matrix in matrices]
    scored = [(name, miou) for name, miou in zip(names, mious, strict=True) if miou is not None]
    return sorted(scored, key=lambda pair: pair[1])[:WORST]
