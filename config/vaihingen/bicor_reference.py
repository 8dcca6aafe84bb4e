"""ISPRS Vaihingen, BiCoR-Seg with the released code's settings.

Run      python train.py -c config/vaihingen/bicor_reference.py
Source   the released code: alpha fixed at 0.5, between-class scatter over class pairs, all pixels
         selected (ratio 1.0), lr 5e-5, batch 4. It chose its checkpoint on the test tiles and
         divided the cross-entropy by ignored pixels too; here val chooses, valid pixels count
Expects  85.4 mIoU, 91.9 mF1, 92.1 OA (paper, padding scored as ImSurf); not reproduced here
"""

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg


def model(
    encoder: str = "convnext_base.fb_in1k",
    weights: str | None = "imagenet",
    layers: int = 2,
    topk_ratio: float = 1.0,
    drop_path: float = 0.5,
) -> BiCoRSeg:
    return BiCoRSeg(
        VAIHINGEN.num_classes,
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
        VAIHINGEN.ignore_index,
        smoothing=smoothing,
        aux=aux,
        heatmap=heatmap,
        fisher=fisher,
        fisher_pairwise=True,
    )


experiment = Experiment(
    dataset=VAIHINGEN,
    model=model,
    loss=loss,
    data=Data(crop=512, scales=(0.5, 0.75, 1.0, 1.25, 1.5), max_class_share=0.5, batch_size=4),
    optim=Optim(lr=5e-5, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mF1",
)
