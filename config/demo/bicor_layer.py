"""Synthetic aerial scenes, BiCoR-Seg with a changed HBIS layer: an example of how to change it.

Run      python train.py -c config/demo/bicor_layer.py   (after make demo)
Source   the scenes of config/demo/bicor.py, with an encoder from scratch, which needs no weights.
         Here each layer adds the context to the class embedding; the original layer mixes both by
         a gate. To compare, train this config with BiCoRSeg instead of ResidualBiCoRSeg
Expects  not measured
"""

from dataclasses import replace
from functools import partial

from torch import Tensor

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN, patch_splits
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg, HBISLayer

DEMO = replace(VAIHINGEN, name="demo", root="data/demo", splits=patch_splits(256), tile_splits={})


class ResidualLayer(HBISLayer):
    """An HBIS layer that adds to each class embedding the image's context of the class."""

    def __init__(self, dim: int, topk_ratio: float, learn_alpha: bool, tau: float):
        super().__init__(dim, topk_ratio, learn_alpha, tau)
        del self.gate  # otherwise it would be a weight that is never trained

    def refine_classes(self, classes: Tensor, classes_n: Tensor, context: Tensor) -> Tensor:
        """Compute new class embeddings from the old ones and their context, all (b, k, d)."""
        return classes + self.candidate(context)


class ResidualBiCoRSeg(BiCoRSeg):
    """BiCoR-Seg with residual layers."""

    def make_layer(self, *settings) -> ResidualLayer:
        """Make one layer; the settings are those of an HBIS layer."""
        return ResidualLayer(*settings)


experiment = Experiment(
    dataset=DEMO,
    model=partial(ResidualBiCoRSeg, DEMO.num_classes, encoder="resnet18.a1_in1k", weights=None),
    loss=partial(BiCoRLoss, DEMO.ignore_index),
    data=Data(crop=160, scales=(0.75, 1.0, 1.25), mosaic=0.0, batch_size=8, workers=1),
    optim=Optim(lr=1e-3, weight_decay=0.05, epochs=8, lookahead=False),
)
