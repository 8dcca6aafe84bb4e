"""UAVid: networks of segmentation_models_pytorch, on any timm encoder.

Run      python train.py -c config/baselines/uavid.py model.architecture=deeplabv3plus
         python test_uavid.py -c config/baselines/uavid.py -o OUT -t lr -i data/uavid/uavid_test
         (give the test the same model.architecture as the training)
Source   segmentation_models_pytorch. Data settings and number of epochs are those of
         config/uavid/d2ls.py. The optimizer is AdamW with a learning rate of 1e-4, without
         Lookahead. Architectures: unet, unetplusplus, linknet, pspnet, deeplabv3plus, fpn,
         segformer, upernet
Expects  not measured
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import UAVID
from network.losses.joint import JointLoss
from network.models.smp import SMPSegmenter

experiment = Experiment(
    dataset=UAVID,
    model=partial(
        SMPSegmenter,
        UAVID.num_classes,
        architecture="unet",
        encoder="resnet50.a1_in1k",
    ),
    loss=partial(JointLoss, UAVID.ignore_index, smoothing=0.05),
    data=Data(
        test="val",
        crop=1024,
        scales=(1.0,),
        max_class_share=1.0,
        rotate=0.0,
        brighten=0.25,
        sharpen=0.5,
        batch_size=4,
    ),
    optim=Optim(lr=1e-4, weight_decay=0.01, epochs=45, lookahead=False),
    monitor="val/mIoU",
    name="baselines/uavid/{model.architecture}",
)
