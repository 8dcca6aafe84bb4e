"""Calibration of a network: how well its confidence agrees with its accuracy.
Source: expected calibration error, Guo et al., "On calibration of modern neural networks",
ICML 2017.
"""

import torch
from torch import Tensor

BINS = 15


class Calibration:
    """Counts of pixels by the confidence of their prediction, in bins of equal width.

    Args:
        bins: number of bins.

    Attributes:
        counts: (3, bins) float64: number of pixels, sum of their confidences, and number of
            correct pixels.
    """

    def __init__(self, bins: int = BINS):
        self.counts = torch.zeros(3, bins, dtype=torch.float64)

    def update(self, confidence: Tensor, correct: Tensor, valid: Tensor) -> Tensor:
        """Count pixels and return their own counts (3, bins), on the CPU.

        Args:
            confidence: (...) highest probability, 0 to 1.
            correct: (...) whether the prediction is correct.
            valid: (...) whether the pixel counts.
        """
        bins = self.counts.shape[1]
        # Bins are open below and closed above, as in the paper.
        index = (torch.ceil(confidence.float() * bins) - 1).clamp(0, bins - 1).long()
        index = index.where(valid, bins).flatten()  # one more bin for pixels that do not count
        ones = torch.ones_like(index, dtype=torch.float64)
        values = torch.stack([ones, confidence.double().flatten(), correct.double().flatten()])
        counts = values.new_zeros(3, bins + 1).index_add_(1, index, values)[:, :bins].cpu()
        self.counts += counts
        return counts

    def error(self) -> float | None:
        """Compute the expected calibration error of all counted pixels; None without pixels."""
        return expected_calibration_error(self.counts)


def expected_calibration_error(counts: Tensor) -> float | None:
    """Compute the mean gap between confidence and accuracy, 0 to 1; None without pixels.

    Args:
        counts: (3, bins): number of pixels, sum of their confidences, and number of correct
            pixels.

    Examples:
        >>> expected_calibration_error(torch.tensor([[8.0, 8.0], [4.0, 7.0], [5.0, 6.0]]))
        0.125
    """
    pixels, confidence, correct = counts
    if not pixels.sum():
        return None
    return ((confidence - correct).abs().sum() / pixels.sum()).item()
