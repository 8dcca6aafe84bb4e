"""Buildings, DeepLabV3+ with a ResNet-50: the last step of the chain from image-level labels.

Run      python tools/weak/run_chain.py -c config/weak/potsdam.py --work fig_results/weak/potsdam
         python train.py -c config/building/deeplabv3plus.py data.root=fig_results/weak/potsdam/data
Source   BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248), which ends with a DeepLabV3+. Its
         own encoder, optimizer and schedule are not known; here they are a ResNet-50, AdamW and a
         cosine. The last epoch is kept, since true masks must not be used to choose an epoch
Expects  not yet measured
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import BUILDING
from network.losses.joint import JointLoss
from network.models.smp import SMPSegmenter

experiment = Experiment(
    dataset=BUILDING,
    model=partial(
        SMPSegmenter,
        BUILDING.num_classes,
        architecture="deeplabv3plus",
        encoder="resnet50.a1_in1k",
    ),
    loss=partial(JointLoss, BUILDING.ignore_index, smoothing=0.05),
    data=Data(
        val=None,
        train_labels="pseudo",
        crop=256,
        scales=(0.75, 1.0, 1.25, 1.5),
        max_class_share=1.0,
        mosaic=0.0,
        batch_size=16,
    ),
    optim=Optim(lr=2e-4, weight_decay=0.01, epochs=50, lookahead=False),
)
