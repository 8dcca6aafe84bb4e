"""The composite loss of BiCoR-Seg.

Source: arXiv 2512.20255, section 3; the auxiliary term is the released code's.
"""

import torch.nn.functional as nnf
from torch import Tensor, nn

from network.losses.pixel import cross_entropy, cross_entropy_and_dice
from network.losses.scatter import fisher_loss
from network.models.output import SegOutput


class BiCoRLoss(nn.Module):
    """Main, auxiliary, heatmap and Fisher terms.

    Args:
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing of every cross-entropy.
        aux: weight of the auxiliary output's cross-entropy.
        heatmap: weight of cross-entropy and Dice of each layer's heatmaps.
        fisher: weight of the Fisher loss of each layer's class embeddings.
        fisher_last: further weight of the last layer's, as in the released LoveDA config.
        fisher_pairwise: between-class scatter as the mean over class pairs, as in the released
            code; it is 2k / (k - 1) times the paper's.
    """

    def __init__(
        self,
        ignore_index: int,
        smoothing: float = 0.05,
        aux: float = 0.4,
        heatmap: float = 0.1,
        fisher: float = 0.1,
        fisher_last: float = 0.0,
        fisher_pairwise: bool = False,
    ):
        super().__init__()
        self.ignore_index, self.smoothing = ignore_index, smoothing
        self.aux, self.heatmap, self.fisher = aux, heatmap, fisher
        self.fisher_last, self.fisher_pairwise = fisher_last, fisher_pairwise

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        """Weighted parts by name; their sum is the loss.

        Heatmap and Fisher parts of weight 0 are left out. The auxiliary part stays, so that its
        parameters have a gradient, as DDP expects; ``model.aux=False`` switches it off.

        Args:
            output: of a model; without auxiliary logits, heatmaps or class embeddings (as in
                validation), the parts that need them are left out.
            labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        """
        options = (labels, self.ignore_index, self.smoothing)
        ce, dice = cross_entropy_and_dice(output.logits, *options)
        parts = {"ce": ce, "dice": dice}
        if output.aux_logits is not None:
            parts["aux_ce"] = self.aux * cross_entropy(output.aux_logits, *options)
        if self.heatmap and output.heatmaps:
            parts |= self.heatmap_parts(output.heatmaps, *options)
        if output.class_embeddings:
            parts |= self.fisher_parts(output.class_embeddings)
        return parts

    def heatmap_parts(self, heatmaps: list[Tensor], labels: Tensor, *options) -> dict[str, Tensor]:
        """Heatmap logits (b, k, h, w) of each layer, resized to the labels (b, H, W)."""
        size = labels.shape[-2:]
        losses = [
            cross_entropy_and_dice(
                nnf.interpolate(heatmap, size=size, mode="bilinear", align_corners=False),
                labels,
                *options,
            )
            for heatmap in heatmaps
        ]
        ce, dice = (sum(terms) for terms in zip(*losses, strict=True))
        return {"heatmap_ce": self.heatmap * ce, "heatmap_dice": self.heatmap * dice}

    def fisher_parts(self, class_embeddings: list[Tensor]) -> dict[str, Tensor]:
        """Class embeddings (b, k, d) of each layer."""
        layers = [fisher_loss(e, pairwise=self.fisher_pairwise) for e in class_embeddings]
        parts = {}
        if self.fisher:
            parts["fisher"] = self.fisher * sum(layers)
        if self.fisher_last:
            parts["fisher_last"] = self.fisher_last * layers[-1]
        return parts
