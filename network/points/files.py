"""Reading of points that people have set, from CSV, GeoJSON or masks with few labeled pixels."""

import csv
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PureWindowsPath

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine
from rasterio.errors import CRSError
from rasterio.transform import rowcol

from network.datasets.files import list_images, read_mask
from network.datasets.open_image import turned_on_earth
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.errors import InputError, nearest, warn
from network.points.formats import Feature, read_csv, read_geojson, shown
from network.rasters.header import read_header
from network.text_encoding import possible_texts
from network.writing import parse_json

GEOJSON_CRS = "EPSG:4326"
"""Coordinate system of a GeoJSON file that names none (RFC 7946)."""

TABLES, DOCUMENTS = (".csv", ".tsv"), (".geojson", ".json")


@dataclass(frozen=True)
class Points:
    """The labeled points of one image.

    Attributes:
        places: (n, 2) rows and columns.
        labels: (n,) labels of the classes.
    """

    places: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Images:
    """The images and classes that points may name."""

    info: DatasetInfo
    by_name: Mapping[str, Sample]

    def sample(self, where: str, name: str) -> Sample:
        """Find the image of a name, which may include folders and the ending of the file."""
        name = _plain(name)
        found = self.by_name.get(name) or self.by_name.get(PureWindowsPath(name).stem)
        if found is None:
            raise InputError(
                where,
                f"no image {shown(name)} in this split{nearest(name, self.by_name)}",
                "correct the name, or remove the point",
            )
        return found

    def label(self, where: str, text: str) -> int:
        """Find a class by its name or its label, which some programs write as 2.0."""
        text = _plain(text)
        classes = [_plain(name) for name in self.info.classes]
        if text in classes:
            return classes.index(text)
        whole = re.fullmatch(r"(\d{1,9})([.,]0+)?", text)
        if whole and int(whole[1]) < len(classes):
            return int(whole[1])
        raise InputError(
            where,
            f"no class {shown(text)} in {self.info.name} (a name, or a label from 0 to "
            f"{len(classes) - 1}){nearest(text, classes)}",
        )

    def place(self, where: str, sample: Sample, row: float, column: float) -> tuple[int, int]:
        """Find the pixel that contains a position."""
        height, width = sample.size
        if not (0 <= row < height and 0 <= column < width):  # false for NaN too
            raise InputError(
                where,
                f"row {row:g}, column {column:g} is outside {sample.name}, which has {height} "
                f"rows and {width} columns",
                "correct or remove the point",
            )
        return math.floor(row), math.floor(column)


def _plain(text: str) -> str:
    """Normalize a name, since Unicode writes an accented letter as one character or as two."""
    return unicodedata.normalize("NFC", text.strip())


_Labels = dict[str, dict[tuple[int, int], int]]  # by image and pixel


def read_points(path: Path, samples: Sequence[Sample], info: DatasetInfo) -> dict[str, Points]:
    """Read points from a CSV or GeoJSON file or a folder of masks.

    A CSV file has the columns ``image, row, column, class`` in any order, separated by commas,
    semicolons or tabs. The image is a file name with or without ending. The class is a name or a
    label.

    A GeoJSON file has Points or MultiPoints with the property ``class``. With a property ``image``,
    their coordinates are (column, row). Without it, they are map coordinates, which are looked up
    in the georeferenced images. Features without geometry are left out with a warning.

    Text is UTF-8, UTF-16, or any encoding in which all names are known (see
    :func:`network.text_encoding.possible_texts`).

    A folder has a mask for each image, which is labeled at the points and ignored elsewhere.

    Args:
        path: the file or the folder.
        samples: images that the points may name.
        info: description of the data set.

    Returns:
        The points of each image, by its name.

    Raises:
        InputError: a file cannot be read, or a point names an unknown image or class, lies outside
            its image, or contradicts another one.
    """
    images = _Images(info, {_plain(sample.name): sample for sample in samples})
    if path.is_dir():
        return _from_masks(path, images)
    if path.suffix.lower() not in (*TABLES, *DOCUMENTS):
        endings = ", ".join((*TABLES, *DOCUMENTS))
        raise InputError(path, f"expected a folder of masks, or a file ending in {endings}")
    try:
        found, empty = _read_known(path, possible_texts(path.read_bytes()), images)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(path, f"unreadable ({error})", "export it again") from error
    without = f"{empty} feature{'s have' if empty > 1 else ' has'} no geometry"
    if not found:
        raise InputError(path, f"no point in it{f'; {without}' if empty else ''}")
    if empty:
        warn(f"{path}: {without} and give{'s' * (empty == 1)} no point")
    return {
        name: Points(np.array(list(labels)), np.array(list(labels.values())))
        for name, labels in found.items()
    }


