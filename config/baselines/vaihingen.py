"""ISPRS Vaihingen: networks of segmentation_models_pytorch, on any timm encoder.

Run      python train.py -c config/baselines/vaihingen.py model.architecture=deeplabv3plus
         python test_vaihingen.py -c config/baselines/vaihingen.py -o OUT -t d4
         (give the test the same model.architecture as the training)
Source   segmentation_models_pytorch. Data settings and number of epochs are those of
         config/vaihingen/bicor.py. The optimizer is AdamW with a learning rate of 1e-4, without
         Lookahead. Architectures: unet, unetplusplus, linknet, pspnet, deeplabv3plus, fpn,
         segformer, upernet
Expects  not measured
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.joint import JointLoss
from network.models.smp import SMPSegmenter

experiment = Experiment(
    dataset=VAIHINGEN,
    model=partial(
        SMPSegmenter,
        VAIHINGEN.num_classes,
        architecture="unet",
        encoder="resnet50.a1_in1k",
    ),
    loss=partial(JointLoss, VAIHINGEN.ignore_index, smoothing=0.05),
    data=Data(crop=512, scales=(0.5, 0.75, 1.0, 1.25, 1.5), max_class_share=0.5, batch_size=8),
    optim=Optim(lr=1e-4, weight_decay=0.01, epochs=45, lookahead=False),
    monitor="val/mIoU",
    name="baselines/vaihingen/{model.architecture}",
)
