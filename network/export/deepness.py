"""Metadata of ONNX files for Deepness, a plugin of QGIS, and for GeoDeep.

Source: what both programs read, https://github.com/PUTvision/qgis-plugin-deepness and
https://github.com/uav4geo/GeoDeep. Both cut an image into square tiles, divide its values of 8 bits
by 255, and take the class with the largest output of each pixel. GeoDeep does not normalize, so the
file does.
"""

import json

from network.card import Card
from network.errors import InputError
from network.export.options import ExportOptions

SIDE = 512
"""Side of the tiles by default, in pixels."""

OVERLAP = 15
"""Overlap of neighboring tiles in percent of their side, which a user of Deepness can change."""


def deepness_options(size: tuple[int, int] | None) -> ExportOptions:
    """Choose input and output of a file for Deepness and GeoDeep.

    Args:
        size: height and width of the tiles, which must be equal; None for 512.

    Raises:
        InputError: the tiles are no squares, or too small.
    """
    size = size or (SIDE, SIDE)
    if size[0] != size[1]:
        problem = "the tiles of Deepness are squares"
        raise InputError(f"size={size[0]} {size[1]}", problem, "give one number")
    return ExportOptions(size=size, batch=1, normalize=True, softmax=True, unit=True)


def deepness_properties(card: Card, side: int, resolution: float | None = None) -> dict[str, str]:
    """Make the entries of the metadata, each a JSON text.

    Args:
        card: facts about the network.
        side: side of the tiles in pixels.
        resolution: meters per pixel, to which the programs bring an image; by default that of the
            training images.

    Raises:
        InputError: the resolution is not known, or not above 0.
    """
    # Deepness counts in the units of the map, which Web Mercator stretches.
    own = card.plane_resolution or card.ground_resolution
    meters = own if resolution is None else resolution
    if meters is None:
        raise InputError(
            "deepness=True",
            "the checkpoint does not know the meters per pixel of its training images",
            "give resolution=METERS",
        )
    if not 0 < meters < float("inf"):
        raise InputError(f"resolution={meters:g}", "must be above 0 meters per pixel")
    values = {
        "model_type": "Segmentor",
        "class_names": {str(label): name for label, name in enumerate(card.classes)},
        "resolution": float(f"{100 * meters:.6g}"),  # in centimeters
        # The documentation of Deepness names the second, and its code reads the first.
        "tile_size": side,
        "tiles_size": side,
        "tiles_overlap": OVERLAP,
        "standardization_mean": [0.0] * card.bands,
        "standardization_std": [1.0] * card.bands,
        # Where all probabilities are smaller, Deepness would take the first class.
        "seg_thresh": 0.0,
        "seg_small_segment": 0,  # Deepness then does not smooth the map
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
