"""ISPRS Vaihingen, BiCoR-Seg from points: like bicor.py, but with 200 labeled pixels in each image.

Run      python tools/make_points.py -c config/vaihingen/bicor.py --name points_200 --budget 200
         python train.py -c config/vaihingen/bicor_points.py
         python test_vaihingen.py -c config/vaihingen/bicor_points.py -o OUT -t lr
Source   the partial cross-entropy of config/potsdam/resnet18_points.py, on the main and on the
         auxiliary logits. There is no Dice and no heatmap term, since they need whole masks, and
         no Fisher term, since it is not tested with points
Expects  not known. The masks of val and test are full masks
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.partial import PartialCrossEntropy
from network.models.bicor import BiCoRSeg

experiment = Experiment(
    dataset=VAIHINGEN,
    model=partial(
        BiCoRSeg,
        VAIHINGEN.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=2,
        topk_ratio=0.02,
        drop_path=0.5,
    ),
    loss=partial(
        PartialCrossEntropy, VAIHINGEN.ignore_index, gamma=2.0, weights="inverse", aux=0.4
    ),
    data=Data(
        train_labels="points_200",
        crop=512,
        scales=(0.5, 0.75, 1.0, 1.25, 1.5),
        max_class_share=0.5,
        batch_size=8,
    ),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mIoU",
)
