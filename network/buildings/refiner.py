"""Activation refinement by a coarse segmentation network that knows the label of the image.

Source: the second stage of BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248), after AMN (Lee
et al., CVPR 2022). The image label scales the channels, and four dilated convolutions are summed.

Notation: b is the batch, c the channels of the encoder, and h x w the size of its features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from network.models.encoder import DENSE_STRIDE, DenseEncoder


class ActivationRefiner(nn.Module):
    """Network with logits of background and building at stride 16.

    Args:
        encoder: name of the encoder, see :class:`network.models.encoder.DenseEncoder`.
        weights: its pretrained weights; None to start from scratch.
        rates: dilations of the convolutions whose outputs are summed.
        dropout: probability of dropout in the features before the convolutions.
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
        """Compute logits (b, 2, h, w).

        Args:
            image: (b, 3, H, W), normalized.
            label: (b,), 1 if the image shows buildings, 0 if not.
        """
        scale = self.label_encoder(label.to(image)[:, None])  # (b, c)
        features = self.dropout(self.encoder(image) * scale[:, :, None, None])  # (b, c, h, w)
        return torch.stack([vote(features) for vote in self.votes]).sum(dim=0)
