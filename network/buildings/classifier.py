"""Classifier that tells whether a tile shows a building.

Source: the classifier of BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248). It has the last
stage at stride 16, global average pooling and a 1 x 1 convolution without bias.

Notation: b is the batch, c the channels of the last stage, and h x w its size.
"""

from torch import Tensor, nn

from network.models.encoder import DENSE_STRIDE, DenseEncoder


class BuildingClassifier(nn.Module):
    """Network with one logit, which is above 0 if the tile shows a building.

    Args:
        encoder: name of the encoder, see :class:`network.models.encoder.DenseEncoder`.
        weights: its pretrained weights; None to start from scratch.
    """

    stride = DENSE_STRIDE

    def __init__(self, encoder: str = "repvgg_b1g2", weights: str | None = "imagenet"):
        super().__init__()
        self.encoder = DenseEncoder(encoder, weights)
        self.head = nn.Conv2d(self.encoder.channels, 1, 1, bias=False)

    def features(self, image: Tensor) -> Tensor:
        """Compute features (b, c, h, w) of normalized images (b, 3, H, W)."""
        return self.encoder(image)

    @property
    def head_weight(self) -> Tensor:
        """The weight (c,) of each channel in the logit."""
        return self.head.weight[0, :, 0, 0]

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits (b,) of normalized images (b, 3, H, W)."""
        pooled = self.features(image).mean(dim=(2, 3), keepdim=True)  # (b, c, 1, 1)
        return self.head(pooled).flatten()
