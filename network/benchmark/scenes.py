"""Synthetic ISPRS tiles on disk, to measure on where the real ones are not at hand."""

from pathlib import Path

import numpy as np

from network.datasets.files import write_image
from network.datasets.schema import DatasetInfo
from network.datasets.synthetic.town import make_scene

SCENE = 1024


def write_tiles(root: Path, info: DatasetInfo, count: int, size: int) -> tuple[Path, Path]:
    """Write ``count`` tiles of size x size pixels; the folders of images and of RGB masks.

    A tile repeats a scene: drawing a whole one would take longer than what is measured.
    """
    names, images, masks = info.tile_names, root / "images", root / "masks"
    repeats = -(-size // SCENE)
    for number in range(count):
        image, labels = make_scene(number, SCENE, SCENE)
        image = np.tile(image, (repeats, repeats, 1))[:size, :size]
        labels = np.tile(labels, (repeats, repeats))[:size, :size]
        write_image(images / f"tile_{number}{names.image}", image)
        write_image(masks / f"tile_{number}{names.mask}", info.to_rgb(labels))
    return images, masks
