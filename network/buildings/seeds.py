"""Seeds from activation maps: 1 building, 0 background, 255 where unsure.

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
    """Building where the map is above ``foreground``, background where not above ``background``.

    Args:
        activation: (h, w), 0 to 1.
        image: (h, w, 3) uint8.
        solve: cuts both masks along the edges of the image; see :data:`network.buildings.crf.CRFS`.

    Returns:
        (h, w) uint8
    """
    masks = np.stack([activation > foreground, activation > background])
    if solve:
        masks = solve(image, masks)
    is_building, may_be_building = masks
    seed = np.full(activation.shape, UNSURE, np.uint8)
    seed[~is_building & ~may_be_building] = 0
    seed[is_building] = 1
    return seed
