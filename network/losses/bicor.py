"""The composite loss of BiCoR-Seg.

Source: arXiv 2512.20255, section 3; the auxiliary term is the released code's.
"""

from functools import reduce

import torch
from torch import Tensor

from network.losses.joint import JointLoss
from network.losses.pixel import cross_entropy_and_dice
from network.losses.scatter import fisher_loss
from network.losses.weights import Weights, check_part_weights
from network.models.output import SegOutput


class BiCoRLoss(JointLoss):
    """The loss of BiCoR-Seg, with main, auxiliary, heatmap and Fisher terms.

    Args:
        ignore_index: label of the pixels that do not count.
        smoothing: label smoothing, see :class:`JointLoss`.
        aux: weight of the auxiliary term, see :class:`JointLoss`.
        heatmap: weight of cross-entropy and Dice of each layer's heatmaps.
        fisher: weight of the Fisher loss of each layer's class embeddings.
        fisher_last: additional weight of the last layer's Fisher loss, as in the released LoveDA
            config.
        fisher_pairwise: whether the scatter between classes is the mean over class pairs, as in
            the released code; it is 2k / (k - 1) times that of the paper.
        weights: weights of the classes in the main and auxiliary cross-entropy, see
            :class:`JointLoss`. The heatmaps have none, since they only have to rank the pixels of
            each class; nor has the Fisher loss, in which all classes count the same.
        max_ratio: largest ratio of two weights, see :class:`JointLoss`.
        hard_share: share of the pixels that count in the main and auxiliary cross-entropy, see
            :class:`JointLoss`.
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
        weights: Weights = None,
        max_ratio: float | None = 10.0,
        hard_share: float = 1.0,
    ):
        super().__init__(ignore_index, smoothing, aux, weights, max_ratio, hard_share)
        check_part_weights(heatmap=heatmap, fisher=fisher, fisher_last=fisher_last)
        self.heatmap, self.fisher = heatmap, fisher
        self.fisher_last, self.fisher_pairwise = fisher_last, fisher_pairwise

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        """Compute the weighted parts of the loss by name; see :class:`JointLoss`.

        Heatmap and Fisher parts are left out if their weight is 0, or if the output has no
        heatmaps or class embeddings (as in validation).

        Args:
            output: output of a model.
            labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        """
        parts = super().forward(output, labels)
        if self.heatmap and output.heatmaps:
            parts |= self.heatmap_parts(output.heatmaps, labels)
        if output.class_embeddings:
            parts |= self.fisher_parts(output.class_embeddings)
        return parts

    def heatmap_parts(self, heatmaps: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Compute the parts of the heatmaps, which are resized to the labels.

        Args:
            heatmaps: heatmap logits (b, k, h, w) of each layer.
            labels: (b, H, W)
        """
        losses = [
            cross_entropy_and_dice(heatmap, labels, self.ignore_index, self.smoothing)
            for heatmap in heatmaps
        ]
        ce, dice = (reduce(torch.add, terms) for terms in zip(*losses, strict=True))
        return {"heatmap_ce": self.heatmap * ce, "heatmap_dice": self.heatmap * dice}

    def fisher_parts(self, class_embeddings: list[Tensor]) -> dict[str, Tensor]:
        """Compute the Fisher parts from the class embeddings (b, k, d) of each layer."""
        layers = [fisher_loss(e, pairwise=self.fisher_pairwise) for e in class_embeddings]
        parts = {}
        if self.fisher:
            parts["fisher"] = self.fisher * reduce(torch.add, layers)
        if self.fisher_last:
            parts["fisher_last"] = self.fisher_last * layers[-1]
        return parts
