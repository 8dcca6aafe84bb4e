"""Files beside a map of labels that tell other programs its classes and their colors."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
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


@dataclass(frozen=True)
class NamedValue:
    """A value of a map with the name of its class.

    Attributes:
        value: the value of the pixels.
        name: name of the class; may be empty.
        color: red, green and blue, 0 to 255; None if the file has no colors.
        pixels: number of pixels with the value; None if the file does not say.
    """

    value: int
    name: str
    color: tuple[int, int, int] | None = None
    pixels: int | None = None


def read_attribute_table(map_: Path) -> list[NamedValue]:
    """Read the names of the values of a map from ``MAP.aux.xml``.

    This project writes such files, and so do GDAL, QGIS and ArcGIS.

    Args:
        map_: the file of the map.

    Returns:
        The values in the order of the file; empty if there is no such file, or if it has no table.

    Raises:
        InputError: the file is damaged.
    """
    path = _table_of(map_)
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        return []
    except (ElementTree.ParseError, OSError, UnicodeError) as error:
        raise InputError(path, "is damaged", "copy it again, or remove it") from error
    bands = [band for band in root.iter("PAMRasterBand") if band.get("band", "1") == "1"]
    for band in bands:
        named = list(_rows_of(band)) or list(_categories_of(band))
        if named:
            return named
    return []


def _rows_of(band: ElementTree.Element) -> Iterator[NamedValue]:
    """Yield the rows of a table of values; a name may be empty."""
    table = band.find("GDALRasterAttributeTable")
    if table is None:
        return
    usages = [field.findtext("Usage", "") for field in table.iter("FieldDefn")]
    places = {int(usage): place for place, usage in enumerate(usages) if usage.isdecimal()}
    if not {_VALUE, _NAME} <= places.keys():
        return
    for row in table.iter("Row"):
        cells = [cell.text or "" for cell in row.iter("F")]
        with suppress(ValueError, IndexError):  # rows without a whole number say nothing
            name, value = cells[places[_NAME]].strip(), float(cells[places[_VALUE]])
            if value != int(value):
                continue
            color = None
            if {_RED, _GREEN, _BLUE} <= places.keys():
                red, green, blue = (int(cells[places[usage]]) for usage in (_RED, _GREEN, _BLUE))
                color = red, green, blue
            pixels = int(float(cells[places[_PIXEL_COUNT]])) if _PIXEL_COUNT in places else None
            yield NamedValue(int(value), name, color, pixels)


def _categories_of(band: ElementTree.Element) -> Iterator[NamedValue]:
    """Yield the names of categories, which are numbered from 0 on."""
    for value, category in enumerate(band.iterfind("CategoryNames/Category")):
        name = (category.text or "").strip()
        if name:
            yield NamedValue(value, name)


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


def _table_of(map_: Path) -> Path:
    return map_.with_name(f"{map_.name}.aux.xml")


def style_of(map_: Path) -> Path:
    """Return the file of the style of a map; QGIS takes one with the map's own name."""
    return map_.with_suffix(".qml")


def _write(root: ElementTree.Element, path: Path, doctype: str = "") -> None:
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    with replacing(path) as partial:
        partial.write_text(f"{doctype}{text}\n", encoding="utf-8")
