"""Buildings, BiCoR-Seg: for the last step of the chain from image-level labels.

Run      python tools/weak/run_chain.py -c config/weak/potsdam.py --work fig_results/weak/potsdam \\
             final.config=config/building/bicor.py
         python train.py -c config/building/bicor.py data.root=fig_results/weak/potsdam/data
Source   arXiv 2512.20255 for the network and its loss. Data settings and number of epochs are those
         of config/building/deeplabv3plus.py
Expects  not yet measured
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import BUILDING
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

experiment = Experiment(
    dataset=BUILDING,
    model=partial(
        BiCoRSeg,
        BUILDING.num_classes,
        encoder="convnext_base.fb_in1k",
        drop_path=0.5,
        dim=256,
        layers=2,
        topk_ratio=0.02,
    ),
    loss=partial(
        BiCoRLoss, BUILDING.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1
    ),
    data=Data(
        val=None,
        train_labels="pseudo",
        crop=256,
        scales=(0.75, 1.0, 1.25, 1.5),
        max_class_share=1.0,
        mosaic=0.0,
        batch_size=16,
    ),
    optim=Optim(lr=8e-5, weight_decay=0.01, epochs=50),
)
