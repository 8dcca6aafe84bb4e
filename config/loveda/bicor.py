"""LoveDA, BiCoR-Seg: ConvNeXt-B encoder, two HBIS layers, our defaults; Val is held out.

Run      python train.py -c config/loveda/bicor.py
         python test_loveda.py -c config/loveda/bicor.py -o fig_results/loveda/bicor -t d4
Source   arXiv 2512.20255, section 4.2; AdamW + Lookahead, augmentation and stochastic depth as
         released. With data.train=train_val data.val=None as in the paper
Expects  55.5 mIoU on the test server when trained on train_val (paper); not reproduced here
"""

from network.config import Data, Experiment, Optim
from network.datasets.info import LOVEDA
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
        LOVEDA.num_classes,
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
        LOVEDA.ignore_index, smoothing=smoothing, aux=aux, heatmap=heatmap, fisher=fisher
    )


experiment = Experiment(
    dataset=LOVEDA,
    model=model,
    loss=loss,
    data=Data(crop=512, batch_size=8),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=30, lookahead=True),
    monitor="val/mIoU",
)
