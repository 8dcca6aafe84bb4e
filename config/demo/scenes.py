"""Synthetic scenes on Earth with polygons as labels, read in windows: nothing is cut into patches.

Run      python tools/make_demo_data.py --georeferenced
         python train.py -c config/demo/scenes.py
Source   the scenes of config/demo/bicor.py as GeoTIFFs, with their labels in a GeoPackage
Expects  not measured
"""

from dataclasses import replace
from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.scenes import Scenes
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg


def scenes(split: str) -> Scenes:
    """All images, as far as they are in the areas of a split."""
    return Scenes(
        images=("images/*.tif",),
        labels=(LabelFile(path="labels.gpkg", attribute="class"),),
        areas=AreaFile(path="areas.gpkg", attribute="split", only=(split,)),
    )


DEMO_SCENES = replace(
    VAIHINGEN,
    name="demo_scenes",
    root="data/demo_scenes",
    splits={split: (scenes(split),) for split in ("train", "val", "test")},
    tiles=None,
    patched=False,
    tile_splits={},
    tile_sizes={},
    left_out=(),
)

experiment = Experiment(
    dataset=DEMO_SCENES,
    model=partial(
        BiCoRSeg,
        DEMO_SCENES.num_classes,
        encoder="resnet18.a1_in1k",
        weights=None,
        dim=256,
        layers=2,
        topk_ratio=0.02,
    ),
    loss=partial(
        BiCoRLoss, DEMO_SCENES.ignore_index, smoothing=0.05, aux=0.4, heatmap=0.1, fisher=0.1
    ),
    data=Data(
        crop=160,
        scales=(0.75, 1.0, 1.25),
        mosaic=0.0,
        window=256,
        repeat=3,
        batch_size=8,
        workers=1,
    ),
    optim=Optim(lr=1e-3, weight_decay=0.05, epochs=8, lookahead=False),
)
