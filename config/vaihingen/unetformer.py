"""ISPRS Vaihingen, UNetFormer: ResNet-18 encoder, the usual baseline for comparison.

Run      python train.py -c config/vaihingen/unetformer.py
         python test_vaihingen.py -c config/vaihingen/unetformer.py -o OUT -t d4
Source   Wang et al., ISPRS Journal 190, 2022, with the optimizer of its code: the encoder has a
         tenth of the learning rate of the other layers. There, the cosine schedule starts again
         after 15 and 45 epochs; here it is one cosine. The augmentation is that of
         config/vaihingen/d2ls.py
Expects  82.54 mIoU, 90.30 mF1, 91.10 OA (GeoSeg's run); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.joint import JointLoss
from network.models.unetformer import UNetFormer

experiment = Experiment(
    dataset=VAIHINGEN,
    model=partial(UNetFormer, VAIHINGEN.num_classes, encoder="resnet18.a1_in1k"),
    loss=partial(JointLoss, VAIHINGEN.ignore_index, smoothing=0.05, aux=0.4),
    data=Data(crop=512, scales=(0.5, 0.75, 1.0, 1.25, 1.5), max_class_share=0.5, batch_size=8),
    optim=Optim(lr=6e-4, encoder_lr=6e-5, weight_decay=0.01, epochs=105, lookahead=True),
    monitor="val/mIoU",
)
