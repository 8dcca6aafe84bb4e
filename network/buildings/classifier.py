"""Does a tile show a building? One logit from pooled features, and the features behind it.

Source: the classifier of BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248): the last stage at
stride 16, global average pooling, a 1 x 1 convolution without bias.

Notation: b batch, c channels of the last stage, h x w its size.
"""

from torch import Tensor, nn

from network.models.encoder import DENSE_STRIDE, DenseEncoder


class BuildingClassifier(nn.Module):
    """One logit, above 0 where the tile shows a building.

    Args:
        encoder, weights: see :class:`network.models.encoder.DenseEncoder`.
    """

    stride = DENSE_STRIDE

    def __init__(self, encoder: str = "repvgg_b1g2", weights: str | None = "imagenet"):
        super().__init__()
        self.encoder = DenseEncoder(encoder, weights)
        self.head = nn.Conv2d(self.encoder.channels, 1, 1, bias=False)

    def features(self, image: Tensor) -> Tensor:
        """Image (b, 3, H, W), normalized -> (b, c, h, w)."""
        return self.encoder(image)

    @property
    def head_weight(self) -> Tensor:
        """(c,): what each channel adds to the logit."""
        return self.head.weight[0, :, 0, 0]

    def forward(self, image: Tensor) -> Tensor:
        """Image (b, 3, H, W), normalized -> logits (b,)."""
        pooled = self.features(image).mean(dim=(2, 3), keepdim=True)  # (b, c, 1, 1)
        return self.head(pooled).flatten()
