"""Drone orthophoto, BiCoR-Seg: five classes; a starting point for a config of your own data.

Run      python train.py -c config/drone/bicor.py data.root=PATH
         python test_custom.py -c config/drone/bicor.py -o fig_results/drone data.root=PATH
Source   tiles of DroneDeploy's segmentation sample, in the folders train, val and test. Masks hold
         labels, and 255 means no data. The encoder is small and is trained from scratch. Network
         and loss are those of config/loveda/bicor.py; optimizer and epochs are our own choice
Expects  see docs/history.md; with pretrained encoders, docs/results.md
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import DRONE
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

experiment = Experiment(
    dataset=DRONE,
    model=partial(
        BiCoRSeg,
        DRONE.num_classes,
        encoder="resnet18.a1_in1k",
        weights=None,
        dim=256,
        layers=2,
        topk_ratio=0.02,
    ),
    loss=partial(BiCoRLoss, DRONE.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1),
    data=Data(crop=256, scales=(0.5, 0.75, 1.0, 1.25), repeat=8, batch_size=8, workers=2),
    optim=Optim(lr=1e-3, weight_decay=0.05, epochs=30, lookahead=False),
)
