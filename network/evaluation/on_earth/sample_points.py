"""Points of a sample whose reference class a person has found, on the grid of a map."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from network.datasets.on_earth.classes import text_labels
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.points.formats import read_table, shown
from network.rasters.earth_grid import EarthGrid
from network.rasters.shapes import to_grid
from network.rasters.vectors import POINTS, Features, labels_of, read_features, text_of
from network.text_encoding import possible_texts

TABLES = (".csv", ".tsv")

UNLABELED = -1
"""Label of a point without a reference class."""


@dataclass(frozen=True, kw_only=True)
class SampleFile:
    """A file of points with reference classes: a layer of points, or a CSV table.

    A table has the columns ``x`` and ``y``, and may have ``crs``, the reference system of the point
    such as ``EPSG:4326``; by default it is that of the map.

    Attributes:
        path: the file.
        attribute: attribute, or column, with the reference class.
        values: the class of each value of the attributes; empty if they are names of classes or
            labels.
        stratum: attribute with the class of the map in which the point was drawn; None if it is the
            class of the map at the point.
        layer: layer of the points; None if there is only one.
    """

    path: Path
    attribute: str
    values: Mapping[str, str] = field(default_factory=dict)
    stratum: str | None = None
    layer: str | None = None


@dataclass(frozen=True)
class SamplePoints:
    """Points of a sample.

    Attributes:
        places: (n, 2) rows and columns of the pixels they are in, which may be outside the map.
        reference: (n,) label of the reference class, ``UNLABELED`` or the ignore label.
        strata: (n,) label of the stratum; None if the file does not say.
    """

    places: np.ndarray
    reference: np.ndarray
    strata: np.ndarray | None


def read_sample(sample: SampleFile, grid: EarthGrid, info: DatasetInfo) -> SamplePoints:
    """Read the points of a sample.

    Args:
        sample: the file.
        grid: the grid of the map.
        info: the classes of the map.

    Raises:
        InputError: the file cannot be read, has no such attribute, or names unknown classes.
    """
    attributes = {sample.attribute: "attribute"}
    if sample.stratum is not None:
        attributes[sample.stratum] = "stratum"
    if sample.path.suffix.lower() in TABLES:
        found = _read_table(sample.path, grid, attributes)
    else:
        found = read_features(sample.path, grid, POINTS, layer=sample.layer, attributes=attributes)
    if not len(found):
        raise InputError(sample.path, "has no points")
    labels = text_labels(info, sample.values, "values")
    strata = None if sample.stratum is None else labels_of(found, sample.stratum, labels)
    return SamplePoints(
        places=_pixels(found),
        reference=labels_of(found, sample.attribute, {"": UNLABELED, **labels}),
        strata=strata,
    )


def _pixels(found: Features) -> np.ndarray:
    """Find the rows and columns of the pixels that points are in."""
    parts, owners = shapely.get_parts(found.shapes, return_index=True)
    several = np.flatnonzero(np.bincount(owners, minlength=len(found)) != 1)
    if len(several):
        raise InputError(
            found.path,
            f"feature {found.numbers[several[0]]} has several points",
            "give each point a feature of its own, with its own class",
        )
    places = shapely.get_coordinates(parts)[:, ::-1]
    # Places that the map's reference system does not know are outside the map.
    return np.floor(np.where(np.isfinite(places), places, -1)).clip(-1, 2**40).astype(np.int64)


def _read_table(path: Path, grid: EarthGrid, attributes: Mapping[str, str]) -> Features:
    """Read the points of a CSV table."""
    columns = {name: name.strip().casefold() for name in attributes}
    try:
        texts = possible_texts(path.read_bytes())
        if len(texts) > 1:
            raise InputError(path, "is not UTF-8", "save it as UTF-8 (Excel: 'CSV UTF-8')")
        rows = list(read_table(path, texts[0], ["x", "y", *dict.fromkeys(columns.values())]))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(path, f"unreadable ({error})", "export it again") from error
    places = np.zeros((len(rows), 2))
    systems: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        try:
            places[number] = row.number("x"), row.number("y")
        except ValueError as error:
            cells = f"x {shown(row.cells['x'])}, y {shown(row.cells['y'])}"
            raise InputError(row.where, f"{cells}: no numbers") from error
        systems.setdefault(row.cells.get("crs", ""), []).append(number)
    shapes = shapely.points(places)
    for text, numbers in systems.items():
        crs = _system(path, text, grid)
        shapes[numbers] = to_grid(path, shapes[numbers], crs, grid)
    return Features(
        path=path,
        layer=path.stem,
        crs=grid.crs,
        numbers=np.arange(1, len(rows) + 1),
        shapes=shapes,
        values={
            name: [text_of(row.cells[column]) for row in rows] for name, column in columns.items()
        },
    )


def _system(path: Path, text: str, grid: EarthGrid) -> CRS:
    if not text:
        return grid.crs
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise InputError(
            path, f"unknown reference system {shown(text)} in column crs", "write EPSG:4326"
        ) from error
