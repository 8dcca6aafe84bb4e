"""Files beside masks that name the classes: tables of names, colors and values."""

import csv
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ImageColor

from network.datasets.schema import RGB
from network.errors import InputError, listed, warn
from network.rasters.legend_files import read_attribute_table
from network.text_encoding import possible_texts
from network.writing import parse_json

_FILES = re.compile(r".*(class|label|legend|palette|color|colour|categor).*\.(json|csv)")
_NAMES = ("name", "title", "class", "label", "category", "class_name")
_COLORS = ("color", "colour", "rgb", "hex")
_VALUES = (
    *("value", "id", "index", "code", "pixel", "pixel_value", "label_id", "class_id"),
    *("category_id", "train_id", "trainid", "idx", "gridcode", "gray", "grey", "dn", "number"),
)
_CHANNELS = (("r", "g", "b"), ("red", "green", "blue"))

_NOTHING = re.compile(
    r"(un|not[ _-]?)label+ed|ignored?|void|no[ _-]?data|unknown|undefined|unclassified|none",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Entry:
    """One class of a legend.

    Attributes:
        name: its name.
        color: its color in masks; None if the file does not say.
        value: its value in masks; None if the file does not say.
    """

    name: str
    color: RGB | None = None
    value: int | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether the name says that these pixels have no class."""
        return _NOTHING.fullmatch(self.name) is not None


@dataclass(frozen=True)
class Legend:
    """The classes that a file names.

    Attributes:
        path: the file.
        entries: the classes, in the order of the file.
    """

    path: Path
    entries: tuple[Entry, ...]

    def of_value(self, value: int) -> Entry | None:
        """Find the class of a value; without values in the file, its position counts."""
        if any(entry.value is not None for entry in self.entries):
            return next((entry for entry in self.entries if entry.value == value), None)
        return self.entries[value] if 0 <= value < len(self.entries) else None

    def of_color(self, color: RGB, tolerance: int = 0) -> Entry | None:
        """Find the class of a color, or of the nearest one within a tolerance."""
        apart = [
            (max(abs(a - b) for a, b in zip(entry.color, color, strict=True)), number)
            for number, entry in enumerate(self.entries)
            if entry.color
        ]
        least, number = min(apart, default=(256, 0))
        return self.entries[number] if least <= tolerance else None


def find_legend(folders: Iterable[Path], masks: Sequence[Path]) -> Legend | None:
    """Find the file that names the classes; None if there is none.

    Args:
        folders: where to look, the nearest folder first.
        masks: some masks; a file ``MASK.aux.xml`` beside one of them counts too.
    """
    for mask in masks:
        named = read_attribute_table(mask)
        if any(one.name for one in named):
            entries = tuple(Entry(one.name, one.color, one.value) for one in named if one.name)
            return Legend(mask.with_name(f"{mask.name}.aux.xml"), entries)
    for folder in dict.fromkeys(folders):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            # Names that begin with a dot are those of macOS's companions of other files.
            is_legend = _FILES.fullmatch(path.name.lower()) and not path.name.startswith(".")
            if is_legend and path.is_file():
                entries = _read(path)
                if entries:
                    return Legend(path, entries)
    return None


def _read(path: Path) -> tuple[Entry, ...]:
    """Read the classes of a file; empty if it names none.

    Raises:
        InputError: the names are others in other encodings.
    """
    read = _of_json if path.suffix.lower() == ".json" else _of_csv
    found = set()
    with suppress(OSError, ValueError):
        for text in possible_texts(path.read_bytes()):
            with suppress(ValueError, csv.Error):  # another encoding may fit
                found.add(tuple(read(text)))
    if not found:
        warn(f"{path}: looks like names of classes, but cannot be read")
        return ()
    if len(found) > 1:
        names = " or ".join(sorted(listed(entry.name for entry in some) for some in found)[:2])
        raise InputError(
            path,
            f"is not UTF-8, so its classes may be {names}",
            "save it as UTF-8 (Excel: 'CSV UTF-8'), or move it away",
        )
    return found.pop()


def _of_json(text: str) -> list[Entry]:
    """Find the classes in a list of objects, or in an object of names and colors or values."""
    found = parse_json(text)
    if isinstance(found, dict):
        lists = [v for v in found.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        if lists:
            found = lists[0]
    if isinstance(found, list):
        rows = [row for row in found if isinstance(row, dict)]
        if not rows and all(isinstance(name, str) for name in found):
            return [Entry(name) for name in found]
        return _of_rows(rows)
    if isinstance(found, dict):
        return [entry for key, value in found.items() if (entry := _of_item(key, value))]
    return []


def _of_item(key: str, value: Any) -> Entry | None:
    """Read ``"water": [0, 0, 255]``, ``"water": 3`` or ``"3": "water"``."""
    if isinstance(value, str) and key.lstrip("-").isdecimal():
        return Entry(value.strip(), value=int(key))
    color = _color(value)
    if color:
        return Entry(key.strip(), color)
    if isinstance(value, int):
        return Entry(key.strip(), value=value)
    return None


def _of_csv(text: str) -> list[Entry]:
    lines = text.splitlines()
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    return _of_rows(list(csv.DictReader(lines, delimiter=delimiter)))


def _of_rows(rows: Sequence[dict]) -> list[Entry]:
    """Read the classes of the lines of a table, or of objects with the same keys."""
    table = [{_heading(key): value for key, value in row.items()} for row in rows]

    def are_whole(key: str) -> bool:
        found = [cells[key] for cells in table if cells.get(key) not in (None, "")]
        return bool(found) and all(_whole(cell) is not None for cell in found)

    # A column such as "label" has the name or the value, and its cells tell which. If the names
    # are numbers, too, "name" is rather the name, and "label" the value.
    values = [key for key in (*_VALUES, *reversed(_NAMES)) if are_whole(key)]
    value = next(iter(values), None)
    texts = [key for key in _NAMES if not are_whole(key)]
    names = [*texts, *(key for key in _NAMES if key != value and key not in texts)]
    return [entry for cells in table if (entry := _of_cells(cells, names, value))]


def _heading(key: Any) -> str:
    """Write the name of a column as the lists above do."""
    return re.sub(r"[ -]+", "_", str(key).strip().lstrip("#").strip().lower())


def _of_cells(cells: dict, names: Sequence[str], value_key: str | None) -> Entry | None:
    """Read a class from a line; None if it has no name in any of the columns."""
    texts = [cells[key] for key in names if isinstance(cells.get(key), str)]
    name = next((text for text in texts if text.strip()), None)
    if name is None:
        return None
    value = cells.get(value_key) if value_key else None
    color = next((_color(cells[key]) for key in _COLORS if key in cells), None)
    for keys in _CHANNELS:
        if set(keys) <= cells.keys():
            color = _color([cells[key] for key in keys])
    return Entry(name.strip(), color, _whole(value))


def _color(value: Any) -> RGB | None:
    """Read a color: three numbers, or a text such as ``#50E3C2``; None if it is none."""
    if isinstance(value, list | tuple) and len(value) >= 3:
        numbers = [_whole(part) for part in value[:3]]
        red, green, blue = numbers
        if red is None or green is None or blue is None or not {red, green, blue} <= _BYTES:
            return None
        return red, green, blue
    if isinstance(value, str):
        try:
            red, green, blue = ImageColor.getrgb(value.strip())[:3]
        except ValueError:
            return None
        return red, green, blue
    return None


_BYTES = set(range(256))


def _whole(value: Any) -> int | None:
    """Read a whole number, also 3.0, as tables with gaps have it; None if it is none."""
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
