"""ISPRS Potsdam, D2LS: ConvNeXt-B encoder, three interactor layers.

Run      python train.py -c config/potsdam/d2ls.py
         python test_potsdam.py -c config/potsdam/d2ls.py -o fig_results/potsdam/d2ls -t lr
Source   arXiv 2503.06683 and a third-party copy of its settings; stochastic depth 0.5 as in
         torchvision's ConvNeXt-B. The release uses torchvision's encoder weights
         (model.weights=convnext_base-6075fbad.pth); here they are timm's. The release chooses the
         checkpoint on the test tiles, here val does. It divides the cross-entropy by the number of
         all pixels, here only valid ones count
Expects  94.7 mF1 (paper); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import POTSDAM
from network.losses.d2ls import D2LSLoss
from network.models.d2ls import D2LS

experiment = Experiment(
    dataset=POTSDAM,
    model=partial(
        D2LS,
        POTSDAM.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=3,
        drop_path=0.5,
    ),
    loss=partial(D2LSLoss, POTSDAM.ignore_index, smoothing=0.05, aux=0.4, contrastive=1.0),
    data=Data(crop=768, rotate=0.25, batch_size=4),
    optim=Optim(lr=1e-4, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mF1",
)
