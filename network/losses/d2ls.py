"""The composite loss of D2LS.

Source: arXiv 2503.06683; weights of the released code. The released code divides the cross-entropy
by the number of all pixels, ignored ones too. Here only valid pixels count.
"""

from torch import Tensor

from network.losses.joint import JointLoss
from network.losses.scatter import fisher_loss
from network.losses.weights import Weights, check_part_weights
from network.models.output import SegOutput


class D2LSLoss(JointLoss):
    """The loss of D2LS, with terms of the main output, static dictionary and dynamic dictionary.

    Args:
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing, see :class:`JointLoss`.
        aux: weight of the auxiliary term, see :class:`JointLoss`; the auxiliary logits are those of
            the static dictionary.
        contrastive: weight of the dynamic dictionary's term, the scatter within classes divided by
            the scatter between pairs of classes.
        weights: weights of the classes in both cross-entropies, see :class:`JointLoss`. The dynamic
            dictionary's term has none, since all classes count the same in it.
        max_ratio: largest ratio of two weights, see :class:`JointLoss`.
        hard_share: share of the pixels that count in the main and auxiliary cross-entropy, see
            :class:`JointLoss`.
    """

    def __init__(
        self,
        ignore_index: int,
        smoothing: float = 0.05,
        aux: float = 0.4,
        contrastive: float = 1.0,
        weights: Weights = None,
        max_ratio: float | None = 10.0,
        hard_share: float = 1.0,
    ):
        super().__init__(ignore_index, smoothing, aux, weights, max_ratio, hard_share)
        check_part_weights(contrastive=contrastive)
        self.contrastive = contrastive

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        """Compute the weighted parts of the loss by name; see :class:`JointLoss`.

        The contrastive part is left out if the output has no dictionary.

        Args:
            output: output of a model.
            labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        """
        parts = super().forward(output, labels)
        if self.contrastive and output.class_embeddings:
            (dictionary,) = output.class_embeddings  # (b, k, d)
            parts["contrastive"] = self.contrastive * fisher_loss(dictionary, pairwise=True)
        return parts
