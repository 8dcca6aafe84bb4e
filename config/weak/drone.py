"""Drone orthophoto, buildings from image-level labels: small networks from scratch.

Run      python tools/weak/run_chain.py -c config/weak/drone.py \\
             --work fig_results/weak/drone root=PATH
Source   the chain of BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248). Tiles are small, since
         with larger tiles, only a few would be a quarter covered by buildings. The thresholds of
         the seeds were chosen on the synthetic scenes of the tests, not with the true masks of
         these tiles
Expects  see docs/history.md
"""

from network.buildings.settings import Chain, Classifier, Clusters, Final, Refiner, Seeds, Tiles
from network.datasets.info import DRONE

chain = Chain(
    dataset=DRONE,
    building="building",
    tiles=Tiles(side=96, negatives=4.0),
    classifier=Classifier(
        encoder="test_resnet",
        weights=None,
        encoder_lr=0.05,
        lr=0.05,
        momentum=0.9,
        epochs=40,
        long_sides=(80, 128),
        crop=96,
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
        epochs=20,
        crop=96,
    ),
    final=Final(
        overrides=(
            "model.encoder=resnet18.a1_in1k",
            "model.weights=None",
            "data.crop=96",
            "optim.lr=1e-3",
            "optim.epochs=20",
        )
    ),
)
