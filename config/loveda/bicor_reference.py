"""LoveDA, BiCoR-Seg with the released code's settings: trained on Train and Val.

Run      python train.py -c config/loveda/bicor_reference.py
Source   the released code: alpha fixed at 0.5, between-class scatter over class pairs, the last
         layer's Fisher loss once more with weight 1. It divided the cross-entropy by ignored
         pixels too; here valid pixels count. Val is trained on, so that no score is shown
         for it and the last checkpoint is kept
Expects  55.5 mIoU on the test server (paper); not reproduced here
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
        learn_alpha=False,
        drop_path=drop_path,
    )


def loss(
    smoothing: float = 0.05,
    aux: float = 0.4,
    heatmap: float = 0.1,
    fisher: float = 0.1,
    fisher_last: float = 1.0,
) -> BiCoRLoss:
    return BiCoRLoss(
        LOVEDA.ignore_index,
        smoothing=smoothing,
        aux=aux,
        heatmap=heatmap,
        fisher=fisher,
        fisher_pairwise=True,
        fisher_last=fisher_last,
    )


experiment = Experiment(
    dataset=LOVEDA,
    model=model,
    loss=loss,
    data=Data(train="train_val", val=None, crop=512, batch_size=8),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=30, lookahead=True),
    monitor="val/mIoU",
)
