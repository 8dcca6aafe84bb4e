"""The confusion matrix that is counted while a network trains or validates."""

from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix


class ConfusionMatrix(MulticlassConfusionMatrix):
    """Pixel counts (k, k), rows = truth, summed over images and processes.

    Labels outside 0 to k-1 are dropped.
    """

    def __init__(self, num_classes: int):
        super().__init__(num_classes, ignore_index=num_classes, validate_args=False)

    def update(self, prediction: Tensor, labels: Tensor) -> None:
        """prediction and labels (b, H, W), integers."""
        super().update(prediction, labels.long().clamp(max=self.num_classes))
