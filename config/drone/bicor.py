"""Your own data, BiCoR-Seg: a small drone orthophoto, five classes; the template to copy.

Run      python train.py -c config/drone/bicor.py data.root=PATH
         python test_custom.py -c config/drone/bicor.py -o fig_results/drone data.root=PATH
Source   image and mask folders train, val, test; index masks, 255 = no data. The tiles are
         DroneDeploy's segmentation sample. The encoder is small and starts from scratch
Expects  see 'Results' in README.md
"""

from network.config import Data, Experiment, Optim
from network.datasets.info import DatasetInfo, Folder, Labels
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

DRONE = DatasetInfo(
    name="drone",
    root="data/drone",
    classes=("ground", "building", "vegetation", "clutter", "car"),
    palette=((255, 255, 255), (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 0)),
    ignore_index=255,
    splits={
        split: (Folder(images=f"{split}/images", labels=(Labels(folder=f"{split}/masks"),)),)
        for split in ("train", "val", "test")
    },
)


def model(
    encoder: str = "resnet18.a1_in1k",
    weights: str | None = None,
    dim: int = 256,
    layers: int = 2,
    topk_ratio: float = 0.02,
) -> BiCoRSeg:
    return BiCoRSeg(
        DRONE.num_classes,
        encoder=encoder,
        weights=weights,
        dim=dim,
        layers=layers,
        topk_ratio=topk_ratio,
    )


def loss(
    smoothing: float = 0.05, aux: float = 0.4, heatmap: float = 0.1, fisher: float = 0.1
) -> BiCoRLoss:
    return BiCoRLoss(
        DRONE.ignore_index, smoothing=smoothing, aux=aux, heatmap=heatmap, fisher=fisher
    )


experiment = Experiment(
    dataset=DRONE,
    model=model,
    loss=loss,
    data=Data(crop=256, scales=(0.5, 0.75, 1.0, 1.25), repeat=8, batch_size=8, workers=2),
    optim=Optim(lr=1e-3, weight_decay=0.05, epochs=20, lookahead=False),
)
