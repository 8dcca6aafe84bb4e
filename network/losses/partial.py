"""Focal cross-entropy over only the labeled pixels, for points and other sparse labels.

Source: "Remote Sensing Image Segmentation with Partial Cross Entropy Loss"
(github.com/Abdullah-Bin-Naeem); the focal term is Lin et al., ICCV 2017.
"""

import torch
from torch import Tensor

from network.errors import InputError, nearest
from network.losses.weights import WeightedLoss, Weights, check_part_weights
from network.models.output import SegOutput
from network.models.precision import at_least_float32

EPSILON = 1e-6
NORMALIZERS = ("count", "weight")
COUNTED = ("labels", "dense")


def partial_focal_loss(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int,
    gamma: float = 2.0,
    weights: Tensor | None = None,
    normalizer: str = "count",
    mask: Tensor | None = None,
) -> Tensor:
    """Compute the mean focal cross-entropy of the labeled pixels.

    It is the sum of w[y_i] (1 - p_i)^gamma (-log p_i) over the labeled pixels i, divided by their
    number. p_i is the softmax probability of the pixel's class. Pixels are pooled over the batch.
    Without labeled pixels the loss is 0 and still connected to the graph. With gamma 0 and no
    weights it is ``torch.nn.functional.cross_entropy``.

    Args:
        logits: (b, k, H, W)
        labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        gamma: exponent of the focal term.
        weights: (k,) weights of the classes, w.
        normalizer: ``"count"`` divides by the number of labeled pixels, ``"weight"`` by the sum of
            their weights, as torch does.
        mask: (b, H, W); pixels where it is 0 count as not labeled.

    Returns:
        A scalar, float32 or better.
    """
    valid = labels != ignore_index
    if mask is not None:
        valid = valid & (mask != 0)
    index = labels.where(valid, 0)
    # Only the few labeled pixels are converted to probabilities.
    log_p = at_least_float32(logits.movedim(1, -1)[valid]).log_softmax(dim=-1)  # (n, k)
    log_p = log_p.gather(1, index[valid][:, None])[:, 0]
    loss = -log_p
    if gamma:
        # This is 1 - p, but exact if p is almost 1. The clamp keeps it above 0, since x ** gamma
        # with gamma < 1 has no finite gradient at 0.
        loss = loss * (-torch.expm1(log_p)).clamp(min=1e-12) ** gamma
    own = torch.ones_like(loss) if weights is None else weights.to(loss)[index[valid]]
    total = own.sum() if normalizer == "weight" else torch.ones_like(own).sum()
    # Without labeled pixels, this is the sum of no elements, which has a gradient of zeros.
    return (own * loss).sum() / total.clamp(min=EPSILON)


class PartialCrossEntropy(WeightedLoss):
    """The loss that applies :func:`partial_focal_loss` to the main and auxiliary outputs.

    The mean of its class weights over the classes is 1, as in the published work.

    Args:
        ignore_index: label of the pixels that do not count.
        gamma: exponent of the focal term; 0 is plain cross-entropy.
        weights: weights of the classes: a rule of :func:`network.losses.weights.class_weights`, one
            number for each class, or ``"none"``.
        counted: ``"labels"`` counts pixels in the training masks, so only the points; ``"dense"``
            counts in the masks that the points were drawn from, and so leaks facts about them.
        normalizer: see :func:`partial_focal_loss`.
        aux: weight of the auxiliary output's term.
        max_ratio: largest ratio of two weights of a rule, at least 1; None for no limit.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        ignore_index: int,
        gamma: float = 2.0,
        weights: Weights = "inverse",
        counted: str = "labels",
        normalizer: str = "count",
        aux: float = 0.4,
        max_ratio: float | None = None,
    ):
        super().__init__(weights, max_ratio, counted, mean="classes")
        for key, value, known in (
            ("counted", counted, COUNTED),
            ("normalizer", normalizer, NORMALIZERS),
        ):
            if value not in known:
                raise InputError(
                    f"loss.{key}={value}",
                    f"must be one of {', '.join(known)}{nearest(value, known)}",
                )
        check_part_weights(gamma=gamma, aux=aux)
        self.ignore_index, self.gamma, self.aux = ignore_index, gamma, aux
        self.normalizer = normalizer

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        """Compute the weighted parts of the loss by name; their sum is the loss.

        Args:
            output: output of a model; without auxiliary logits (as in validation), their part is
                left out.
            labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        """
        options = (self.ignore_index, self.gamma, self.class_weights, self.normalizer)
        parts = {"partial_ce": partial_focal_loss(output.logits, labels, *options)}
        if output.aux_logits is not None:
            aux = partial_focal_loss(output.aux_logits, labels, *options)
            parts["aux_ce"] = self.aux * aux
        return parts
