"""Synthetic tiles, buildings from image-level labels: a minute on two CPU cores.

Run      python tools/weak/make_demo_scenes.py
         python tools/weak/run_chain.py -c config/weak/demo.py --work fig_results/weak/demo
Source   the chain of BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248) with small networks
         from scratch; the thresholds of the seeds were chosen on these scenes
Expects  see docs/results.md
"""

from dataclasses import replace

from network.buildings.settings import Chain, Classifier, Clusters, Final, Refiner, Seeds, Tiles
from network.datasets.info import BUILDING

chain = Chain(
    dataset=replace(BUILDING, name="demo", root="data/demo/buildings"),
    building="building",
    tiles=Tiles(side=96),
    classifier=Classifier(
        encoder="test_resnet",
        weights=None,
        encoder_lr=0.05,
        lr=0.05,
        momentum=0.9,
        epochs=8,
        long_sides=(80, 112),
        crop=96,
    ),
    clusters=Clusters(k=6, images=100, tolerance=0.0),
    seeds=Seeds(foreground=0.5, background=0.3),
    refiner=Refiner(
        encoder="test_resnet",
        weights=None,
        rates=(1, 2),
        dropout=0.0,
        encoder_lr=1e-3,
        lr=2e-3,
        epochs=8,
        crop=96,
    ),
    final=Final(
        overrides=(
            "model.encoder=test_resnet",
            "model.weights=None",
            "data.crop=96",
            "data.batch_size=8",
            "optim.lr=2e-3",
            "optim.epochs=3",
        ),
    ),
    workers=1,
)
