"""The composite loss of D2LS.

Source: arXiv 2503.06683; weights of the released code.
"""

from torch import Tensor

from network.losses.bicor import BiCoRLoss
from network.losses.scatter import fisher_loss


class D2LSLoss(BiCoRLoss):
    """Main and auxiliary terms as BiCoR-Seg's, and the scatter ratio of the dictionary.

    Args:
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing of both cross-entropies.
        aux: weight of the cross-entropy of the static dictionary's logits.
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
        super().__init__(ignore_index, smoothing, aux, heatmap=0.0, fisher=0.0)
        self.contrastive = contrastive

    def fisher_parts(self, class_embeddings: list[Tensor]) -> dict[str, Tensor]:
        """The dynamic dictionary (b, k, d), alone in a list."""
        (dictionary,) = class_embeddings
        if not self.contrastive:
            return {}
        return {"contrastive": self.contrastive * fisher_loss(dictionary, pairwise=True)}
