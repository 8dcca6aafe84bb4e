"""ISPRS Potsdam, BiCoR-Seg: ConvNeXt-B encoder, two HBIS layers, our defaults.

Run      python train.py -c config/potsdam/bicor.py
         python test_potsdam.py -c config/potsdam/bicor.py -o fig_results/potsdam/bicor -t lr
Source   arXiv 2512.20255, with its text's L = 2 and top-k ratio 0.02, the released code's AdamW +
         Lookahead and 45 epochs; augmentation and stochastic depth as released
Expects  89.9 mIoU, 94.6 mF1, 92.1 OA (paper); not reproduced here
"""

from network.config import Data, Experiment, Optim
from network.datasets.info import POTSDAM
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg


def model(
    encoder: str = "convnext_base.fb_in1k",
    weights: str | None = "imagenet",
    layers: int = 2,
    topk_ratio: float = 0.02,
    drop_path: float = 0.5,
) -> BiCoRSeg:
    return BiCoRSeg(
        POTSDAM.num_classes,
        encoder=encoder,
        weights=weights,
        layers=layers,
        topk_ratio=topk_ratio,
        learn_alpha=True,
        drop_path=drop_path,
    )


def loss(
    smoothing: float = 0.05, aux: float = 0.4, heatmap: float = 0.1, fisher: float = 0.1
) -> BiCoRLoss:
    return BiCoRLoss(
        POTSDAM.ignore_index, smoothing=smoothing, aux=aux, heatmap=heatmap, fisher=fisher
    )


experiment = Experiment(
    dataset=POTSDAM,
    model=model,
    loss=loss,
    data=Data(crop=768, rotate=0.25, batch_size=8),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mIoU",
)