_Found = tuple[_Labels, int]  # the labels, and the number of features without geometry


def _read_known(path: Path, texts: Sequence[str], images: _Images) -> _Found:
    """Read the decoded text in which all names are known.

    Raises:
        InputError: no text has only known names, or several have and differ.
        ValueError: the text is no CSV or GeoJSON.
    """
    if len(texts) == 1:
        return _read(path, texts[0], images)
    results: list[_Found] = []
    errors: dict[str, Exception] = {}
    for text in texts:
        try:
            result = _read(path, text, images)
            results += [result] if result not in results else []
        except (InputError, ValueError, csv.Error) as error:
            errors[str(error)] = error
    if len(results) == 1:
        return results[0]
    if not results and len(errors) == 1:  # the same error in all encodings
        raise next(iter(errors.values()))
    raise InputError(
        path,
        "is not UTF-8, and it is not clear in which encoding all its names are images and classes "
        f"of {images.info.name} (none fits, or several fit and differ)",
        "save it as UTF-8 (Excel: 'CSV UTF-8')",
    )


def _read(path: Path, text: str, images: _Images) -> _Found:
    if path.suffix.lower() in TABLES:
        features, crs = read_csv(path, text), None
    else:
        features, crs = read_geojson(path, parse_json(text))
    found: _Labels = {}
    maps, empty = _Maps(path, crs, images), 0
    for feature in features:
        empty += not feature.places
        label = images.label(feature.where, feature.label) if feature.places else -1
        for name, pixel in _pixels(feature, images, maps):
            if found.setdefault(name, {}).setdefault(pixel, label) != label:
                raise InputError(feature.where, "another point of this pixel has another class")
    return found, empty


