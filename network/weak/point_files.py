"""Points that people have set: CSV, GeoJSON, or masks that are labeled at some pixels only."""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.warp
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import rowcol

from network.datasets.files import list_images, read_mask
from network.datasets.info import DatasetInfo
from network.datasets.segmentation import Sample
from network.errors import InputError, nearest

GEOJSON_CRS = "EPSG:4326"
"""What coordinates are in where the file does not say (RFC 7946)."""

CSV_COLUMNS = ("image", "row", "column", "class")


@dataclass(frozen=True)
class Points:
    """Of one image: rows and columns (n, 2), and labels (n,)."""

    places: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Images:
    """What points may refer to."""

    info: DatasetInfo
    by_name: Mapping[str, Sample]

    def sample(self, where: str, name: str) -> Sample:
        """The image of this name, with or without the ending of its file."""
        found = self.by_name.get(name) or self.by_name.get(Path(name).stem)
        if found is None:
            raise InputError(
                f"{where}: no image '{name}' in this split{nearest(name, self.by_name)}; correct "
                "the name, or remove the point"
            )
        return found

    def label(self, where: str, text: str) -> int:
        """A class by its name or its label."""
        classes = self.info.classes
        if text in classes:
            return classes.index(text)
        if text.isdecimal() and int(text) < len(classes):
            return int(text)
        raise InputError(
            f"{where}: no class '{text}' in {self.info.name}{nearest(text, classes)}, or 0 to "
            f"{len(classes) - 1}"
        )

    def place(self, where: str, sample: Sample, row: float, column: float) -> tuple[int, int]:
        """The pixel that a position lies in."""
        height, width = sample.size
        if not (0 <= row < height and 0 <= column < width):  # false for NaN too
            raise InputError(
                f"{where}: row {row:g}, column {column:g} is outside {sample.name}, which has "
                f"{height} rows and {width} columns; correct or remove the point"
            )
        return math.floor(row), math.floor(column)


_Found = tuple[str, str, tuple[int, int], int]  # where it stands, image, pixel, label


def read_points(path: Path, samples: Sequence[Sample], info: DatasetInfo) -> dict[str, Points]:
    """Points by image.

    A CSV has the columns ``image, row, column, class``; a class is its name or its label, an image
    the name of its file with or without ending. A GeoJSON has Points with the properties ``class``
    and either ``image``, with (column, row) as coordinates, or none, with map coordinates, which
    are looked up in the georeferenced images. A folder has a mask for each image, labeled at the
    points and ignored elsewhere.

    Raises:
        InputError: a file cannot be read, or a point has no such image or class, lies outside, or
            contradicts another one.
    """
    images = _Images(info, {sample.name: sample for sample in samples})
    if path.is_dir():
        return _from_masks(path, images)
    readers: dict[str, Callable[[Path, _Images], Iterator[_Found]]] = {
        ".csv": _from_csv,
        ".geojson": _from_geojson,
        ".json": _from_geojson,
    }
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: expected a .csv, a .geojson, or a folder of masks")
    found: dict[str, dict[tuple[int, int], int]] = {}
    try:
        for where, name, place, label in readers[path.suffix.lower()](path, images):
            if found.setdefault(name, {}).setdefault(place, label) != label:
                raise InputError(f"{where}: another point of this pixel has another class")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: unreadable ({error}); export it again") from error
    if not found:
        raise InputError(f"{path}: no point in it")
    return {
        name: Points(np.array(list(labels)), np.array(list(labels.values())))
        for name, labels in found.items()
    }


def _from_csv(path: Path, images: _Images) -> Iterator[_Found]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        missing = [column for column in CSV_COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"{path}: no column '{missing[0]}'; the first line must be {','.join(CSV_COLUMNS)}"
            )
        for line in reader:
            where = f"{path}, line {reader.line_num}"
            name, row, column, label = (line[key] or "" for key in CSV_COLUMNS)
            sample = images.sample(where, name)
            try:
                position = float(row), float(column)
            except ValueError as error:
                raise InputError(f"{where}: row '{row}', column '{column}': no numbers") from error
            yield (
                where,
                sample.name,
                images.place(where, sample, *position),
                images.label(where, label),
            )


def _from_geojson(path: Path, images: _Images) -> Iterator[_Found]:
    document = json.loads(path.read_text(encoding="utf-8"))
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise InputError(f"{path}: not a FeatureCollection; export the points as GeoJSON")
    maps: _Maps | None = None
    for number, feature in enumerate(features):
        where = f"{path}, feature {number}"
        try:
            geometry, properties = feature["geometry"], feature["properties"]
            if geometry["type"] != "Point":
                raise InputError(f"{where}: is a {geometry['type']}; only Points are labels here")
            x, y = (float(value) for value in geometry["coordinates"][:2])
            label = images.label(where, str(properties["class"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: not a Point with a property 'class' ({type(error).__name__}: {error})"
            ) from error
        if properties.get("image") is not None:
            sample = images.sample(where, str(properties["image"]))
            yield where, sample.name, images.place(where, sample, y, x), label
            continue
        maps = maps or _Maps(path, document, images)
        yield from ((where, name, place, label) for name, place in maps.find(where, x, y))


class _Maps:
    """Where the images lie on Earth."""

    def __init__(self, path: Path, document: dict, images: _Images):
        try:
            name = document["crs"]["properties"]["name"] if document.get("crs") else GEOJSON_CRS
            self.crs = rasterio.CRS.from_user_input(name)
        except (KeyError, TypeError, CRSError) as error:
            raise InputError(f"{path}: unknown coordinate system ({error})") from error
        self.images, self.frames = images, []
        for sample in images.by_name.values():
            try:
                with rasterio.open(sample.image) as file:
                    crs, transform = file.crs, file.transform
            except RasterioError as error:
                raise InputError(f"{sample.image}: unreadable ({error})") from error
            if transform.is_identity or crs is None:
                raise InputError(
                    f"{path}: has map coordinates, but {sample.image} does not say where it lies; "
                    "give each point a property 'image' and pixel coordinates"
                )
            self.frames.append((sample, crs, transform))

    def find(self, where: str, x: float, y: float) -> list[tuple[str, tuple[int, int]]]:
        """The pixels of this point, in each of the images that show it."""
        found, remedy = [], "remove the point, or give the file's coordinate system"
        for sample, crs, transform in self.frames:
            try:
                east, north = rasterio.warp.transform(self.crs, crs, [x], [y])
            except Exception as error:  # of GDAL, which have no public class
                raise InputError(f"{where}: no place in {self.crs} ({error}); {remedy}") from error
            if not np.isfinite([east, north]).all():
                continue
            (row,), (column,) = rowcol(transform, east, north)
            if 0 <= row < sample.size[0] and 0 <= column < sample.size[1]:
                found.append((sample.name, self.images.place(where, sample, row, column)))
        if not found:
            raise InputError(f"{where}: {x:g}, {y:g} is outside all images of this split; {remedy}")
        return found


def _from_masks(folder: Path, images: _Images) -> dict[str, Points]:
    found = {}
    for name, path in list_images(folder).items():
        sample = images.sample(str(path), name)
        mask = read_mask(path, images.info)
        if mask.shape != sample.size:
            raise InputError(
                f"{path}: {mask.shape[0]} x {mask.shape[1]} pixels, its image has "
                f"{sample.size[0]} x {sample.size[1]}"
            )
        places = np.argwhere(mask != images.info.ignore_index)
        found[sample.name] = Points(places, mask[tuple(places.T)])
    return found
