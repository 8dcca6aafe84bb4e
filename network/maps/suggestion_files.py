"""Files for the person who labels: windows to look at, and a layer to draw corrections into.

This module needs the extra ``vectors``.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyproj

from network.errors import InputError
from network.maps.read import MapClass
from network.maps.suggest import Suggestions
from network.rasters import vectors
from network.rasters.legend_files import style_of
from network.rasters.vector_files import Layer, Rows, write_geopackage
from network.writing import replacing

WINDOWS, CORRECTIONS, CLASS = "windows", "corrections", "class"
"""Names of the two layers, and of the attribute that has the class of a correction."""

_OUTLINE = (230, 0, 120)
_OPAQUE, _SEEN_THROUGH = 255, 110


def write_windows(path: Path, found: Suggestions) -> None:
    """Write windows as a GeoPackage, and a style with which QGIS draws them as outlines.

    The attributes are ``rank`` from 1 on, ``score`` and ``map``. The same windows give the same
    bytes.

    Args:
        path: the GeoPackage.
        found: the windows.

    Raises:
        InputError: a file cannot be written.
    """
    windows = found.windows
    layer = Layer(WINDOWS, found.crs, {"rank": int, "score": float, "map": str})
    values: dict[str, np.ndarray | Sequence[str]] = {
        "rank": np.arange(1, len(windows) + 1),
        "score": np.array([round(window.score, 6) for window in windows]),
        "map": [window.map.name for window in windows],
    }
    polygons = np.array([window.polygon for window in windows])
    write_geopackage(path, layer, [Rows(polygons, values)])
    root = _style("Symbology")
    renderer = ElementTree.SubElement(root, "renderer-v2", type="singleSymbol")
    symbols = ElementTree.SubElement(renderer, "symbols")
    outline = {"style": "no", "outline_color": _color(_OUTLINE, _OPAQUE), "outline_width": "0.8"}
    _add_symbol(symbols, "0", outline)
    _write(root, path)


def prepare_corrections(path: Path, crs: pyproj.CRS, classes: Sequence[MapClass]) -> bool:
    """Make an empty layer for polygons with a class, unless the file is there already.

    QGIS lets the person choose the class from a list, and draws it in its color. A file that is
    there is left as it is, since it may have a day's work in it.

    Args:
        path: the GeoPackage.
        crs: reference system of the layer.
        classes: the classes.

    Returns:
        Whether the file was made.

    Raises:
        InputError: the file cannot be written, or it is there and has no attribute ``class``.
    """
    if path.exists():
        if CLASS not in vectors.list_attributes(path):
            raise InputError(path, f"has no attribute '{CLASS}'", "choose another file")
        return False
    root = _style("Symbology|Fields|Forms")
    _add_categories(root, classes)
    _add_choice(root, classes)
    # The style first: if the layer exists, all is there.
    _write(root, path)
    write_geopackage(path, Layer(CORRECTIONS, crs, {CLASS: str}), [])
    return True


def _add_categories(root: ElementTree.Element, classes: Sequence[MapClass]) -> None:
    """Let QGIS draw each class in its color, and polygons without a class as outlines."""
    renderer = ElementTree.SubElement(root, "renderer-v2", type="categorizedSymbol", attr=CLASS)
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for number, one in enumerate(classes):
        names = {"value": one.name, "label": one.name, "type": "string"}
        category = {"symbol": str(number), "render": "true", **names}
        ElementTree.SubElement(categories, "category", category)
        outline = {"outline_color": _color(one.color, _OPAQUE), "outline_width": "0.5"}
        _add_symbol(symbols, str(number), {"color": _color(one.color, _SEEN_THROUGH), **outline})
    rest = {"symbol": str(len(classes)), "value": "", "label": "no class yet", "render": "true"}
    ElementTree.SubElement(categories, "category", rest)
    outline = {"style": "no", "outline_color": _color(_OUTLINE, _OPAQUE), "outline_width": "0.5"}
    _add_symbol(symbols, str(len(classes)), outline)


def _add_choice(root: ElementTree.Element, classes: Sequence[MapClass]) -> None:
    """Let QGIS ask for the class by a list."""
    fields = ElementTree.SubElement(root, "fieldConfiguration")
    field = ElementTree.SubElement(fields, "field", name=CLASS, configurationFlags="NoFlag")
    widget = ElementTree.SubElement(field, "editWidget", type="ValueMap")
    config = ElementTree.SubElement(widget, "config")
    options = ElementTree.SubElement(config, "Option", type="Map")
    choices = ElementTree.SubElement(options, "Option", name="map", type="List")
    for one in classes:
        choice = ElementTree.SubElement(choices, "Option", type="Map")
        named = {"type": "QString", "name": one.name, "value": one.name}
        ElementTree.SubElement(choice, "Option", named)


def _style(categories: str) -> ElementTree.Element:
    return ElementTree.Element("qgis", version="3.30", styleCategories=categories)


def _add_symbol(symbols: ElementTree.Element, name: str, properties: dict[str, str]) -> None:
    symbol = ElementTree.SubElement(symbols, "symbol", type="fill", name=name, alpha="1")
    layer = ElementTree.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1"})
    for key, value in properties.items():
        ElementTree.SubElement(layer, "prop", k=key, v=value)


def _color(color: tuple[int, int, int], alpha: int) -> str:
    return ",".join(map(str, (*color, alpha)))


def _write(root: ElementTree.Element, path: Path) -> None:
    """Write the style of a layer; QGIS takes the one with the name of its file."""
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    with replacing(style_of(path)) as partial:
        partial.write_text(f"<!DOCTYPE qgis>\n{text}\n", encoding="utf-8")
