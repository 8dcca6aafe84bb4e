"""Summary of a test, computed from the counts of its images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from network.datasets.schema import DatasetInfo
from network.evaluation import bootstrap
from network.evaluation.records import ImageRecord
from network.evaluation.scores import Pooled, Scores, compute_scores, drawn_scores, pooled_scores

WORST = 10


@dataclass(frozen=True)
class Summary:
    """The reported results of a test on one kind of labels.

    Attributes:
        scores: scores with the labels as they are, also on padding.
        padding_is_labeled: whether the labels give the padding a class.
        other_padding: scores under the other padding policy, from the confusion matrix alone. If
            padding is labeled, they leave it out; otherwise they count all padding as the first
            class, as published rows do. None if there is no padding.
        calibration: (3, bins) counts, see :class:`Calibration`.
        units: number of tiles if images are patches, else of images, as far as they have labels.
        intervals: 95 % bootstrap intervals over these units by the key of a score; none if the
            units are too few, see :data:`network.evaluation.bootstrap.FEWEST`.
        worst: names and scores of the images with the lowest mIoU over the classes that they have,
            lowest first.
    """

    scores: Scores
    padding_is_labeled: bool
    other_padding: Scores | None
    calibration: np.ndarray
    units: int
    intervals: dict[str, tuple[float, float]]
    worst: list[tuple[str, float]]


def summarize(records: Sequence[ImageRecord], kind: str, info: DatasetInfo) -> Summary:
    """Pool the counts of images and compute their scores.

    Args:
        records: records of the images, with counts of this kind.
        kind: kind of the labels.
        info: description of the data set.
    """
    names = [record.name for record in records]
    counts = [record.counts[kind] for record in records]
    without = np.stack([c.matrix for c in counts])  # (n, k, k)
    labeled_padding = np.stack([c.padding_matrix for c in counts])
    chosen = without + labeled_padding
    other, padding_is_labeled = without.copy(), bool(labeled_padding.any())
    if not padding_is_labeled:
        other[:, 0] += np.stack([c.padding for c in counts])
    boundary = np.sum([c.boundary for c in counts], axis=0)
    pooled = Pooled(
        info=info,
        kind=kind,
        matrix=chosen.sum(0).astype(np.float64),
        # Eroded masks ignore the boundaries; the rest at the image's edge would be meaningless.
        boundary=np.zeros_like(boundary) if kind == "eroded" else boundary,
        calibration=np.sum([c.calibration for c in counts], axis=0),
    )
    units = bootstrap.units(names, chosen, is_cut=info.patched, patch_names=info.patch_names)
    has_padding = any(c.padding.any() for c in counts)
    return Summary(
        scores=pooled_scores(pooled),
        padding_is_labeled=padding_is_labeled,
        other_padding=compute_scores(other.sum(0), info) if has_padding else None,
        calibration=pooled.calibration,
        units=len(units),
        intervals=_intervals(units, info),
        worst=_worst(names, chosen, info),
    )


def _intervals(units: np.ndarray, info: DatasetInfo) -> dict[str, tuple[float, float]]:
    drawn = drawn_scores(info.scored)
    found = {key: bootstrap.interval(units, statistic) for key, statistic in drawn.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def _worst(
    names: Sequence[str], matrices: np.ndarray, info: DatasetInfo
) -> list[tuple[str, float]]:
    mious = [compute_scores(matrix, info).overall["mIoU"] for matrix in matrices]
    scored = [(name, miou) for name, miou in zip(names, mious, strict=True) if miou is not None]
    return sorted(scored, key=lambda pair: pair[1])[:WORST]
