"""LoveDA, D2LS: ConvNeXt-B encoder, three interactor layers; not trained on Val.

Run      python train.py -c config/loveda/d2ls.py
         python test_loveda.py -c config/loveda/d2ls.py -o fig_results/loveda/d2ls -t d4
Source   arXiv 2503.06683 and its released settings; stochastic depth 0.5 as in torchvision's
         ConvNeXt-B. To train as in the released code, add data.train=train_val data.val=None. The
         release uses torchvision's encoder weights (model.weights=convnext_base-6075fbad.pth); here
         they are timm's. The release divides the cross-entropy by the number of all pixels, here
         only valid ones count
Expects  55.3 mIoU on the test server when trained on train_val (paper); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import LOVEDA
from network.losses.d2ls import D2LSLoss
from network.models.d2ls import D2LS

experiment = Experiment(
    dataset=LOVEDA,
    model=partial(
        D2LS,
        LOVEDA.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=3,
        drop_path=0.5,
    ),
    loss=partial(D2LSLoss, LOVEDA.ignore_index, smoothing=0.05, aux=0.4, contrastive=1.0),
    data=Data(crop=512, batch_size=8),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=30, lookahead=True),
    monitor="val/mIoU",
)
