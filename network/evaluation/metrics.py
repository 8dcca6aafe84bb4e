"""Scores from one pooled confusion matrix."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from network.datasets.schema import DatasetInfo


class ConfusionMatrix(MulticlassConfusionMatrix):
    """Pixel counts (k, k), rows = truth, summed over images and processes.

    Labels outside 0 to k-1 are dropped.
    """

    def __init__(self, num_classes: int):
        super().__init__(num_classes, ignore_index=num_classes, validate_args=False)

    def update(self, prediction: Tensor, labels: Tensor) -> None:
        """prediction and labels (b, H, W), integers."""
        super().update(prediction, labels.long().clamp(max=self.num_classes))


@dataclass(frozen=True)
class Scores:
    """Scores of k classes, each 0 to 1; None where there is nothing to score.

    A class that is neither in the truth nor in the prediction has no score and is left out of
    the means; ``absent`` names it.
    """

    classes: tuple[str, ...]
    scored: tuple[int, ...]
    iou: tuple[float | None, ...]
    f1: tuple[float | None, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    oa: float | None

    @property
    def miou(self) -> float | None:
        """Mean IoU over the scored classes."""
        return mean_of_present([self.iou[label] for label in self.scored])

    @property
    def mf1(self) -> float | None:
        """Mean F1 over the scored classes."""
        return mean_of_present([self.f1[label] for label in self.scored])

    @property
    def miou_all(self) -> float | None:
        return mean_of_present(self.iou)

    @property
    def mf1_all(self) -> float | None:
        return mean_of_present(self.f1)

    @property
    def absent(self) -> tuple[str, ...]:
        return tuple(name for name, iou in zip(self.classes, self.iou, strict=True) if iou is None)


def compute_scores(matrix: Tensor | np.ndarray, info: DatasetInfo) -> Scores:
    """Scores of a confusion matrix (k, k), rows = truth."""
    counts = torch.as_tensor(matrix).double().cpu().numpy()
    hits, truth, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    return Scores(
        classes=info.classes,
        scored=info.scored,
        iou=_ratios(hits, truth + predicted - hits),
        f1=_ratios(2 * hits, truth + predicted),
        precision=_ratios(hits, predicted),
        recall=_ratios(hits, truth),
        oa=_ratios(hits.sum(keepdims=True), counts.sum(keepdims=True).ravel())[0],
    )


def _ratios(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float | None, ...]:
    return tuple(float(n / d) if d else None for n, d in zip(numerator, denominator, strict=True))


def mean_of_present(values: tuple[float | None, ...] | list[float | None]) -> float | None:
    """Mean of the values that are not None; None if there is none."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
