"""The head, which turns features at a quarter of the image's size into logits at full size.

Source: arXiv 2512.20255 and the released code: PixelShuffle(2), LayerNorm, GELU, PixelShuffle(2),
GELU give d / 16 channels at full size, which are multiplied with one vector for each class.
"""

import torch.nn.functional as nnf
from torch import Tensor, nn

from network.models.row_blocks import by_rows

UPSCALING = 4


class PixelShuffleHead(nn.Module):
    """The head of pixel shuffles and class vectors.

    The two shuffles only move numbers: d channels of one pixel become d / 16 channels of its 4 x 4
    block in the image. So everything is computed before that move, and only k channels are moved
    to full size.

    Args:
        dim: number of channels of features and class embeddings, d; a multiple of 16.
        classifier: module from class embeddings (b, k, d) to class vectors (b, k, d / 16); by
            default one Linear without bias.
    """

    def __init__(self, dim: int, classifier: nn.Module | None = None):
        super().__init__()
        if dim % UPSCALING**2:
            raise ValueError(f"dim {dim} is not a multiple of {UPSCALING**2}")
        self.norm = nn.LayerNorm(dim // 4, eps=1e-6)
        self.classifier = classifier or nn.Linear(dim, dim // UPSCALING**2, bias=False)

    def forward(self, features: Tensor, class_embeddings: Tensor) -> Tensor:
        """Compute the logits (b, k, 4h, 4w).

        Args:
            features: (b, h, w, d)
            class_embeddings: (b, k, d)
        """
        return self.segment(features, self.classifier(class_embeddings))

    def segment(self, features: Tensor, class_vectors: Tensor) -> Tensor:
        """Compute the logits (b, k, 4h, 4w) for given class vectors.

        Args:
            features: (b, h, w, d)
            class_vectors: (b or 1, k, d/16)
        """
        norm = self.norm.weight, self.norm.bias
        return by_rows(self._segment, [features], class_vectors, *norm, dim=2, scale=UPSCALING)

    def _segment(
        self, features: Tensor, class_vectors: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        return self.classify(self.upsample(features, weight, bias), class_vectors)

    def upsample(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute the channels of each image pixel, (b, h, w, 16, d/16).

        The 16 pixels are in the order of the two shuffles: rows and columns of the first (2 x 2),
        then of the second (2 x 2).

        Args:
            features: (b, h, w, d)
            weight: weight of the norm (d/4,).
            bias: bias of the norm (d/4,).
        """
        b, h, w, d = features.shape
        # A shuffle splits off its 2 x 2 block as the fastest-varying part of the channel index.
        blocks = features.view(b, h, w, d // 16, 4, 4)  # (channel, second block, first block)
        blocks = blocks.permute(0, 1, 2, 5, 4, 3).reshape(b, h, w, 4, d // 4)
        # The LayerNorm runs over (channel, second block); its parameters are in that order.
        weight, bias = (parameter.view(d // 16, 4).t().flatten() for parameter in (weight, bias))
        blocks = nnf.layer_norm(blocks, (d // 4,), weight, bias, self.norm.eps)
        return nnf.gelu(nnf.gelu(blocks)).view(b, h, w, 16, d // 16)

    @staticmethod
    def classify(pixels: Tensor, class_vectors: Tensor) -> Tensor:
        """Compute the logits (b, k, 4h, 4w) of image pixels.

        Args:
            pixels: (b, h, w, 16, d/16)
            class_vectors: (b or 1, k, d/16)
        """
        b, h, w, _, channels = pixels.shape
        k = class_vectors.shape[1]
        flat = pixels.view(b, h * w * 16, channels)
        logits = flat @ class_vectors.expand(b, -1, -1).transpose(1, 2)  # (b, h*w*16, k)
        # (first row, first column, second row, second column) of the 4 x 4 block
        logits = logits.view(b, h, w, 2, 2, 2, 2, k).permute(0, 7, 1, 3, 5, 2, 4, 6)
        return logits.reshape(b, k, 4 * h, 4 * w)