def _pixels(
    feature: Feature, images: _Images, maps: "_Maps"
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield image and pixel of each point; a place on Earth may be in several images."""
    for x, y in feature.places:
        if feature.image is None:
            yield from maps.find(feature.where, x, y)
            continue
        sample = images.sample(feature.where, feature.image)
        if maps.are_of_geojson and maps.shows(sample, x, y):
            raise InputError(
                feature.where,
                f"{x:g}, {y:g} is a place on Earth in {sample.name}, not column and row",
                "remove the property 'image', so that places are looked up",
            )
        yield sample.name, images.place(feature.where, sample, y, x)


class _Maps:
    """The places of the images on Earth; the header of each is read when it is first needed."""

    def __init__(self, path: Path, crs: str | None, images: _Images):
        self.path, self.named, self.images = path, crs or GEOJSON_CRS, images
        self.are_of_geojson = path.suffix.lower() not in TABLES
        self.frames: dict[str, tuple[rasterio.CRS, Affine] | None] = {}

    @cached_property
    def crs(self) -> rasterio.CRS:
        """The coordinate system of the file, which points in pixels do not need."""
        try:
            return rasterio.CRS.from_user_input(self.named)
        except CRSError as error:
            raise InputError(
                self.path,
                f"unknown coordinate system {shown(self.named)}",
                f"export the points in {GEOJSON_CRS}",
            ) from error

    def frame(self, sample: Sample) -> tuple[rasterio.CRS, Affine] | None:
        """Find coordinate system and transform of an image; None if it has no georeference."""
        if sample.name not in self.frames:
            header = read_header(sample.image)
            place = header.place
            self.frames[sample.name] = (
                (place.crs, place.transform) if place and place.crs and place.transform else None
            )
            is_turned = header.orientation != 1 and self.images.info.exif_orientation == "shown"
            if is_turned and self.frames[sample.name]:
                raise turned_on_earth(sample.image)
        return self.frames[sample.name]

    def shows(self, sample: Sample, x: float, y: float) -> bool:
        """Tell whether a place on Earth is in an image."""
        try:
            return self._pixel(sample, x, y) is not None
        except _NoPlaceError:
            return False

    def find(self, where: str, x: float, y: float) -> list[tuple[str, tuple[int, int]]]:
        """Find the pixel of a place in each of the images that show it."""
        remedy = "remove the point, or name the file's coordinate system in its 'crs'"
        try:
            pixels = {s.name: self._pixel(s, x, y) for s in self._near(x, y)}
        except _NoPlaceError as error:
            raise InputError(where, f"no place in {self.crs} ({error})", f"{remedy}") from error
        found = [(name, pixel) for name, pixel in pixels.items() if pixel]
        if not found:
            raise InputError(
                where, f"{x:g}, {y:g} is outside all images of this split", f"{remedy}"
            )
        return found

    @cached_property
    def _groups(self) -> list["_Group"]:
        """The images by their reference systems."""
        groups: dict[str, _Group] = {}
        for sample in self.images.by_name.values():
            frame = self.frame(sample)
            if frame is None:
                raise InputError(
                    self.path,
                    f"has map coordinates, but {sample.image} does not say where it lies",
                    "give each point a property 'image' and pixel coordinates",
                )
            crs, transform = frame
            group = groups.setdefault(crs.to_wkt(), _Group(crs))
            group.samples.append(sample)
            group.inverses.append(~transform)
        return list(groups.values())

    def _near(self, x: float, y: float) -> Iterator[Sample]:
        """Yield the images that may show a place: it is in them, or a pixel beside them."""
        for group in self._groups:
            place = self._transformed(group.crs, x, y)
            if place is not None:
                yield from group.near(*place)

    def _transformed(self, crs: rasterio.CRS, x: float, y: float) -> tuple[float, float] | None:
        """Bring a place to a reference system; None if it has no place there."""
        try:
            (east,), (north,) = rasterio.warp.transform(self.crs, crs, [x], [y])
        except Exception as error:  # of GDAL, which have no public class
            raise _NoPlaceError(str(error)) from error
        return (east, north) if np.isfinite([east, north]).all() else None

    def _pixel(self, sample: Sample, x: float, y: float) -> tuple[int, int] | None:
        """Find the pixel of a place in an image; None if it is outside or has no georeference."""
        frame = self.frame(sample)
        if frame is None:
            return None
        crs, transform = frame
        place = self._transformed(crs, x, y)
        if place is None:
            return None
        (row,), (column,) = rowcol(transform, [place[0]], [place[1]])
        is_inside = 0 <= row < sample.size[0] and 0 <= column < sample.size[1]
        return (int(row), int(column)) if is_inside else None


@dataclass(frozen=True)
class _Group:
    """Images of one reference system.

    Attributes:
        crs: the system.
        samples: the images.
        inverses: for each image the transform from places to columns and rows.
    """

    crs: rasterio.CRS
    samples: list[Sample] = field(default_factory=list)
    inverses: list[Affine] = field(default_factory=list)

    def near(self, east: float, north: float) -> Iterator[Sample]:
        """Yield the images that have a place, or have it a pixel beside them."""
        columns, rows = (self._matrices @ (east, north, 1.0)).T
        heights, widths = self._sizes
        is_near = (rows > -1) & (rows < heights + 1) & (columns > -1) & (columns < widths + 1)
        yield from (self.samples[at] for at in np.flatnonzero(is_near))

    @cached_property
    def _matrices(self) -> np.ndarray:
        return np.array([inverse[:6] for inverse in self.inverses]).reshape(-1, 2, 3)

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.array([sample.size for sample in self.samples]).T


class _NoPlaceError(Exception):
    """Coordinates that are impossible in their coordinate system."""


def _from_masks(folder: Path, images: _Images) -> dict[str, Points]:
    found = {}
    for name, path in list_images(folder).items():
        sample = images.sample(str(path), name)
        mask = read_mask(path, images.info)
        if mask.shape != sample.size:
            raise InputError(
                path,
                f"{mask.shape[0]} x {mask.shape[1]} pixels, its image has {sample.size[0]} x "
                f"{sample.size[1]}",
                "make it for this image again",
            )
        places = np.argwhere(mask != images.info.ignore_index)
        found[sample.name] = Points(places, mask[tuple(places.T)])
    return found
