"""Activation refinement: a coarse segmentation network that is told the label of the image.

Source: the second stage of BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248), after AMN (Lee
et al., CVPR 2022): the image label scales the channels, four dilated convolutions vote.

Notation: b batch, c channels of the encoder, h x w the size of its features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from network.models.encoder import DENSE_STRIDE, DenseEncoder


class ActivationRefiner(nn.Module):
    """Logits of background and building at stride 16.

    Args:
        encoder, weights: see :class:`network.models.encoder.DenseEncoder`.
        rates: dilations of the convolutions whose outputs are summed.
        dropout: of the features before them.
    """

    stride = DENSE_STRIDE

    def __init__(
        self,
        encoder: str = "repvgg_b1g2",
        weights: str | None = "imagenet",
        rates: Sequence[int] = (6, 12, 18, 24),
        dropout: float = 0.1,
    ):
        super().__init__()
        self.encoder = DenseEncoder(encoder, weights)
        c = self.encoder.channels
        self.label_encoder = nn.Linear(1, c)
        self.dropout = nn.Dropout(dropout)
        votes = [nn.Conv2d(c, 2, 3, padding=rate, dilation=rate) for rate in rates]
        for vote in votes:
            nn.init.normal_(vote.weight, std=0.01)
        self.votes = nn.ModuleList(votes)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """Image (b, 3, H, W), normalized, and its label (b,), 1 with buildings -> (b, 2, h, w)."""
        scale = self.label_encoder(label.to(image)[:, None])  # (b, c)
        features = self.dropout(self.encoder(image) * scale[:, :, None, None])  # (b, c, h, w)
        return torch.stack([vote(features) for vote in self.votes]).sum(dim=0)
