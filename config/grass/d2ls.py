"""Grass, D2LS: ConvNeXt-B encoder, three interactor layers.

Run      python train.py -c config/grass/d2ls.py
         python test_custom.py -c config/grass/d2ls.py -o fig_results/grass/d2ls
Source   arXiv 2503.06683 and a third-party copy of its settings; stochastic depth 0.5 as in
         torchvision's ConvNeXt-B. The data set has no test split, so val is scored. The results say
         that val also chose the checkpoint. The release uses torchvision's encoder weights
         (model.weights=convnext_base-6075fbad.pth); here they are timm's. The release divides the
         cross-entropy by the number of all pixels, here only valid ones count
Expects  52.0 mIoU (paper); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import GRASS
from network.losses.d2ls import D2LSLoss
from network.models.d2ls import D2LS

experiment = Experiment(
    dataset=GRASS,
    model=partial(
        D2LS,
        GRASS.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=3,
        drop_path=0.5,
    ),
    loss=partial(D2LSLoss, GRASS.ignore_index, smoothing=0.05, aux=0.4, contrastive=1.0),
    data=Data(
        test="val",
        crop=256,
        scales=(1.0,),
        max_class_share=1.0,
        rotate=0.0,
        brighten=0.25,
        sharpen=0.5,
        batch_size=4,
    ),
    optim=Optim(lr=1e-4, weight_decay=0.01, epochs=100, lookahead=True),
    monitor="val/mIoU",
)
