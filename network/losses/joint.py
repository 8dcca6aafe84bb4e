"""The usual segmentation loss: cross-entropy and Dice, and cross-entropy of an auxiliary output.

Source: UNetFormer (Wang et al., ISPRS Journal 2022). It is also the base of the losses of BiCoR-Seg
and D2LS.
"""

from torch import Tensor

from network.errors import InputError
from network.losses.pixel import cross_entropy, cross_entropy_and_dice
from network.losses.weights import WeightedLoss, Weights, check_part_weights
from network.models.output import SegOutput
from network.settings import require


class JointLoss(WeightedLoss):
    """The loss with main and auxiliary terms.

    Args:
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing of each cross-entropy.
        aux: weight of the auxiliary output's cross-entropy.
        weights: weights of the classes in both cross-entropies: one number for each class, or a
            rule of :func:`network.losses.weights.class_weights` (``"inverse"``,
            ``"sqrt_inverse"``, ``"effective"``). None for no weights. Their mean over the training
            pixels is 1. Dice has no weights, see :func:`cross_entropy_and_dice`.
        max_ratio: largest ratio of two weights of a rule, at least 1; None for no limit. With
            weights that differ by hundreds, rare classes are found almost everywhere.
        hard_share: share of the valid pixels that count in both cross-entropies, above 0 to 1:
            those with the largest loss. See :func:`cross_entropy`.

    Raises:
        InputError: ``weights``, ``max_ratio`` or ``hard_share`` is out of range.
    """

    def __init__(
        self,
        ignore_index: int,
        smoothing: float = 0.05,
        aux: float = 0.4,
        weights: Weights = None,
        max_ratio: float | None = 10.0,
        hard_share: float = 1.0,
    ):
        super().__init__(weights, max_ratio)
        require(0 < hard_share <= 1, "loss.hard_share", hard_share, "above 0 and at most 1")
        require(0 <= smoothing < 1, "loss.smoothing", smoothing, "at least 0 and below 1")
        check_part_weights(aux=aux)
        self.hard_share = hard_share
        self.ignore_index, self.smoothing, self.aux = ignore_index, smoothing, aux

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        """Compute the weighted parts of the loss by name; their sum is the loss.

        The auxiliary part is present even if its weight is 0, so that its parameters have a
        gradient, as DDP expects; ``model.aux=False`` switches it off.

        Args:
            output: output of a model; without auxiliary logits (as in validation), their part is
                left out.
            labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        """
        aux = output.aux_logits
        if aux is not None and aux.shape != output.logits.shape:
            raise InputError(
                "model",
                f"returns aux_logits of the shape {tuple(aux.shape)}, not "
                f"{tuple(output.logits.shape)}",
                "return them like the logits",
            )
        options = (labels, self.ignore_index, self.smoothing, self.class_weights, self.hard_share)
        ce, dice = cross_entropy_and_dice(output.logits, *options)
        parts = {"ce": ce, "dice": dice}
        if output.aux_logits is not None:
            parts["aux_ce"] = self.aux * cross_entropy(output.aux_logits, *options)
        return parts
