"""Deep-learning packages for ArcGIS: a zip of an ONNX file, its description and a Python file.

The tool "Classify Pixels Using Deep Learning" of ArcGIS reads them. The Python file is
``templates/BicorPixelClassifier.py``; ArcGIS calls it for each tile of a raster.

Source: Esri's description of models and of functions in Python,
https://github.com/Esri/raster-deep-learning.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from network.card import Card
from network.errors import InputError
from network.export.options import STRIDE, ExportOptions
from network.exported.record import ExportRecord

SIDE = 512
"""Side of the tiles by default, in pixels."""

SMALLEST_TILE = 3 * STRIDE
"""The smallest side of a tile: one stride between two paddings."""

FUNCTION = Path(__file__).with_name("templates") / "BicorPixelClassifier.py"
"""The Python file of a package. ArcGIS wants its class to have the name of the file."""


def arcgis_options(size: tuple[int, int] | None) -> ExportOptions:
    """Choose input and output of a file for ArcGIS.

    Args:
        size: height and width of the tiles; None for 512.

    Raises:
        InputError: the tiles are too small.
    """
    size = size or (SIDE, SIDE)
    if min(size) < SMALLEST_TILE:
        raise InputError(
            f"size={size[0]} {size[1]}",
            f"a tile for ArcGIS has at least {SMALLEST_TILE} pixels, with {STRIDE} of padding at "
            "each side",
        )
    return ExportOptions(size=size, batch=1, normalize=True)


def padding(size: tuple[int, int]) -> int:
    """Choose how many pixels at each side of a tile are context alone.

    It is an eighth of the tile, in whole strides, so that tiles begin at multiples of the stride,
    as the windows of a map do.

    Args:
        size: height and width of the tiles.
    """
    return STRIDE * max(1, min(size) // (8 * STRIDE))


@dataclass(frozen=True)
class Package:
    """A package for ArcGIS as a companion of an ONNX file, see :class:`Companion`.

    Args:
        path: the ``.dlpk`` file.
        card: facts about the network.
    """

    path: Path
    card: Card

    def check(self, record: ExportRecord) -> None:
        if record.format != "onnx":
            problem = "packages for ArcGIS hold ONNX files"
            raise InputError(f"format={record.format}", problem, "give format=onnx")
        if None in record.input.shape[2:]:
            problem = "the tiles of ArcGIS have one size"
            raise InputError("size=None", problem, f"give size={SIDE}")
        if record.input.shape[0] not in (None, 1):
            problem = "the tiles of ArcGIS come one by one"
            raise InputError(f"batch={record.input.shape[0]}", problem, "give batch=1")
        if (record.input.holds, record.input.dtype) != ("pixel values", "float32"):
            problem = "ArcGIS gives pixel values, which the file normalizes itself, in float32"
            raise InputError("normalize", problem, "give normalize=True and uint8=False")

    def write(self, partial: Path, files: Mapping[str, Path], record: ExportRecord) -> None:
        ((name, model),) = files.items()
        text = json.dumps(description(self.card, record, name), indent=2, ensure_ascii=False)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            archive.write(model, name)
            archive.writestr(f"{self.path.stem}.emd", f"{text}\n")
            archive.write(FUNCTION, FUNCTION.name)


def description(card: Card, record: ExportRecord, model: str) -> dict[str, Any]:
    """Describe a file for ArcGIS, the content of an ``.emd`` file.

    Args:
        card: facts about the network.
        record: facts of the ONNX file, whose images have a fixed size.
        model: name of the ONNX file in the package.
    """
    height, width = record.input.shape[2:]
    assert height is not None  # it has been checked
    assert width is not None
    dtype = card.info.dtype
    architecture = (card.model or "network").rpartition(":")[2]
    return {
        "Framework": "ONNX",
        "ModelConfiguration": architecture,
        "ModelType": "ImageClassification",  # ArcGIS calls the classification of pixels so
        "ModelFile": model,
        "InferenceFunction": FUNCTION.name,
        "ModelName": f"{architecture}_{card.data_set}",
        "Version": f"{date.today():%Y.%m}",
        "Description": _words(card),
        "ImageHeight": height,
        "ImageWidth": width,
        "ModelPadding": padding((height, width)),
        "BatchSize": 1,
        "ExtractBands": list(range(card.bands)),
        "IsMultispectral": card.bands != 3,
        "PixelType": dtype,
        "Classes": [
            {"Value": value, "Name": name, "Color": list(color)}
            for value, (name, color) in enumerate(zip(card.classes, card.palette, strict=True))
        ],
        # They take the place of numbers that stand for no data, which the network must not see.
        "BandMeans": list(card.mean),
    }


def _words(card: Card) -> str:
    ground = ""
    if card.ground_resolution is not None:
        ground = f", at {card.ground_resolution:.4g} m per pixel"
    return f"Trained on {card.data_set}: {card.bands} bands of {card.info.dtype}{ground}."
