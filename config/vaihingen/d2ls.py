"""ISPRS Vaihingen, D2LS: ConvNeXt-B encoder, two interactor layers.

Run      python train.py -c config/vaihingen/d2ls.py
         python test_vaihingen.py -c config/vaihingen/d2ls.py -o fig_results/vaihingen/d2ls -t d4
Source   arXiv 2503.06683 and a third-party copy of its settings; stochastic depth 0.5 as in
         torchvision's ConvNeXt-B. The authors say that they used two layers for their Vaihingen
         score. The release uses torchvision's encoder weights
         (model.weights=convnext_base-6075fbad.pth); here they are timm's. The release chooses the
         checkpoint on the test tiles, here val does. It divides the cross-entropy by the number of
         all pixels, here only valid ones count
Expects  91.9 mF1, 85.3 mIoU (paper, padding probably scored as ImSurf); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.d2ls import D2LSLoss
from network.models.d2ls import D2LS

experiment = Experiment(
    dataset=VAIHINGEN,
    model=partial(
        D2LS,
        VAIHINGEN.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=2,
        drop_path=0.5,
    ),
    loss=partial(D2LSLoss, VAIHINGEN.ignore_index, smoothing=0.05, aux=0.4, contrastive=1.0),
    data=Data(crop=512, scales=(0.5, 0.75, 1.0, 1.25, 1.5), max_class_share=0.5, batch_size=4),
    optim=Optim(lr=1e-4, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mF1",
)
