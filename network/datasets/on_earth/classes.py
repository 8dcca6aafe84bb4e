"""The classes of a map, and which values of rasters and of attributes mean them."""

import colorsys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from network.datasets.schema import RGB, DatasetInfo
from network.errors import InputError, nearest
from network.rasters.legend_files import NamedValue, read_attribute_table
from network.rasters.source import Source

IGNORE = "ignore"
"""The word that stands for no class, where values are mapped to classes."""

OWN_CLASSES = "map"
"""Name of the data set where the classes are those that a map names itself."""

_IGNORE_INDEX = 255


@dataclass(frozen=True)
class ValueLabels:
    """The labels of the values of a raster.

    Attributes:
        labels: the label of each value, or the ignore label.
        names: names that the raster gives to its values, for errors.
        option: name of the user's setting that says which class a value is, for errors.
    """

    labels: Mapping[int, int]
    names: Mapping[int, str]
    option: str


def find_classes(
    path: Path, source: Source, info: DatasetInfo | None, values: Mapping[str, str]
) -> DatasetInfo:
    """Find the classes of a map.

    They are those of ``info``, or those that ``values`` names, or those that the map itself names
    in ``MAP.aux.xml``.

    Args:
        path: file of the map.
        source: the opened map.
        info: description of a data set; None if the map has other classes.
        values: the class of each value of the map, by the user; empty if the user says nothing.

    Raises:
        InputError: nothing names the classes, or ``values`` are no numbers.
    """
    if info is not None:
        return info
    named = _read_names(path) if not values else _named(values, "map_values")
    if not named:
        raise InputError(
            path,
            f"nothing names its classes: there is no {path.name}.aux.xml beside it",
            "give config=FILE of its data set, or map_values=VALUE=CLASS,...",
        )
    table = source.color_table
    colors: dict[str, RGB | None] = {}
    for one in named:
        colors.setdefault(plain(one.name), one.color or table.get(one.value))
    colors.pop(IGNORE, None)
    try:
        return DatasetInfo(
            name=OWN_CLASSES,
            root="",
            classes=tuple(colors),
            palette=distinct_colors(list(colors.values())),
            ignore_index=_IGNORE_INDEX,
            splits={},
        )
    except ValueError as error:
        raise InputError(path, f"its classes cannot be used ({error})") from error


def value_labels(
    path: Path, source: Source, info: DatasetInfo, values: Mapping[str, str], option: str
) -> ValueLabels:
    """Find the labels of the values of a raster.

    The user's ``values`` count. Without them, the names count that the raster has for its values.
    If it has no names either, its values mean what ``info.mask_coding`` says: by default, they are
    labels.

    Args:
        path: file of the raster.
        source: the opened raster.
        info: the classes.
        values: the class of each value, by the user; empty if the user says nothing.
        option: name of the user's setting for ``values``.

    Raises:
        InputError: ``values`` have an unknown class, or are no numbers.
    """
    if values:
        given = {one.value: label_of(one.name, info, option) for one in _named(values, option)}
        return ValueLabels(given, {}, option)
    named = _read_names(path)
    if named:
        names = {one.value: plain(one.name) for one in named}
        classes = _classes(info)
        labels = {v: classes.index(n) for v, n in names.items() if n in classes}
        return ValueLabels(labels, names, option)
    if info.mask_coding.color_tables == "colors" and source.color_table:
        codes = color_labels(info)
        table = {value: codes.get(color_code(color)) for value, color in source.color_table.items()}
        return ValueLabels({v: n for v, n in table.items() if n is not None}, {}, option)
    ignored = (info.ignore_index, *info.mask_coding.ignored_values)
    labels = dict.fromkeys(ignored, info.ignore_index)
    labels |= {value: label for label, value in enumerate(info.mask_values)}
    return ValueLabels(labels, {}, option)


def color_labels(info: DatasetInfo) -> dict[int, int]:
    """Find the label of the code of each color; black is ignored unless a class is black.

    Args:
        info: the classes, with their palette.
    """
    ignored = [(0, 0, 0), *info.mask_coding.ignored_colors]
    labels = dict.fromkeys(map(color_code, ignored), info.ignore_index)
    return labels | {color_code(color): label for label, color in enumerate(info.palette)}


def color_code(color: RGB) -> int:
    """Write red, green and blue as one number of 24 bits."""
    red, green, blue = color
    return red << 16 | green << 8 | blue


def text_labels(info: DatasetInfo, values: Mapping[str, str], option: str) -> dict[str, int]:
    """Find the labels of the values of an attribute.

    A value is the name of a class or a label, or is mapped to a class by the user.

    Args:
        info: the classes.
        values: the class of each value, by the user; empty if the user says nothing.
        option: name of the user's setting for ``values``.

    Raises:
        InputError: ``values`` have an unknown class.
    """
    labels = {str(label): label for label in range(info.num_classes)} if not values else {}
    labels |= {name: label for label, name in enumerate(_classes(info))}
    return labels | {text: label_of(name, info, option) for text, name in values.items()}


def label_of(name: str, info: DatasetInfo, option: str) -> int:
    """Find the label of a class by its name; ``"ignore"`` is the ignore label.

    Args:
        name: the name.
        info: the classes.
        option: name of the user's setting that has the name, for the error.

    Raises:
        InputError: there is no such class.
    """
    classes = _classes(info)
    if plain(name) in classes:
        return classes.index(plain(name))
    if name == IGNORE:
        return info.ignore_index
    raise InputError(f"{option}={name}", f"no such class{nearest(name, classes)}")


def plain(text: str) -> str:
    """Normalize a name, since Unicode writes an accented letter as one character or as two."""
    return unicodedata.normalize("NFC", text.strip())


def _classes(info: DatasetInfo) -> list[str]:
    return [plain(name) for name in info.classes]


def _read_names(path: Path) -> list[NamedValue]:
    """Read the values of a map that have a name."""
    return [named for named in read_attribute_table(path) if named.name]


def _named(values: Mapping[str, str], option: str) -> list[NamedValue]:
    try:
        return [NamedValue(int(value), name) for value, name in values.items()]
    except ValueError as error:
        wrong = next(value for value in values if not value.lstrip("-").isdecimal())
        raise InputError(
            f"{option}={wrong}={values[wrong]}", "the values of a raster are whole numbers"
        ) from error


def distinct_colors(colors: Sequence[RGB | None]) -> tuple[RGB, ...]:
    """Return the colors, or others if some are missing or equal.

    Args:
        colors: a color of each class, or None.
    """
    found = [color for color in colors if color is not None]
    if len(set(found)) == len(colors):
        return tuple(found)
    golden = (5**0.5 - 1) / 2  # neighbors get very different hues
    made = []
    for number in range(len(colors)):
        shade = colorsys.hsv_to_rgb(number * golden % 1, 0.75, 0.9 - 0.3 * (number // 12 % 2))
        made.append(tuple(round(255 * part) for part in shade))
    return tuple((red, green, blue) for red, green, blue in made)
