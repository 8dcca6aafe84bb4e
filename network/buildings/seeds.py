"""Seeds from activation maps, with 1 for building, 0 for background and 255 for unsure pixels.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248), after IRN (Ahn et al., CVPR 2019).
"""

from collections.abc import Callable

import numpy as np

from network.datasets.info import BUILDING

UNSURE = BUILDING.ignore_index
Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_seed(
    activation: np.ndarray,
    image: np.ndarray,
    foreground: float,
    background: float,
    solve: Solver | None = None,
) -> np.ndarray:
    """Make the seed (h, w) uint8 of one image by two thresholds.

    Args:
        activation: (h, w), 0 to 1.
        image: (h, w, 3) uint8
        foreground: a pixel above this value is building.
        background: a pixel not above this value is background.
        solve: function that moves the borders of both masks to the edges of the image, see
            :data:`network.buildings.crf.CRFS`. With None, borders are not moved.
    """
    masks = np.stack([activation > foreground, activation > background])
    if solve:
        masks = solve(image, masks)
    is_building, may_be_building = masks
    seed = np.full(activation.shape, UNSURE, np.uint8)
    seed[~is_building & ~may_be_building] = 0
    seed[is_building] = 1
    return seed
