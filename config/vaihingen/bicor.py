"""ISPRS Vaihingen, BiCoR-Seg: ConvNeXt-B encoder, two HBIS layers, our defaults.

Run      python train.py -c config/vaihingen/bicor.py
         python test_vaihingen.py -c config/vaihingen/bicor.py -o fig_results/vaihingen/bicor -t d4
Source   arXiv 2512.20255. L = 2 and the top-k ratio 0.02 are from its text. AdamW + Lookahead, the
         45 epochs, the auxiliary output (aux), the augmentation and the stochastic depth are from
         the released code
Expects  85.4 mIoU, 91.9 mF1, 92.1 OA (paper); not reproduced here. Read docs/protocol.md before you
         compare scores
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

experiment = Experiment(
    dataset=VAIHINGEN,
    model=partial(
        BiCoRSeg,
        VAIHINGEN.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=2,
        topk_ratio=0.02,
        drop_path=0.5,
    ),
    loss=partial(
        BiCoRLoss, VAIHINGEN.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1
    ),
    data=Data(crop=512, scales=(0.5, 0.75, 1.0, 1.25, 1.5), max_class_share=0.5, batch_size=8),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mIoU",
)
