"""The confusion matrix that is counted during training and validation."""

from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix


class ConfusionMatrix(MulticlassConfusionMatrix):
    """Confusion matrix (k, k) of pixels, rows = truth, summed over images and processes.

    Labels outside 0 to k-1 are dropped.

    Args:
        num_classes: number of classes, k.
    """

    def __init__(self, num_classes: int):
        super().__init__(num_classes, ignore_index=num_classes, validate_args=False)

    def update(self, prediction: Tensor, labels: Tensor) -> None:
        """Count a batch.

        Args:
            prediction: (b, H, W) integers.
            labels: (b, H, W) integers.
        """
        super().update(prediction, labels.long().clamp(max=self.num_classes))
