"""A small network of local operations, images for it, and its maps."""

from pathlib import Path

import numpy as np
import torch
from rasterio.transform import from_origin
from torch import nn

from network.maps.layers import DISAGREEMENT, LABELS, LAYERS
from network.maps.options import MapOptions
from network.maps.run import predict_maps
from network.maps.work import Task
from network.models.output import SegOutput
from network.predictor import Predictor

IDENTITY = {"checkpoint_sha256": "0123", "tta": "none", "precision": "32-true"}
SMALL = MapOptions(window=96, halo=32)
OF_ONE_VIEW = tuple(layer for layer in LAYERS.values() if layer not in (LABELS, DISAGREEMENT))
"""All layers of a map without test-time augmentation."""
COMMAND = ["predict.py", "-c", "fields.py", "--checkpoint", "weights.ckpt", "--device", "cpu"]
"""The command in the folder of the fixture ``project``."""
PLACE = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.1, 0.1)}


class Local(nn.Module):
    """A network of stride 4 whose receptive field has a radius of 7 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 7, stride=4, padding=3)
        self.out = nn.Conv2d(8, 6, 3, padding=1)
        self.passes = 0

    def forward(self, image: torch.Tensor) -> SegOutput:
        self.passes += 1
        height, width = image.shape[-2:]
        logits = self.out(self.down(image).relu())
        larger = nn.functional.interpolate(logits, scale_factor=4)
        return SegOutput(larger[..., :height, :width])


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def heights(height: int, width: int, dtype: str = "float32") -> np.ndarray:
    """Measurements in three bands, with a hole of -9999, and with NaN and infinite pixels."""
    image = np.random.default_rng(0).normal(500, 100, (height, width, 3)).astype(dtype)
    image[height // 4 : height // 2, : width // 3, 1] = -9999
    if dtype == "float32":
        image[::9, ::7, 2], image[3::11, 5::13] = np.nan, np.inf
    return image


def whole(predictor: Predictor, pixels: np.ndarray) -> np.ndarray:
    """The labels of the whole image at once.

    Not those of :meth:`Predictor.predict`, since probabilities may be equal where logits are not.
    """
    batch = torch.from_numpy(pixels.transpose(2, 0, 1))[None]
    with torch.inference_mode():
        return predictor.logits(batch)[0].argmax(0).numpy()


def predict(predictor, *images: Path, out: Path, options=SMALL, **identity) -> int:
    tasks = [Task(str(path), out / path.stem) for path in images]
    return predict_maps(predictor, tasks, IDENTITY | identity, options)


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the records, which tell the time that each map took."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if not path.name.startswith("maps")
    }
