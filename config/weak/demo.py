"""Synthetic aerial scenes, buildings from image-level labels: minutes on two CPU cores.

Run      python tools/make_demo_data.py --scenes-train 16
         python tools/weak/run_chain.py -c config/weak/demo.py --work fig_results/weak/demo
Source   the chain of BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248) with small networks
         from scratch, whose features are small too; the thresholds of the seeds fit other
         synthetic scenes, those of the tests
Expects  see docs/results.md
"""

from dataclasses import replace

from network.datasets.info import VAIHINGEN
from network.weak.chain import Chain, Classifier, Clusters, Final, Refiner, Seeds, Tiles

chain = Chain(
    dataset=replace(VAIHINGEN, name="demo", root="data/demo/tiles", tile_splits={}),
    building="Building",
    tiles=Tiles(side=128),
    classifier=Classifier(
        encoder="test_resnet",
        weights=None,
        encoder_lr=0.05,
        lr=0.05,
        momentum=0.9,
        epochs=20,
        long_sides=(96, 160),
        crop=128,
    ),
    clusters=Clusters(k=8, images=200, tolerance=0.0),
    seeds=Seeds(foreground=0.5, background=0.3),
    refiner=Refiner(
        encoder="test_resnet",
        weights=None,
        rates=(1, 2, 3, 4),
        dropout=0.0,
        encoder_lr=1e-3,
        lr=2e-3,
        epochs=12,
        crop=128,
    ),
    final=Final(
        overrides=(
            "model.encoder=resnet18.a1_in1k",
            "model.weights=None",
            "data.crop=128",
            "optim.lr=1e-3",
            "optim.epochs=10",
        )
    ),
)
