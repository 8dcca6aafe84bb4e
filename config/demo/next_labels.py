"""Synthetic scenes on Earth with few labels, for the study of what to label next: a small LinkNet.

Run      python tools/make_demo_data.py --georeferenced --size 512 512 --scenes-train 6 \\
             --scenes-val 1 --scenes-test 4 --seed 5 --output data/next_labels
         python tools/label_study.py -c config/demo/next_labels.py --size 23.27 --rounds 4 \\
             --head-start 3
Source   the scenes of config/demo/scenes.py
Expects  see docs/second_visit.md
"""

from dataclasses import replace
from functools import partial

from config.demo.scenes import DEMO_SCENES
from network.config import Data, Experiment, Optim
from network.losses.joint import JointLoss
from network.models.smp import SMPSegmenter

NEXT_LABELS = replace(DEMO_SCENES, name="next_labels", root="data/next_labels")

experiment = Experiment(
    dataset=NEXT_LABELS,
    model=partial(
        SMPSegmenter,
        NEXT_LABELS.num_classes,
        architecture="linknet",
        encoder="resnet10t.c3_in1k",
        weights=None,
    ),
    loss=partial(JointLoss, NEXT_LABELS.ignore_index, smoothing=0.05),
    data=Data(
        crop=96,
        scales=(0.75, 1.0, 1.25),
        mosaic=0.0,
        window=128,
        repeat=32,
        val=None,
        batch_size=8,
        workers=0,
    ),
    optim=Optim(lr=1e-3, weight_decay=0.05, epochs=3, lookahead=False),
)
