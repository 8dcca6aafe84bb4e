"""ISPRS Potsdam, ResNet-18 with transposed convolutions from points: the original's settings.

Run      for split in train val test; do python tools/potsdam_patch_split.py --mode val \\
             --val-scale 0.5 --split-size 512 --stride 512 --rgb-image \\
             --img-dir data/potsdam/${split}_images --mask-dir data/potsdam/${split}_masks \\
             --output-img-dir data/potsdam_half/$split/images_1024 \\
             --output-mask-dir data/potsdam_half/$split/masks_1024; done
         python train.py -c config/potsdam/resnet18_points_original.py
         python test_potsdam.py -c config/potsdam/resnet18_points_original.py -o OUT
Source   "Remote Sensing Image Segmentation with Partial Cross Entropy Loss". The original draws
         20 000 points in a patch of 300 x 300 pixels and resizes the patch to 150 x 150. Image
         values are from 0 to 1, and the class weights come from the dense masks. The points, 22.2 %
         of the pixels, are drawn again each time that the patch is used, so in the end nearly
         every pixel has been a label. The learning rate and its steps are estimated from the
         original's curves; the batch size is ours. Three things differ here:
         1. Points are drawn after the resizing. In the original, the resizing removes three
            quarters of them.
         2. The original trains on whole small patches. Here, crops are random windows that cover
            9 % of a larger patch. A crop that shows only one class is drawn again.
         3. The network has six classes. The original has a seventh, undefined, which is never
            trained.
Expects  not reproduced here. The original's last README states 57.0 mIoU and 74.2 OA, on other
         patches. Its first README stated 65.7 and 80.5, but its own curves contradict this
"""

from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import POTSDAM
from network.losses.partial import PartialCrossEntropy
from network.models.tconv import TransposedConvNet

experiment = Experiment(
    dataset=POTSDAM,
    model=partial(TransposedConvNet, POTSDAM.num_classes, encoder="resnet18.a1_in1k"),
    loss=partial(
        PartialCrossEntropy,
        POTSDAM.ignore_index,
        gamma=2.0,
        weights="inverse",
        counted="dense",
    ),
    data=Data(
        root="data/potsdam_half",
        label_share=0.222,
        crop=150,
        scales=(1.0,),
        max_class_share=1.0,
        mosaic=0.0,
        rotate=0.0,
        flip=0.0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        batch_size=16,
    ),
    optim=Optim(lr=1e-3, min_lr=0.0, step=5, weight_decay=0.0, epochs=100, lookahead=False),
    monitor="val/mIoU",
)
