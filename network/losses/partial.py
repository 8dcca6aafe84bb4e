"""Focal cross-entropy over only the labeled pixels, for points and other sparse labels.

Source: "Remote Sensing Image Segmentation with Partial Cross Entropy Loss"
(github.com/Abdullah-Bin-Naeem); the focal term is Lin et al., ICCV 2017; effective numbers of
samples Cui et al., CVPR 2019.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from network.errors import InputError, nearest
from network.models.output import SegOutput
from network.models.precision import at_least_float32

EPSILON = 1e-6
BETA = 0.9999
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


def class_weights(counts: Sequence[int] | Tensor, rule: str) -> Tensor:
    """Compute weights of the classes from their numbers of pixels; rare classes weigh more.

    A class that does not occur has the weight 0. The weights of the others have the mean 1.

    Args:
        counts: (k,) number of pixels of each class.
        rule: ``"inverse"``: 1 / count; ``"sqrt_inverse"``: its square root;
            ``"effective"``: 1 / (1 - beta^count) with beta 0.9999.

    Returns:
        (k,) float32

    Examples:
        >>> class_weights([300, 100, 0], "inverse")
        tensor([0.5000, 1.5000, 0.0000])
    """
    counts = torch.as_tensor(counts, dtype=torch.float64)
    weights = RULES[rule](counts + EPSILON) * (counts > 0)
    return (weights * (counts > 0).sum() / weights.sum().clamp(min=1e-300)).float()


RULES = {
    "inverse": torch.reciprocal,
    "sqrt_inverse": torch.rsqrt,
    "effective": lambda counts: 1 / (1 - BETA**counts),
}


class PartialCrossEntropy(nn.Module):
    """The loss that applies :func:`partial_focal_loss` to the main and auxiliary outputs.

    Class weights come from pixel counts, which the training sets before it begins
    (:meth:`set_class_counts`); until then all weights are 1.

    Args:
        ignore_index: label of the pixels that do not count.
        gamma: exponent of the focal term; 0 is plain cross-entropy.
        weights: a rule of :func:`class_weights`, or ``"none"``.
        counted: ``"labels"`` counts pixels in the training masks, so only the points; ``"dense"``
            counts in the masks that the points were drawn from, and so leaks facts about them.
        normalizer: see :func:`partial_focal_loss`.
        aux: weight of the auxiliary output's term.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        ignore_index: int,
        gamma: float = 2.0,
        weights: str = "inverse",
        counted: str = "labels",
        normalizer: str = "count",
        aux: float = 0.4,
    ):
        super().__init__()
        for key, value, known in (
            ("weights", weights, ("none", *RULES)),
            ("counted", counted, COUNTED),
            ("normalizer", normalizer, NORMALIZERS),
        ):
            if value not in known:
                raise InputError(
                    f"loss.{key}={value}",
                    f"must be one of {', '.join(known)}{nearest(value, known)}",
                )
        if gamma < 0:
            raise InputError(f"loss.gamma={gamma}", "must be at least 0")
        self.ignore_index, self.gamma, self.aux = ignore_index, gamma, aux
        self.rule, self.normalizer = weights, normalizer
        self.counted = None if weights == "none" else counted  # nothing needs to be counted then
        # Class weights belong to the experiment and its data, so they are not saved.
        self.register_buffer("class_weights", None, persistent=False)

    def set_class_counts(self, counts: Sequence[int]) -> None:
        """Set the class weights from pixel counts; not to be called if ``counted`` is None.

        Args:
            counts: (k,) number of pixels of each class, in the masks that ``counted`` names.
        """
        self.class_weights = class_weights(counts, self.rule)

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
