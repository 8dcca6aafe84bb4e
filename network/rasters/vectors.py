"""Polygons and points of vector files, on the grid of a raster.

All formats that GDAL reads are accepted: GeoPackage, Shapefile, GeoJSON, FlatGeobuf and so on.
GeoParquet is read by geopandas. This module needs the extra ``vectors``.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj.exceptions import CRSError as UnknownSystem
from rasterio.crs import CRS
from rasterio.errors import CRSError

from network.errors import InputError, listed, nearest, warn
from network.rasters.earth_grid import Bounds, EarthGrid
from network.rasters.place import full_turn
from network.rasters.shapes import grown, repaired, to_grid
from network.rasters.source import is_remote
from network.rasters.vector_paths import plain

POLYGONS, POINTS = ("Polygon", "MultiPolygon"), ("Point", "MultiPoint")

_TYPE_IDS = {kind: shapely.GeometryType[kind.upper()] for kind in (*POLYGONS, *POINTS)}

_PARQUET = (".parquet", ".geoparquet")

_INDEXED = ("GPKG", "FlatGeobuf", "SQLite", "OpenFileGDB")
"""Formats whose features come in the order of a spatial index if only those in a box are read. The
numbers of features are in the order of the file."""


@dataclass(frozen=True)
class Features:
    """The features of a layer, in the order of the file.

    Attributes:
        path: the file.
        layer: name of the layer.
        crs: reference system of the file.
        numbers: the number of each feature, as GIS programs show it.
        shapes: the geometry of each feature, in the columns and rows of a grid.
        values: for each attribute that was read, its value of each feature as text, ``""`` if it
            has none.
    """

    path: Path
    layer: str
    crs: CRS
    numbers: np.ndarray
    shapes: np.ndarray
    values: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.shapes)

    def select(self, chosen: np.ndarray) -> "Features":
        """Keep some of the features.

        Args:
            chosen: (n,) bool or positions.
        """
        places = np.arange(len(self))[chosen].tolist()
        values = {name: [of_all[n] for n in places] for name, of_all in self.values.items()}
        return replace(
            self, numbers=self.numbers[chosen], shapes=self.shapes[chosen], values=values
        )


def read_features(
    path: Path,
    grid: EarthGrid,
    kinds: Sequence[str],
    *,
    layer: str | None = None,
    layer_option: str = "layer",
    attributes: Mapping[str, str] | None = None,
) -> Features:
    """Read the features of a layer, in the columns and rows of a grid.

    Polygons that are not valid, such as those whose border crosses itself, are repaired with a
    warning. Features without geometry are left out with a warning.

    Args:
        path: the file.
        grid: the grid. Polygons far from it are left out; points are not.
        kinds: the types of geometry that are accepted, ``POLYGONS`` or ``POINTS``.
        layer: name of the layer; may be None if there is only one.
        layer_option: name of the user's setting for ``layer``, for errors.
        attributes: the attributes to read, each with the name of the user's setting for it, for
            errors.

    Raises:
        InputError: the file cannot be read; it has no such layer or attribute, or several layers;
            it names no reference system, or one of another planet; a geometry is of another type,
            or cannot be repaired.
    """
    layer, attributes = _find_layer(path, layer, layer_option), attributes or {}
    frame, crs = _read(path, layer, grid if kinds is POLYGONS else None, attributes)
    is_empty = (frame.geometry.isna() | frame.geometry.is_empty).to_numpy()
    if is_empty.any():
        warn(f"{path}: features without geometry are left out ({is_empty.sum()})")
        frame = frame[~is_empty]
    values = {name: [text_of(value) for value in frame[name]] for name in attributes}
    numbers, shapes = frame.index.to_numpy(), np.array(frame.geometry.to_numpy())
    del frame  # large layers take much memory
    _check_kinds(path, numbers, shapes, kinds)
    if kinds is POLYGONS:
        shapes = repaired(path, numbers, shapes)
    found = Features(path, layer, crs, numbers, to_grid(path, shapes, crs, grid), values)
    if kinds is POLYGONS:
        return found.select(np.isfinite(shapely.bounds(found.shapes)).all(axis=-1))
    return found


def layers_of(path: Path) -> list[tuple[str, str | None]]:
    """List the layers that have geometries, with the type of these.

    Args:
        path: the file.

    Raises:
        InputError: the file cannot be read.
    """
    if path.suffix.lower() in _PARQUET:
        return [(path.stem, "Polygon")]
    try:
        layers = pyogrio.list_layers(plain(path))
    except (DataSourceError, DataLayerError) as error:
        raise unreadable(path) from error
    return [(name, kind) for name, kind in layers if kind is not None]


def list_attributes(path: Path, layer: str | None = None) -> list[str]:
    """List the attributes of a layer.

    Args:
        path: the file.
        layer: name of the layer; may be None if there is only one.

    Raises:
        InputError: the file cannot be read, or has no such layer, or several.
    """
    layer = _find_layer(path, layer, "layer")
    try:
        if path.suffix.lower() in _PARQUET:
            return list(geopandas.read_parquet(path).drop(columns="geometry", errors="ignore"))
        return list(pyogrio.read_info(plain(path), layer=layer)["fields"])
    except (DataSourceError, DataLayerError, ValueError, OSError) as error:
        raise unreadable(path) from error


def list_values(path: Path, attribute: str, layer: str | None = None) -> Counter[str]:
    """Count the values of an attribute as text, the most frequent first.

    Args:
        path: the file.
        attribute: name of the attribute.
        layer: name of the layer; may be None if there is only one.

    Raises:
        InputError: the file cannot be read, or has no such layer or attribute.
    """
    layer = _find_layer(path, layer, "layer")
    try:
        if path.suffix.lower() in _PARQUET:
            frame = geopandas.read_parquet(path)
            if frame.empty:
                return Counter()
            _check_names(path, {attribute: "attribute"}, frame.columns)
        else:
            about = pyogrio.read_info(plain(path), layer=layer)
            if not about["features"]:
                return Counter()
            _check_names(path, {attribute: "attribute"}, about["fields"])
            frame = pyogrio.read_dataframe(
                plain(path), layer=layer, columns=[attribute], read_geometry=False
            )
    except (DataSourceError, DataLayerError, ValueError, OSError) as error:
        raise unreadable(path) from error
    counts = Counter(map(text_of, frame[attribute]))
    return Counter(dict(counts.most_common()))


def bounds_of(path: Path, layer: str | None = None) -> tuple[Bounds, CRS]:
    """Find the box around all features of a layer, and its reference system.

    Args:
        path: the file.
        layer: name of the layer; may be None if there is only one.

    Raises:
        InputError: the file cannot be read, or has no such layer.
    """
    layer = _find_layer(path, layer, "layer")
    try:
        if path.suffix.lower() in _PARQUET:
            frame = geopandas.read_parquet(path)
            crs, box = frame.crs and frame.crs.to_wkt(), frame.total_bounds
        else:
            about = pyogrio.read_info(plain(path), layer=layer, force_total_bounds=True)
            crs, box = about["crs"], about["total_bounds"]
    except (DataSourceError, DataLayerError, UnknownSystem, ValueError, OSError) as error:
        raise unreadable(path) from error
    left, bottom, right, top = box if box is not None else (np.nan,) * 4
    return (float(left), float(bottom), float(right), float(top)), _system(path, crs)


def _is_beyond_a_turn(bounds: Bounds | None, crs: CRS) -> bool:
    """Tell whether longitudes leave -180 to 180 degrees; boxes do not find such places."""
    turn = full_turn(crs)
    if turn is None or bounds is None:
        return False
    return max(-bounds[0], bounds[2]) > turn / 2  # false for NaN


def text_of(value: Any) -> str:
    """Turn the value of an attribute into text: 2.0 becomes ``"2"``, and no value ``""``.

    The values of a list are separated by commas.
    """
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(map(text_of, value))
    if value is None or value != value or str(value) in ("<NA>", "NaT"):
        return ""
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value):
        return str(int(value))
    # Unicode writes an accented letter as one character or as two.
    return unicodedata.normalize("NFC", str(value).strip())


def labels_of(
    features: Features, attribute: str, labels: Mapping[str, int], option: str = "values"
) -> np.ndarray:
    """Find the label of each feature by the value of an attribute.

    Args:
        features: the features.
        attribute: name of the attribute.
        labels: the label of each value.
        option: name of the user's setting for the classes of values, for the error.

    Returns:
        (n,) int64

    Raises:
        InputError: values have no label; the error lists them with the number of their features.
    """
    texts = features.values[attribute]
    unknown = Counter(text for text in texts if text not in labels)
    if unknown:
        shown = [f"'{text}' ({count})" for text, count in unknown.most_common()]
        raise InputError(
            features.path,
            f"values without a class, with the number of their features: {listed(shown)}"
            f"{nearest(unknown.most_common(1)[0][0], labels)}",
            f"say which classes they are by {option}=VALUE=CLASS",
        )
    return np.array([labels[text] for text in texts], np.int64)


# Reading ----------------------------------------------------------------------------------------


def _find_layer(path: Path, layer: str | None, option: str) -> str:
    """Find the name of the layer to read."""
    if not is_remote(str(path)) and not path.exists():
        raise InputError(path, "no such file")
    if path.suffix.lower() in _PARQUET:
        return path.stem
    found = [name for name, _ in layers_of(path)]
    if not found:
        raise InputError(path, "has no layer with geometries", "choose another file")
    if layer is not None and layer not in found:
        raise InputError(path, f"has no layer '{layer}'{nearest(layer, found)}")
    if layer is None and len(found) > 1:
        raise InputError(
            path, f"has {len(found)} layers ({listed(found)})", f"choose one by {option}=NAME"
        )
    return layer or found[0]


def unreadable(path: Path) -> InputError:
    """Make the error of a file that GDAL cannot read."""
    return InputError(path, "unreadable vector file", "export it again, as GeoPackage")


def _read(
    path: Path, layer: str, near: EarthGrid | None, attributes: Mapping[str, str]
) -> tuple[geopandas.GeoDataFrame, CRS]:
    """Read geometries and attributes, and the reference system."""
    names = list(attributes)
    try:
        if path.suffix.lower() in _PARQUET:
            frame = geopandas.read_parquet(path)
            if len(frame):
                _check_names(path, attributes, frame.columns.drop(frame.geometry.name))
            crs = _system(path, frame.crs and frame.crs.to_wkt())
            frame = frame.reindex(columns=[*names, frame.geometry.name])
            return frame.set_geometry(shapely.force_2d(frame.geometry.to_numpy())), crs
        about = pyogrio.read_info(plain(path), layer=layer, force_total_bounds=True)
        is_empty = not about["features"]  # a file without objects may lack their attributes
        if not is_empty:
            _check_names(path, attributes, about["fields"])
        crs = _system(path, about["crs"])
        box = near and near.bounds_in(crs, path)
        limits = about["total_bounds"]
        if near and (near.across_date_line(crs, path) or _is_beyond_a_turn(limits, crs)):
            box = None
        frame = pyogrio.read_dataframe(
            plain(path),
            layer=layer,
            columns=[] if is_empty else names,
            bbox=box and grown(box, 0.01),
            fid_as_index=True,
            force_2d=True,
        )
        if is_empty:
            frame = frame.reindex(columns=[*names, frame.geometry.name])
        # The order counts: of polygons that overlap, the last one is seen.
        if about["driver"] in _INDEXED and not frame.index.is_monotonic_increasing:
            frame = frame.sort_index()
    except (DataSourceError, DataLayerError, UnknownSystem, ValueError, OSError) as error:
        raise unreadable(path) from error
    return frame, crs


def _system(path: Path, text: str | None) -> CRS:
    """Find the reference system of a layer."""
    if not text:
        raise InputError(
            path,
            "does not say in which reference system its coordinates are",
            "name it (ogr2ogr -a_srs EPSG:...)",
        )
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise InputError(
            path, "its reference system is unknown", "name it (ogr2ogr -a_srs EPSG:...)"
        ) from error


def _check_names(path: Path, attributes: Mapping[str, str], known: Iterable[str]) -> None:
    known = list(known)
    for name, option in attributes.items():
        if name not in known:
            raise InputError(
                path,
                f"has no attribute '{name}'{nearest(name, known)}",
                f"its attributes are {listed(known, 30)}; choose one by {option}=NAME",
            )


def _check_kinds(path: Path, numbers: np.ndarray, shapes: np.ndarray, kinds: Sequence[str]) -> None:
    accepted = [_TYPE_IDS[kind] for kind in kinds]
    wrong = np.flatnonzero(~np.isin(shapely.get_type_id(shapes), accepted))
    if len(wrong):
        number, shape = numbers[wrong[0]], shapes[wrong[0]]
        raise InputError(
            path,
            f"feature {number} is a {shape.geom_type}, expected a {kinds[0]}",
            "choose another layer, or remove the feature",
        )
