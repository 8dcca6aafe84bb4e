"""Parsers of the two file formats of points: tables of Excel or pandas, and GeoJSON of QGIS."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network.errors import InputError

CSV_COLUMNS = ("image", "row", "column", "class")
SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Feature:
    """Points of one class as they are written in the file.

    Attributes:
        where: file and line or feature, for errors.
        image: name of the image; None for places on Earth.
        label: name or label of the class.
        places: (column, row) in the image, or (x, y) on Earth; empty without geometry.
    """

    where: str
    image: str | None
    label: str
    places: Sequence[tuple[float, float]]


def shown(text: str) -> str:
    """Quote a text from a file, cut so that it fits into the line of an error."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        where: file and line, for errors.
        cells: the text of each column, by its heading in small letters.
        is_european: whether semicolons separate the columns, so a comma may be a decimal comma.
    """

    where: str
    cells: dict[str, str]
    is_european: bool

    def number(self, column: str) -> float:
        """Parse the number in a column.

        Raises:
            ValueError: the text is no number.
        """
        return _number(self.cells[column], self.is_european)


def read_csv(path: Path, text: str) -> Iterator[Feature]:
    """Parse the points of a table, whose first line names the columns.

    Args:
        path: the file, for errors.
        text: its text.

    Raises:
        InputError: a column is missing, or a line does not fit the first one.
        csv.Error: the text is no table.
    """
    for row in read_table(path, text, CSV_COLUMNS):
        name, down, across, label = (row.cells[column] for column in CSV_COLUMNS)
        try:
            place = row.number("column"), row.number("row")
        except ValueError as error:
            raise InputError(
                row.where, f"row {shown(down)}, column {shown(across)}: no numbers"
            ) from error
        yield Feature(row.where, name, label, [place])


def read_table(path: Path, text: str, needed: Sequence[str]) -> Iterator[Row]:
    """Parse a table whose first line names the columns.

    Args:
        path: the file, for errors.
        text: its text; columns are separated by commas, semicolons or tabs.
        needed: headings of the columns that it must have, in small letters.

    Raises:
        InputError: a column is missing, or a line does not fit the first one.
        csv.Error: the text is no table.
    """
    stated = re.match(r"sep=([,;|\t])\r?\n", text)  # for Excel
    lines = text[stated.end() :] if stated else text
    separator = stated[1] if stated else _separator(lines, needed)
    whole = io.StringIO(lines, newline="")  # keep the line ends, as the csv module wants them
    reader = csv.reader(whole, delimiter=separator, skipinitialspace=True)
    rows = (row for row in reader if any(cell.strip() for cell in row))
    header = [_folded(cell) for cell in next(rows, [])]
    for column in needed:
        if header.count(column) != 1:
            which = f"{header.count(column)} columns" if column in header else "no column"
            raise InputError(
                path, f"{which} '{column}'", f"the first line must be {','.join(needed)}"
            )
    width = len(header)
    for row in rows:
        where = f"{path}, line {reader.line_num + bool(stated)}"
        if any(cell.strip() for cell in row[width:]):
            raise InputError(
                where,
                f"{len(row)} fields, the first line has {width}",
                "write numbers with a decimal point, or quote fields with a separator in them",
            )
        by_column = zip(header, [*row, *[""] * (width - len(row))], strict=False)
        yield Row(where, {name: cell.strip() for name, cell in by_column}, separator == ";")


def _separator(text: str, known: Sequence[str]) -> str:
    """Find the separator that gives the most known columns in the first line."""
    first = next((line for line in text.splitlines() if line.strip()), "")

    def columns(separator: str) -> int:
        header = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
        return len({*map(_folded, header)} & {*known})

    return max(SEPARATORS, key=columns)


def _folded(heading: str) -> str:
    return heading.strip().casefold()


def _number(text: str, is_european: bool) -> float:
    """Parse a number with a decimal point or a decimal comma.

    ``1,234`` is read as a decimal only if ``is_european`` (columns separated by semicolons), since
    elsewhere it may mean 1234.
    """
    if is_european or not re.search(r",\d{3}$", text):
        text = text.replace(",", ".")
    return float(text)


def read_geojson(path: Path, document: Any) -> tuple[Iterator[Feature], str | None]:
    """Parse the features of a GeoJSON document, and the coordinate system that it names.

    Args:
        path: the file, for errors.
        document: the parsed JSON.

    Returns:
        The features, and the name of the coordinate system; None if the file names none.

    Raises:
        InputError: the document is no collection of points.
    """
    listed = document.get("features") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise InputError(path, "not a FeatureCollection", "export the points as GeoJSON")
    crs = document.get("crs")
    if crs is not None:
        try:
            crs = str(crs["properties"]["name"])
        except (KeyError, TypeError) as error:
            raise InputError(
                path, "its 'crs' names no coordinate system", "export the points again"
            ) from error
    return (_feature(f"{path}, feature {n}", feature) for n, feature in enumerate(listed)), crs


def _feature(where: str, feature: Any) -> Feature:
    try:
        places = list(_places(where, feature["geometry"]))
        properties: dict[str, Any] = {}
        for name, value in (feature["properties"] or {}).items():
            if properties.setdefault(_folded(name), value) != value:
                raise InputError(where, f"several properties {shown(name)}", "keep one")
        label, image = properties.get("class"), properties.get("image")
        if places and label is None:
            raise InputError(
                where, "not a Point with a property 'class'", "give it one, or remove it"
            )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            where, "not a Point with numbers and properties", "export the points again"
        ) from error
    return Feature(where, None if image is None else str(image), str(label), places)


def _places(where: str, geometry: Any) -> Iterator[tuple[float, float]]:
    """Yield the points of a geometry, which may be missing or empty."""
    if geometry is None:
        return
    kind = geometry["type"]
    if kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _places(where, part)
        return
    if kind not in ("Point", "MultiPoint"):
        raise InputError(where, f"is a {shown(str(kind))}", "only Points are labels here")
    given = geometry["coordinates"]
    for place in given if kind == "MultiPoint" else [given]:
        if place:
            x, y, *_ = place
            if {type(x), type(y)} - {int, float}:
                raise ValueError("coordinates are no numbers")
            yield float(x), float(y)
