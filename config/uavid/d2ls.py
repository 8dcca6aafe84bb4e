"""UAVid, D2LS: ConvNeXt-B encoder, three interactor layers, patches of 1024.

Run      python train.py -c config/uavid/d2ls.py
         python test_uavid.py -c config/uavid/d2ls.py -i data/uavid/uavid_test -o OUT -t lr
Source   arXiv 2503.06683 and its released settings; stochastic depth 0.5 as in torchvision's
         ConvNeXt-B. To train as in the released code, add data.train=train_val data.val=None. The
         release uses torchvision's encoder weights (model.weights=convnext_base-6075fbad.pth); here
         they are timm's. The release divides the cross-entropy by the number of all pixels, here
         only valid ones count
Expects  70.9 mIoU on the test server when trained on train_val (paper); not reproduced here
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import UAVID
from network.losses.d2ls import D2LSLoss
from network.models.d2ls import D2LS

experiment = Experiment(
    dataset=UAVID,
    model=partial(
        D2LS,
        UAVID.num_classes,
        encoder="convnext_base.fb_in1k",
        layers=3,
        drop_path=0.5,
    ),
    loss=partial(D2LSLoss, UAVID.ignore_index, smoothing=0.05, aux=0.4, contrastive=1.0),
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
    optim=Optim(lr=1e-4, weight_decay=0.01, epochs=45, lookahead=True),
    monitor="val/mIoU",
)
