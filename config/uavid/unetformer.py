"""UAVid, UNetFormer: ResNet-18 encoder, the usual baseline for comparison.

Run      python train.py -c config/uavid/unetformer.py
         python test_uavid.py -c config/uavid/unetformer.py -o OUT -t lr -i data/uavid/uavid_test
Source   Wang et al., ISPRS Journal 190, 2022, with the optimizer of its code: the encoder has a
         tenth of the learning rate of the other layers. The augmentation is that of
         config/uavid/d2ls.py
Expects  67.63 mIoU on the test server (GeoSeg's run, trained on train_val); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import UAVID
from network.losses.joint import JointLoss
from network.models.unetformer import UNetFormer

experiment = Experiment(
    dataset=UAVID,
    model=partial(UNetFormer, UAVID.num_classes, encoder="resnet18.a1_in1k"),
    loss=partial(JointLoss, UAVID.ignore_index, smoothing=0.05, aux=0.4),
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
    optim=Optim(lr=6e-4, encoder_lr=6e-5, weight_decay=0.01, epochs=40, lookahead=True),
    monitor="val/mIoU",
)
