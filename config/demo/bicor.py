"""Synthetic aerial scenes, BiCoR-Seg with a small encoder from scratch: minutes on two CPU cores.

Run      make demo
Source   scenes of tools/make_demo_data.py under ISPRS Vaihingen's names and classes, in patches
         of 256
Expects  see 'Results' in README.md
"""

from dataclasses import replace

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN, patch_splits
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

DEMO = replace(VAIHINGEN, name="demo", root="data/demo", splits=patch_splits(256))


def model(
    encoder: str = "resnet18.a1_in1k",
    weights: str | None = None,
    dim: int = 256,
    layers: int = 2,
    topk_ratio: float = 0.02,
) -> BiCoRSeg:
    return BiCoRSeg(
        DEMO.num_classes,
        encoder=encoder,
        weights=weights,
        dim=dim,
        layers=layers,
        topk_ratio=topk_ratio,
    )


def loss(
    smoothing: float = 0.05, aux: float = 0.4, heatmap: float = 0.1, fisher: float = 0.1
) -> BiCoRLoss:
    return BiCoRLoss(
        DEMO.ignore_index, smoothing=smoothing, aux=aux, heatmap=heatmap, fisher=fisher
    )


experiment = Experiment(
    dataset=DEMO,
    model=model,
    loss=loss,
    data=Data(crop=160, scales=(0.75, 1.0, 1.25), mosaic=0.0, batch_size=8, workers=1),
    optim=Optim(lr=1e-3, weight_decay=0.05, epochs=8, lookahead=False),
)
