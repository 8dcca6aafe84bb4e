"""Areas for train, val and test on the ground of scenes that are too few, or that touch.

This module needs the extra ``vectors``.
"""

import math
from pathlib import Path

import numpy as np
import shapely

from network.datasets.on_earth.find import Scene, find_scenes
from network.datasets.on_earth.label_raster import CELL
from network.datasets.on_earth.scenes import Scenes
from network.datasets.on_earth.split import Division, split_scenes
from network.datasets.schema import DatasetInfo
from network.errors import InputError

_BLOCKS = 64
"""Number of blocks, about. With fewer of them, the shares of rare classes differ more; with more,
the guard bands take more, or are narrower."""

_BUFFER = 1 / 8
"""Width of the guard bands, as a share of the side of a block."""


def divide_ground(info: DatasetInfo, root: Path, scenes: Scenes) -> tuple[Division, float, float]:
    """Divide the ground of scenes by blocks whose size fits their labels.

    Args:
        info: the data set.
        root: its root folder.
        scenes: all of its scenes, whose labels are drawn for this.

    Returns:
        The division, the side of a block and the width of the guard bands, both in meters.

    Raises:
        InputError: a file cannot be used, or the ground cannot be divided.
    """
    found = find_scenes(info, root, scenes)
    side = _rounded(math.sqrt(sum(map(_labeled_ground, found)) / _BLOCKS))
    buffer = _rounded(_BUFFER * side)
    try:
        return split_scenes(found, block=side, buffer=buffer), side, buffer
    except InputError as error:
        raise InputError(
            root,
            f"its ground cannot be divided into blocks of {side:g} m: {error.where} "
            f"{error.problem}",
            "draw areas of train, val and test in a GIS, and give areas=FILE",
        ) from error


def count_images(division: Division) -> dict[str, int]:
    """Count the images that have ground of each split.

    Args:
        division: the division.
    """
    outlines, pixel = division.blocks.outlines, division.blocks.plane.pixel
    tree, found = shapely.STRtree(outlines), {}
    for part in division.parts:
        grounds, images = tree.query(part.ground, predicate="intersects")
        # Ground at the border of an image also touches its neighbors.
        shared = shapely.area(shapely.intersection(part.ground[grounds], outlines[images]))
        found[part.name] = len(np.unique(images[shared > pixel**2]))
    return found


def _labeled_ground(scene: Scene) -> float:
    """Compute about how many square meters of a scene have labels."""
    if scene.labels is None or scene.resolution is None:
        return 0.0
    cells = np.count_nonzero(scene.labels.cells.any(axis=2))
    pixels = min(int(cells) * CELL**2, math.prod(scene.size))
    return pixels * scene.resolution**2


def _rounded(meters: float) -> float:
    """Round a length to two digits."""
    return float(f"{meters:.2g}")
