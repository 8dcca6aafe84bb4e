"""LoveDA, UNetFormer: ResNet-18 encoder, the usual baseline for comparison.

Run      python train.py -c config/loveda/unetformer.py
         python test_loveda.py -c config/loveda/unetformer.py -o OUT -t d4 --val
Source   Wang et al., ISPRS Journal 190, 2022, with the optimizer of its code: the encoder has a
         tenth of the learning rate of the other layers. The augmentation is that of
         config/loveda/d2ls.py
Expects  52.97 mIoU on the test server (GeoSeg's run, trained on train_val); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import LOVEDA
from network.losses.joint import JointLoss
from network.models.unetformer import UNetFormer

experiment = Experiment(
    dataset=LOVEDA,
    model=partial(UNetFormer, LOVEDA.num_classes, encoder="resnet18.a1_in1k"),
    loss=partial(JointLoss, LOVEDA.ignore_index, smoothing=0.05, aux=0.4),
    data=Data(crop=512, batch_size=8),
    optim=Optim(lr=6e-4, encoder_lr=6e-5, weight_decay=0.01, epochs=30, lookahead=True),
    monitor="val/mIoU",
)
