"""The usual segmentation loss: cross-entropy and Dice, and cross-entropy of an auxiliary output.

Source: UNetFormer (Wang et al., ISPRS Journal 2022). It is also the base of the losses of BiCoR-Seg
and D2LS.
"""

from torch import Tensor, nn

from network.losses.pixel import cross_entropy, cross_entropy_and_dice
from network.models.output import SegOutput


class JointLoss(nn.Module):
    """The loss with main and auxiliary terms.

    Args:
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing of each cross-entropy.
        aux: weight of the auxiliary output's cross-entropy.
    """

    def __init__(self, ignore_index: int, smoothing: float = 0.05, aux: float = 0.4):
        super().__init__()
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
        options = (labels, self.ignore_index, self.smoothing)
        ce, dice = cross_entropy_and_dice(output.logits, *options)
        parts = {"ce": ce, "dice": dice}
        if output.aux_logits is not None:
            parts["aux_ce"] = self.aux * cross_entropy(output.aux_logits, *options)
        return parts
