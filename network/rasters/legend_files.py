"""Files beside a map of labels that tell other programs its classes and their colors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from network.errors import InputError
from network.rasters.tiles import Legend
from network.writing import replacing

# GDAL's codes of the type of a field and of its use, in tables of a raster's values.
_INTEGER, _TEXT = 0, 2
_PIXEL_COUNT, _NAME, _VALUE, _RED, _GREEN, _BLUE, _ALPHA = 1, 2, 5, 6, 7, 8, 9
_FIELDS = (
    ("Value", _INTEGER, _VALUE),
    ("Name", _TEXT, _NAME),
    ("Red", _INTEGER, _RED),
    ("Green", _INTEGER, _GREEN),
    ("Blue", _INTEGER, _BLUE),
    ("Alpha", _INTEGER, _ALPHA),
    ("PixelCount", _INTEGER, _PIXEL_COUNT),
)


def write_attribute_table(map_: Path, legend: Legend, pixels: Sequence[int]) -> None:
    """Write ``MAP.aux.xml``, in which GDAL, QGIS and ArcGIS look for names of classes.

    rasterio cannot write such tables yet (its issue 3185).

    Args:
        map_: the file of the labels.
        legend: classes and palette.
        pixels: number of pixels of each class.

    Raises:
        InputError: the file cannot be written.
    """
    root = ElementTree.Element("PAMDataset")
    band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    names = ElementTree.SubElement(band, "CategoryNames")
    for name in legend.classes:
        ElementTree.SubElement(names, "Category").text = name
    table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_FIELDS):
        field = ElementTree.SubElement(table, "FieldDefn", index=str(index))
        ElementTree.SubElement(field, "Name").text = name
        ElementTree.SubElement(field, "Type").text = str(kind)
        ElementTree.SubElement(field, "Usage").text = str(usage)
    rows = zip(legend.classes, legend.palette, pixels, strict=True)
    for label, (name, color, count) in enumerate(rows):
        row = ElementTree.SubElement(table, "Row", index=str(label))
        for value in (label, name, *color, 255, count):
            ElementTree.SubElement(row, "F").text = str(value)
    _write(root, _table_of(map_))


@dataclass(frozen=True)
class TableRow:
    """One class in the attribute table of a map.

    Attributes:
        label: value of its pixels.
        name: name of the class.
        color: red, green and blue; None if the table has no colors.
        pixels: number of its pixels; None if the table has no numbers.
    """

    label: int
    name: str
    color: tuple[int, int, int] | None = None
    pixels: int | None = None


def read_attribute_table(map_: Path) -> list[TableRow]:
    """Read the classes of a map from ``MAP.aux.xml``, which GDAL, QGIS or this project wrote.

    Args:
        map_: the file of the labels.

    Returns:
        The classes; none if there is no such file, or if it names no classes.

    Raises:
        InputError: the file cannot be read.
    """
    path = _table_of(map_)
    if not path.is_file():
        return []
    try:
        root = ElementTree.parse(path).getroot()
        band = root.find("PAMRasterBand[@band='1']")
        if band is None:
            return []
        return _rows(band) or _categories(band)
    except (OSError, ElementTree.ParseError, ValueError, KeyError, OverflowError) as error:
        raise InputError(
            path, f"is no table of classes ({error})", "delete it, or write it again"
        ) from error


def _rows(band: ElementTree.Element) -> list[TableRow]:
    """Read the attribute table; fields are found by their use, since names may be any."""
    table = band.find("GDALRasterAttributeTable")
    if table is None:
        return []
    uses = [int(field.findtext("Usage", "0")) for field in table.findall("FieldDefn")]
    if not {_VALUE, _NAME} <= set(uses):
        return []
    has_colors = {_RED, _GREEN, _BLUE} <= set(uses)
    rows = []
    for row in table.findall("Row"):
        field = dict(zip(uses, (text.text or "" for text in row.findall("F")), strict=False))
        color = None
        if has_colors:
            color = (_whole(field[_RED]), _whole(field[_GREEN]), _whole(field[_BLUE]))
        pixels = _whole(field[_PIXEL_COUNT]) if _PIXEL_COUNT in field else None
        rows.append(TableRow(_whole(field[_VALUE]), field[_NAME], color, pixels))
    return rows


def _whole(text: str) -> int:
    return int(float(text))


def _categories(band: ElementTree.Element) -> list[TableRow]:
    """Read the plain list of names; an empty name is that of no class."""
    names = [category.text for category in band.findall("CategoryNames/Category")]
    return [TableRow(label, name) for label, name in enumerate(names) if name]


def _table_of(map_: Path) -> Path:
    return map_.with_name(f"{map_.name}.aux.xml")


def write_qgis_style(map_: Path, legend: Legend) -> None:
    """Write ``MAP.qml`` (without the map's own ending), with which QGIS draws the classes.

    Args:
        map_: the file of the labels.
        legend: classes and palette.

    Raises:
        InputError: the file cannot be written.
    """
    root = ElementTree.Element("qgis", version="3.30", styleCategories="Symbology")
    pipe = ElementTree.SubElement(root, "pipe")
    renderer = ElementTree.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for label, (name, color) in enumerate(zip(legend.classes, legend.palette, strict=True)):
        shown = "#{:02x}{:02x}{:02x}".format(*color)
        entry = {"value": str(label), "label": name, "color": shown, "alpha": "255"}
        ElementTree.SubElement(palette, "paletteEntry", entry)
    ElementTree.SubElement(root, "blendMode").text = "0"
    _write(root, style_of(map_), doctype="<!DOCTYPE qgis>\n")


def style_of(map_: Path) -> Path:
    """Return the file of the style of a map; QGIS takes one with the map's own name."""
    return map_.with_suffix(".qml")


def _write(root: ElementTree.Element, path: Path, doctype: str = "") -> None:
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    with replacing(path) as partial:
        partial.write_text(f"{doctype}{text}\n", encoding="utf-8")
