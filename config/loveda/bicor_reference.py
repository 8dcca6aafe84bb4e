"""LoveDA, BiCoR-Seg with the released code's settings: trained on Train and Val.

Run      python train.py -c config/loveda/bicor_reference.py
Source   the released code: alpha is fixed at 0.5, the between-class scatter is a mean over pairs of
         classes, and the Fisher loss of the last layer is added once more with weight 1. The
         released code divides the cross-entropy by the number of all pixels, ignored ones too;
         here only valid pixels count. The training uses Val, so Val is not scored, and the last
         checkpoint is kept.
         The release uses torchvision's encoder weights
         (model.weights=convnext_base-6075fbad.pth); here they are timm's
Expects  55.5 mIoU on the test server (paper); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import LOVEDA
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

experiment = Experiment(
    dataset=LOVEDA,
    model=partial(
        BiCoRSeg,
        LOVEDA.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=2,
        topk_ratio=0.02,
        drop_path=0.5,
        learn_alpha=False,
    ),
    loss=partial(
        BiCoRLoss,
        LOVEDA.ignore_index,
        smoothing=0.05,
        aux=0.4,
        heatmap=0.1,
        fisher=0.1,
        fisher_last=1.0,
        fisher_pairwise=True,
    ),
    data=Data(train="train_val", val=None, crop=512, batch_size=8),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=30, lookahead=True),
    monitor="val/mIoU",
)
