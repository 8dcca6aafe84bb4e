"""A network for points: a ResNet-18 and transposed convolutions, without skip connections.

Source: "Remote Sensing Image Segmentation with Partial Cross Entropy Loss"
(github.com/Abdullah-Bin-Naeem). Two things differ here. Images are padded to whole strides and the
result is cropped; there, 80 x 80 logits are stretched to 150 x 150. The 480 biases in front of
BatchNorm, which do nothing, are left out.

Notation: b batch, k classes.
"""

from itertools import pairwise

import torch.nn.functional as nnf
from torch import Tensor, nn

from network.models.encoder import Encoder
from network.models.output import SegOutput
from network.models.segmenter import Segmenter

CHANNELS = (256, 128, 64, 32)


class TransposedConvNet(Segmenter):
    """The network that enlarges the deepest map sixteen times by transposed convolutions.

    Args:
        num_classes: number of classes, k.
        encoder: a timm model with maps at strides 4, 8, 16 and 32; the source uses a ResNet-18.
        weights: weights of the encoder: ``"imagenet"``, a local file, or None.
        bands: number of bands of each image.

    Raises:
        InputError: see :class:`Encoder`.
    """

    def __init__(
        self,
        num_classes: int,
        encoder: str = "resnet18.a1_in1k",
        weights: str | None = "imagenet",
        bands: int = 3,
    ):
        super().__init__(has_aux=False)
        self.encoder = Encoder(encoder, weights, bands=bands)
        sizes = self.encoder.channels[-1], *CHANNELS
        self.decoder = nn.Sequential(
            *(_enlarge(inputs, outputs) for inputs, outputs in pairwise(sizes))
        )
        self.classifier = nn.Conv2d(CHANNELS[-1], num_classes, 3, padding=1)
        for module in (*self.decoder.modules(), self.classifier):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def decode(self, stages: list[Tensor], details: bool = False) -> SegOutput:
        """Compute logits at four times the first stage's size from stages (b, c_i, h_i, w_i)."""
        logits = self.classifier(self.decoder(stages[-1]))
        return SegOutput(
            nnf.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
        )


def _enlarge(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
