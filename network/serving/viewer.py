"""A finished map to look at: its tiles as PNG, and what lies at a pixel."""

import math
import re
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
import rasterio.warp
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.errors import RasterioError

from network.datasets.files import encode
from network.maps.layers import (
    CONFIDENCE,
    DISAGREEMENT,
    ENTROPY,
    LAYERS,
    NO_DATA,
    PROBABILITIES,
    STEPS,
)
from network.maps.read import FinishedMap
from network.rasters.display import choose_bands, display_of
from network.rasters.place import Place, ground_at_middle
from network.rasters.view import View
from network.serving.tiles import SIDE, Tiles

CLASSES, IMAGE = "classes", "image"
"""Names of two of the layers that have tiles; the others are called like their files."""

COLOR_MAPS = {
    CONFIDENCE.name: "viridis",
    PROBABILITIES.name: "viridis",
    ENTROPY.name: "magma",
    DISAGREEMENT.name: "magma",
}
"""Matplotlib's names of the colors of shares; these can be told apart by the color-blind."""

_STOPS = 17


class Outlines(Protocol):
    """The polygons of a map: :class:`network.serving.polygons.Polygons`, which needs an extra.

    Attributes:
        path: their file.
        is_wanted: whether they are shown at first.
    """

    path: Path
    is_wanted: bool

    def inside(self, box: tuple[float, float, float, float], pixel: float) -> str | None:
        """Write the outlines in a window as GeoJSON; None if there are too many."""


class MapViewer:
    """A map, its image and its other layers, as the page asks for them.

    Args:
        map_: the map.
        image: the image in the map's rows and columns; None to show the map alone.
        bands: numbers of the bands of the image that are shown; None for the first three.
        polygons: the polygons of the map; None if there are none.

    Raises:
        InputError: a file cannot be read, or the image has no such bands.
    """

    def __init__(
        self,
        map_: FinishedMap,
        image: View | None = None,
        bands: Sequence[int] | None = None,
        polygons: Outlines | None = None,
    ):
        self.map = map_
        self.polygons = polygons
        self._labels = Tiles(map_.labels, is_labels=True)
        self._layers = {name: Tiles(view) for name, view in map_.layers.items()}
        self._colors = {name: _share_colors(COLOR_MAPS[name]) for name in map_.layers}
        self._image = None
        if image is not None:
            shown = choose_bands(image, bands)
            self._image = Tiles(image)
            with self._image.opened() as file:
                self._display = display_of(image, shown, file)
        # A browser keeps tiles; those of another run are other ones.
        self._version = secrets.token_hex(4)

    def about(self) -> dict[str, Any]:
        """Describe the map for the page, as plain values."""
        labels = self.map.labels
        ground = ground_at_middle(labels.place, labels.height, labels.width)
        shares = self.map.shares
        classes = [
            {
                "label": entry.label,
                "name": entry.name,
                "color": _css(entry.color),
                "pixels": entry.pixels,
                "share": share,
            }
            for entry, share in zip(self.map.classes, shares, strict=True)
        ]
        return {
            "version": self._version,
            "name": labels.path.name,
            "image": self._image.view.path.name if self._image else None,
            "width": labels.width,
            "height": labels.height,
            "tile": SIDE,
            "maxZoom": self._labels.max_zoom,
            "classes": classes,
            "layers": [
                {
                    "name": name,
                    "title": name.capitalize(),
                    "description": LAYERS[name].description,
                    "perClass": LAYERS[name].per_class,
                    "colors": [_css(color) for color in _stops(self._colors[name])],
                }
                for name in self._layers
            ],
            "polygons": self._about_polygons(),
            "meters": ground.meters if ground else None,
            "place": _about_place(labels.place),
        }

    def _about_polygons(self) -> dict[str, Any] | None:
        if self.polygons is None:
            return None
        return {"name": self.polygons.path.name, "wanted": self.polygons.is_wanted}

    def tile(
        self,
        layer: str,
        zoom: int,
        x: int,
        y: int,
        *,
        hidden: Collection[int] = (),
        number: int = 0,
    ) -> bytes | None:
        """Draw a tile as PNG.

        Args:
            layer: ``"image"``, ``"classes"``, or the name of a layer of shares.
            zoom: zoom of the tile, see :class:`Tiles`.
            x: number of the tile in its row.
            y: number of its row.
            hidden: labels of classes that are not drawn.
            number: for probabilities, number of the class in the legend, from 0 on.

        Returns:
            The file; None if there is no such tile or layer.

        Raises:
            InputError: the pixels cannot be decoded.
        """
        if layer == IMAGE:
            return self._image_tile(zoom, x, y)
        if layer == CLASSES:
            values = self._labels.read(zoom, x, y, [1])
            colors = np.zeros((256, 4), np.uint8)
            for entry in self.map.classes:
                if entry.label not in hidden:
                    colors[entry.label] = *entry.color, 255
        elif layer in self._layers:
            tiles = self._layers[layer]
            if not 0 <= number < tiles.view.bands:
                return None
            values = tiles.read(zoom, x, y, [number + 1])
            colors = self._colors[layer]
        else:
            return None
        if values is None:
            return None
        pixels = colors[values.data[0]]
        pixels[np.ma.getmaskarray(values)[0]] = 0
        return encode(pixels, ".png")

    def _image_tile(self, zoom: int, x: int, y: int) -> bytes | None:
        if self._image is None:
            return None
        values = self._image.read(zoom, x, y, self._display.bands)
        if values is None:
            return None
        colors = self._display.to_rgb(values.data.transpose(1, 2, 0))
        # A pixel has no data where none of its bands has any.
        valid = ~np.ma.getmaskarray(values).all(axis=0)
        return encode(np.dstack([colors, np.where(valid, 255, 0).astype(np.uint8)]), ".png")

    def at(self, row: int, column: int) -> dict[str, Any] | None:
        """Tell what lies at a pixel, as plain values; None outside the map.

        Args:
            row: row of the pixel, from 0 on.
            column: column of the pixel.

        Raises:
            InputError: the pixel cannot be decoded.
        """
        labels = self.map.labels
        if not (0 <= row < labels.height and 0 <= column < labels.width):
            return None
        label = _plain(self._labels.pixel(row, column, [1]))[0]
        found: dict[str, Any] = {
            "row": row,
            "column": column,
            "label": label,
            "image": None,
            "shares": {},
            "place": _coordinates(labels.place, row, column),
        }
        for name, tiles in self._layers.items():
            bands = range(1, tiles.view.bands + 1)
            values = _plain(tiles.pixel(row, column, bands))
            if None not in values:
                shares = [value / STEPS for value in values]
                found["shares"][name] = shares if LAYERS[name].per_class else shares[0]
        if self._image:
            values = _plain(self._image.pixel(row, column, self._display.bands))
            found["image"] = None if None in values else values
        return found


