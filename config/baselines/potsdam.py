"""ISPRS Potsdam: networks of segmentation_models_pytorch, on any timm encoder.

Run      python train.py -c config/baselines/potsdam.py model.architecture=deeplabv3plus
         python test_potsdam.py -c config/baselines/potsdam.py -o OUT -t lr
         (give the test the same model.architecture as the training)
Source   segmentation_models_pytorch. Data settings and number of epochs are those of
         config/potsdam/bicor.py. The optimizer is AdamW with a learning rate of 1e-4, without
         Lookahead. Architectures: unet, unetplusplus, linknet, pspnet, deeplabv3plus, fpn,
         segformer, upernet
Expects  not measured
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import POTSDAM
from network.losses.joint import JointLoss
from network.models.smp import SMPSegmenter

experiment = Experiment(
    dataset=POTSDAM,
    model=partial(
        SMPSegmenter,
        POTSDAM.num_classes,
        architecture="unet",
        encoder="resnet50.a1_in1k",
    ),
    loss=partial(JointLoss, POTSDAM.ignore_index, smoothing=0.05),
    data=Data(crop=768, rotate=0.25, batch_size=8),
    optim=Optim(lr=1e-4, weight_decay=0.01, epochs=45, lookahead=False),
    monitor="val/mIoU",
    name="baselines/potsdam/{model.architecture}",
)
