"""Drone orthophoto, ResNet-18 with transposed convolutions from points, trained from scratch.

Run      python tools/make_points.py -c config/drone/bicor.py --name points_200 \\
             --share 0.2222 data.root=PATH
         python train.py -c config/drone/resnet18_points.py data.root=PATH
         python tools/ablate.py points -c config/drone/resnet18_points.py data.root=PATH
Source   network and loss of config/potsdam/resnet18_points.py, random scales and repeated passes of
         config/drone/bicor.py. The loss has no class weights: by inverse frequency, a pixel of a
         car would weigh six hundred times as much as a pixel of ground
Expects  31.3 mIoU with these points (200 for every 300 x 300 pixels), 32.8 with full masks, in bf16
         (docs/history.md)
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import DRONE
from network.losses.partial import PartialCrossEntropy
from network.models.tconv import TransposedConvNet

experiment = Experiment(
    dataset=DRONE,
    model=partial(TransposedConvNet, DRONE.num_classes, encoder="resnet18.a1_in1k", weights=None),
    loss=partial(PartialCrossEntropy, DRONE.ignore_index, gamma=2.0, weights="none"),
    data=Data(
        train_labels="points_200",
        crop=192,
        scales=(0.5, 0.75, 1.0, 1.25),
        mosaic=0.0,
        repeat=8,
        batch_size=8,
        workers=2,
    ),
    optim=Optim(lr=1e-3, weight_decay=0.01, epochs=20, lookahead=False),
)