def _share_colors(name: str) -> np.ndarray:
    """Make the colors (256, 4) of stored shares: 0 to ``STEPS``, and nothing without data."""
    shares = np.arange(256) / STEPS
    colors = mpl.colormaps[name](np.clip(shares, 0, 1), bytes=True)
    colors[NO_DATA] = 0
    return colors


def _stops(colors: np.ndarray) -> np.ndarray:
    return colors[np.linspace(0, STEPS, _STOPS).round().astype(int), :3]


def _css(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _plain(values: np.ma.MaskedArray) -> list[Any]:
    """Turn values into Python's own numbers; None where they are masked or no numbers."""
    return [None if v is None or not math.isfinite(v) else v for v in values.tolist()]


# Place ------------------------------------------------------------------------------------------


def _about_place(place: Place | None) -> dict[str, Any] | None:
    """Describe a reference system and the way from pixels to its coordinates."""
    if place is None or place.transform is None:
        return None
    name, is_geographic = "coordinates", False
    if place.crs:
        found = re.search(r'"([^"]+)"', place.crs.to_wkt())
        code = place.crs.to_epsg()
        name = (found[1] if found else "coordinates") + (f" (EPSG:{code})" if code else "")
        is_geographic = place.crs.is_geographic
    return {
        "name": name,
        "isGeographic": is_geographic,
        "transform": list(place.transform)[:6],
    }


def _coordinates(place: Place | None, row: int, column: int) -> dict[str, float] | None:
    """Compute the coordinates of a pixel's middle, and its longitude and latitude."""
    if place is None or place.transform is None:
        return None
    x, y = place.transform @ (column + 0.5, row + 0.5)
    found = {"x": x, "y": y}
    if place.crs:
        try:
            (longitude,), (latitude,) = rasterio.warp.transform(place.crs, "EPSG:4326", [x], [y])
        except (RasterioError, CPLE_BaseError):
            return found
        if math.isfinite(longitude) and math.isfinite(latitude):
            found |= {"longitude": longitude, "latitude": latitude}
    return found
