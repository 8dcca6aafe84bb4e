"""The composite loss of D2LS.

Source: arXiv 2503.06683; weights of the released code.
"""

from torch import Tensor

from network.losses.joint import JointLoss
from network.losses.scatter import fisher_loss
from network.models.output import SegOutput


class D2LSLoss(JointLoss):
    """Main term, that of the static dictionary, and the scatter ratio of the dynamic one.

    Args:
        ignore_index, smoothing, aux: see :class:`JointLoss`; the static dictionary's logits are
            the auxiliary ones.
        contrastive: weight of the dynamic dictionary's scatter within classes over that between
            pairs of classes.
    """

    def __init__(
        self,
        ignore_index: int,
        smoothing: float = 0.05,
        aux: float = 0.4,
        contrastive: float = 1.0,
    ):
        super().__init__(ignore_index, smoothing, aux)
        self.contrastive = contrastive

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        """Weighted parts by name; see :class:`JointLoss`. Without a dictionary, not its part."""
        parts = super().forward(output, labels)
        if self.contrastive and output.class_embeddings:
            (dictionary,) = output.class_embeddings  # (b, k, d)
            parts["contrastive"] = self.contrastive * fisher_loss(dictionary, pairwise=True)
        return parts
