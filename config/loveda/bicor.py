"""LoveDA, BiCoR-Seg: ConvNeXt-B encoder, two HBIS layers, our defaults; not trained on Val.

Run      python train.py -c config/loveda/bicor.py
         python test_loveda.py -c config/loveda/bicor.py -o fig_results/loveda/bicor -t d4
Source   arXiv 2512.20255, section 4.2. AdamW + Lookahead, the 30 epochs, the auxiliary output
         (aux), the augmentation and the stochastic depth are from the released code. To train as in
         the paper, add data.train=train_val data.val=None
Expects  55.5 mIoU on the test server when trained on train_val (paper); not reproduced here
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
    ),
    loss=partial(BiCoRLoss, LOVEDA.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1),
    data=Data(crop=512, batch_size=8),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=30, lookahead=True),
    monitor="val/mIoU",
)
