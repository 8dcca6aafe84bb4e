"""Maps of images in memory: the layers of an opened image as arrays, without any file."""

from collections.abc import Mapping, Sequence

import numpy as np

from network.maps.layers import Layer
from network.maps.plan import Block, Plan
from network.maps.predict import BlockFailed, Segment, Times, predict_blocks
from network.rasters.source import Source


def predict_in_memory(
    segment: Segment, classes: int, source: Source, plan: Plan, layers: Sequence[Layer]
) -> dict[str, np.ndarray]:
    """Predict an image by the windows and blocks of a map, so labels are those of a map.

    Args:
        segment: computes scores of windows (b, c, h, w).
        classes: number of classes, k.
        source: the opened image.
        plan: plan of its windows and blocks.
        layers: what to compute.

    Returns:
        The layers by name, each (bands, h, w) uint8.

    Raises:
        InputError: the image cannot be decoded.
        Exception: the network fails.
    """
    size = plan.height, plan.width
    found = {layer.name: np.empty((layer.bands(classes), *size), np.uint8) for layer in layers}

    def keep(block: Block, values: Mapping[str, np.ndarray]) -> None:
        for name, part in values.items():
            found[name][:, block.rows, block.columns] = part

    try:
        predict_blocks(segment, classes, source, plan.blocks(), layers, keep, Times())
    except BlockFailed as error:
        raise error.cause from None
    return found
