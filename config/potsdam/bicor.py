"""ISPRS Potsdam, BiCoR-Seg: ConvNeXt-B encoder, two HBIS layers, our defaults.

Run      python train.py -c config/potsdam/bicor.py
         python test_potsdam.py -c config/potsdam/bicor.py -o fig_results/potsdam/bicor -t lr
Source   arXiv 2512.20255. L = 2 and the top-k ratio 0.02 are from its text. AdamW + Lookahead, the
         45 epochs, the auxiliary output (aux), the augmentation and the stochastic depth are from
         the released code
Expects  89.9 mIoU, 94.6 mF1, 92.1 OA (paper); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import POTSDAM
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

experiment = Experiment(
    dataset=POTSDAM,
    model=partial(
        BiCoRSeg,
        POTSDAM.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=2,
        topk_ratio=0.02,
        drop_path=0.5,
    ),
    loss=partial(BiCoRLoss, POTSDAM.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1),
    data=Data(crop=768, rotate=0.25, batch_size=8),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mIoU",
)
