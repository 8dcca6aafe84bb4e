"""ISPRS Potsdam, BiCoR-Seg with the released code's settings.

Run      python train.py -c config/potsdam/bicor_reference.py
Source   the released code: three layers, alpha fixed at 0.5, between-class scatter over class
         pairs, all pixels selected (ratio 1.0), lr 1e-4, batch 4. It chose its checkpoint on the
         test tiles and divided the cross-entropy by ignored pixels too; here val chooses, valid
         pixels count
Expects  89.9 mIoU, 94.6 mF1, 92.1 OA (paper); not reproduced here
"""

from network.config import Data, Experiment, Optim
from network.datasets.info import POTSDAM
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg


def model(
    encoder: str = "convnext_base.fb_in1k",
    weights: str | None = "imagenet",
    layers: int = 3,
    topk_ratio: float = 1.0,
    drop_path: float = 0.5,
) -> BiCoRSeg:
    return BiCoRSeg(
        POTSDAM.num_classes,
        encoder=encoder,
        weights=weights,
        layers=layers,
        topk_ratio=topk_ratio,
        learn_alpha=False,
        drop_path=drop_path,
    )


def loss(
    smoothing: float = 0.05, aux: float = 0.4, heatmap: float = 0.1, fisher: float = 0.1
) -> BiCoRLoss:
    return BiCoRLoss(
        POTSDAM.ignore_index,
        smoothing=smoothing,
        aux=aux,
        heatmap=heatmap,
        fisher=fisher,
        fisher_pairwise=True,
    )


experiment = Experiment(
    dataset=POTSDAM,
    model=model,
    loss=loss,
    data=Data(crop=768, rotate=0.25, batch_size=4),
    optim=Optim(lr=1e-4, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mF1",
)
