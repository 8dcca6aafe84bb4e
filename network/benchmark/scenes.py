"""Synthetic ISPRS tiles on disk, for measurements without the real ones."""

from pathlib import Path

import numpy as np

from network.datasets.files import write_image
from network.datasets.schema import DatasetInfo
from network.datasets.synthetic.town import make_scene

SCENE = 1024


def write_tiles(root: Path, info: DatasetInfo, count: int, size: int) -> tuple[Path, Path]:
    """Write synthetic tiles and return the folders of their images and RGB masks.

    A tile repeats a small scene, since drawing a large one would take longer than the measurement.

    Args:
        root: folder to write into.
        info: description of the data set, which gives names and colors.
        count: number of tiles.
        size: height and width of a tile in pixels.
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
