"""The function that ArcGIS calls for the tiles of a raster, to classify their pixels by ONNX.

It lies in a deep-learning package beside an ONNX file and its description (``.emd``). The tool
"Classify Pixels Using Deep Learning" asks it for tiles that overlap by the padding of the
description, and each answer holds the labels of the inner part of a tile. It needs NumPy and
ONNX Runtime, which ArcGIS has with its deep-learning libraries.

The names of the methods and of their arguments are those of ArcGIS. It runs on Python 3.9, too.
"""

import json
import os
from typing import Any

import numpy as np

STRIDE = 32
"""The deepest features of a network lie so many pixels apart; images begin at multiples of it."""

COLORS = ("uint8", "uint16")
"""Types of pixel values that are brightness, from black on. All others are measurements."""


class BicorPixelClassifier:
    """Turns tiles of a raster into labels of classes."""

    def __init__(self) -> None:
        self.name = "BiCoR-Seg pixel classifier"
        self.description = "Classifies the pixels of a raster by a network in an ONNX file."
        self.emd: dict[str, Any] = {}
        self.device = -1
        self._model_file = ""
        self._session: Any = None

    def initialize(self, **kwargs: Any) -> None:
        """Read the description of the network. The network itself is read when it is needed.

        Args:
            kwargs: ``model``, path of the ``.emd`` file or its content; ``device``, number of the
                GPU, -1 for the CPU.
        """
        if "model" not in kwargs:
            return
        model = kwargs["model"]
        if os.path.isfile(model):
            folder = os.path.dirname(os.path.abspath(model))
            with open(model, encoding="utf-8") as file:
                self.emd = json.load(file)
        else:
            folder = os.path.dirname(os.path.abspath(__file__))
            self.emd = json.loads(model)
        self._model_file = os.path.join(folder, self.emd["ModelFile"])
        self.device = int(kwargs.get("device", -1))
        self._session = None

    def getParameterInfo(self) -> list[dict[str, Any]]:
        """List the parameters of the tool."""
        return [
            {
                "name": "raster",
                "dataType": "raster",
                "required": True,
                "displayName": "Raster",
                "description": "The raster to classify",
            },
            {
                "name": "model",
                "dataType": "string",
                "required": True,
                "displayName": "Model definition",
                "description": "The .emd file, or its content",
            },
            {
                "name": "device",
                "dataType": "numeric",
                "required": False,
                "displayName": "Device",
                "description": "Number of the GPU; -1 for the CPU",
            },
        ]

    def getConfiguration(self, **scalars: Any) -> dict[str, Any]:
        """Tell which tiles are needed.

        Args:
            scalars: values of the parameters.
        """
        if "device" in scalars:
            self.device = int(scalars["device"])
        padding = self.emd["ModelPadding"]
        return {
            "extractBands": tuple(self.emd["ExtractBands"]),
            "padding": padding,
            "tx": self.emd["ImageWidth"] - 2 * padding,
            "ty": self.emd["ImageHeight"] - 2 * padding,
            "fixedTileSize": 1,
            "inputMask": True,
            # Place and resampling. The value for no data is not inherited: 0 is a class here.
            "inheritProperties": 4 | 8,
            "invalidateProperties": 2 | 4 | 8,  # statistics, histogram and key metadata
        }

    def updateRasterInfo(self, **kwargs: Any) -> dict[str, Any]:
        """Describe the raster of labels.

        Args:
            kwargs: ``output_info``, which is changed, and others.
        """
        info = kwargs["output_info"]
        info["bandCount"] = 1
        info["pixelType"] = "u1"
        info["statistics"] = ()
        info["histogram"] = ()
        info["rasterAttributeTable"] = json.dumps(self._attribute_table())
        return kwargs

    def updatePixels(
        self, tlc: Any, shape: Any, props: dict[str, Any], **pixelBlocks: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Classify a tile.

        Args:
            tlc: coordinates of its top left corner.
            shape: shape of the answer.
            props: properties of the raster of labels, with ``pixelType``.
            pixelBlocks: ``raster_pixels`` (bands, H, W), with the padding at all sides, and
                ``raster_mask`` of the same shape, 0 where there is no data.

        Returns:
            ``pixelBlocks`` with ``output_pixels`` and ``output_mask``, (1, h, w) without the
            padding.
        """
        pixels, mask = pixelBlocks["raster_pixels"], pixelBlocks["raster_mask"].astype(bool)
        if pixels.ndim == 2:
            pixels = pixels[None]
        mask = np.broadcast_to(mask, pixels.shape)
        # As in predict.py: black in one band is a color, but one band is enough where heights or
        # other measurements were not taken.
        is_color = self.emd["PixelType"] in COLORS
        valid = mask.any(axis=0) if is_color else mask.all(axis=0)
        # Rasters of floats may hold a number such as -3.4e38 where they have no data.
        valid &= (np.isfinite(pixels) & (mask | self._fits(pixels))).all(axis=0)
        labels = np.zeros(valid.shape, np.uint8)
        if valid.any():
            # Beyond the border of a raster there is nothing to see. As in predict.py, the tile
            # begins at the border, and what is missing at its end is filled up.
            rows, columns = _span(valid.any(axis=1)), _span(valid.any(axis=0))
            labels[rows, columns] = self._classify(pixels[:, rows, columns], valid[rows, columns])
        padding = self.emd["ModelPadding"]
        height, width = valid.shape
        inner = slice(padding, height - padding), slice(padding, width - padding)
        pixelBlocks["output_pixels"] = labels[inner][None].astype(props["pixelType"])
        pixelBlocks["output_mask"] = valid[inner][None].astype("u1")
        return pixelBlocks

    def _classify(self, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Compute the labels (h, w) uint8 of pixels (bands, h, w), which may be too few."""
        height, width = valid.shape
        missing = self.emd["ImageHeight"] - height, self.emd["ImageWidth"] - width
        if min(missing) < 0:
            raise ValueError(
                f"The tile has {height} x {width} pixels, and the network takes "
                f"{self.emd['ImageHeight']} x {self.emd['ImageWidth']}."
            )
        self._check_values(pixels[:, valid])
        # In images of 8 and 16 bits, predict.py gives the network the numbers that pixels without
        # data have in the file, so this does too if they fit the type.
        is_color = self.emd["PixelType"] in COLORS
        kept = valid | self._fits(pixels) if is_color else valid
        means = np.array(self.emd["BandMeans"], np.float32)[:, None, None]
        values = np.where(kept, pixels, means).astype(np.float32)
        values = np.pad(values, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")
        if self._session is None:
            self._session = self._open()
        (scores,) = self._session.run(None, {self._session.get_inputs()[0].name: values[None]})
        found = scores[0, :, :height, :width]
        if not np.isfinite(found.max(axis=0)).all():  # such pixels would be of the first class
            raise ValueError("The network gives NaN or infinity; export it in single precision.")
        return found.argmax(axis=0).astype(np.uint8)

    def _fits(self, values: np.ndarray) -> np.ndarray:
        """Tell which values images like those of the training can have."""
        expected = np.dtype(self.emd["PixelType"])
        if expected.kind == "f":
            return np.isfinite(values)
        limits = np.iinfo(expected)
        return (values >= limits.min) & (values <= limits.max)

    def _check_values(self, values: np.ndarray) -> None:
        """Raise a ValueError for values that images like those of the training cannot have."""
        expected = np.dtype(self.emd["PixelType"])
        if not self._fits(values).all():
            raise ValueError(
                f"The raster has values from {values.min()} to {values.max()}, and the network was "
                f"trained on images of {expected.name}. Convert the raster to this pixel type."
            )

    def _open(self) -> Any:
        import onnxruntime

        providers: list[Any] = ["CPUExecutionProvider"]
        if self.device != -1 and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            number = {"device_id": max(0, self.device)}
            providers.insert(0, ("CUDAExecutionProvider", number))
        return onnxruntime.InferenceSession(self._model_file, providers=providers)

    def _attribute_table(self) -> dict[str, Any]:
        """List the classes as ArcGIS wants an attribute table."""
        types = {
            "OID": "esriFieldTypeOID",
            "Value": "esriFieldTypeInteger",
            "Class": "esriFieldTypeString",
            "Red": "esriFieldTypeInteger",
            "Green": "esriFieldTypeInteger",
            "Blue": "esriFieldTypeInteger",
        }
        rows = []
        for number, one in enumerate(self.emd["Classes"], 1):
            red, green, blue = one["Color"]
            row = {"OID": number, "Value": one["Value"], "Class": one["Name"]}
            rows.append({**row, "Red": red, "Green": green, "Blue": blue})
        return {
            "displayFieldName": "",
            "fieldAliases": {name: name for name in types},
            "fields": [{"name": n, "type": kind, "alias": n} for n, kind in types.items()],
            "features": [{"attributes": row} for row in rows],
        }


def _span(some: np.ndarray) -> slice:
    """Find the slice to the last true value, from the stride on that has the first one."""
    places = np.flatnonzero(some)
    return slice(int(places[0]) // STRIDE * STRIDE, int(places[-1]) + 1)
