"""Synthetic scenes of ISPRS Vaihingen's tile sizes, to measure how scored padding changes scores.

Run      python tools/padding_study.py
Source   docs/protocol.md
Expects  the tables in docs/protocol.md
"""

from dataclasses import replace
from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

STUDY = replace(VAIHINGEN, name="padding_study", root="data/padding_study", tile_splits={})

experiment = Experiment(
    dataset=STUDY,
    model=partial(
        BiCoRSeg,
        STUDY.num_classes,
        encoder="resnet18.a1_in1k",
        weights=None,
        dim=256,
        layers=2,
        topk_ratio=0.02,
    ),
    loss=partial(BiCoRLoss, STUDY.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1),
    data=Data(crop=160, scales=(0.75, 1.0, 1.25), mosaic=0.0, batch_size=8, workers=1),
    optim=Optim(lr=1e-3, weight_decay=0.05, epochs=6, lookahead=False),
)
