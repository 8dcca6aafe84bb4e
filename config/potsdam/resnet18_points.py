"""ISPRS Potsdam, ResNet-18 with transposed convolutions from points: our settings.

Run      python tools/make_points.py -c config/potsdam/bicor.py --name points_200 --budget 200
         python train.py -c config/potsdam/resnet18_points.py
         python test_potsdam.py -c config/potsdam/resnet18_points.py -o OUT -t lr
Source   "Remote Sensing Image Segmentation with Partial Cross Entropy Loss" for network and loss.
         The settings of this source are in resnet18_points_original.py
Expects  not known. The masks of val and test are full masks
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import POTSDAM
from network.losses.partial import PartialCrossEntropy
from network.models.tconv import TransposedConvNet

experiment = Experiment(
    dataset=POTSDAM,
    model=partial(TransposedConvNet, POTSDAM.num_classes, encoder="resnet18.a1_in1k"),
    loss=partial(PartialCrossEntropy, POTSDAM.ignore_index, gamma=2.0, weights="inverse"),
    data=Data(train_labels="points_200", crop=512, mosaic=0.0, batch_size=16),
    optim=Optim(lr=1e-3, encoder_lr=1e-4, weight_decay=0.01, epochs=50, lookahead=False),
    monitor="val/mIoU",
)
