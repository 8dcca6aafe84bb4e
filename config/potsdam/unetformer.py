"""ISPRS Potsdam, UNetFormer: ResNet-18 encoder, the usual baseline for comparison.

Run      python train.py -c config/potsdam/unetformer.py
         python test_potsdam.py -c config/potsdam/unetformer.py -o OUT -t lr
Source   Wang et al., ISPRS Journal 190, 2022, with the optimizer of its code: the encoder has a
         tenth of the learning rate of the other layers. There, the cosine schedule starts again
         after 15 epochs; here it is one cosine. The augmentation is that of
         config/potsdam/d2ls.py
Expects  86.52 mIoU, 92.64 mF1, 91.19 OA (GeoSeg's run); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import POTSDAM
from network.losses.joint import JointLoss
from network.models.unetformer import UNetFormer

experiment = Experiment(
    dataset=POTSDAM,
    model=partial(UNetFormer, POTSDAM.num_classes, encoder="resnet18.a1_in1k"),
    loss=partial(JointLoss, POTSDAM.ignore_index, smoothing=0.05, aux=0.4),
    data=Data(crop=768, rotate=0.25, batch_size=8),
    optim=Optim(lr=6e-4, encoder_lr=6e-5, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mIoU",
)
