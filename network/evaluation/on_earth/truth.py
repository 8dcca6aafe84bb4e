"""Truth on the grid of a map, from rasters and from polygons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.errors import RasterioError

from network.datasets.schema import DatasetInfo
from network.datasets.windows import Window
from network.errors import InputError, listed, warn
from network.evaluation.on_earth.classes import label_of, text_labels, value_labels
from network.evaluation.on_earth.labels import Labels, RasterLabels
from network.extras import require_extra
from network.rasters.earth_grid import EarthGrid, elsewhere, name_of
from network.rasters.header import OPTIONS
from network.rasters.warped import WarpedSource

if TYPE_CHECKING:
    from network.rasters.shapes import Painting

NEAREST, CENTERS = "nearest neighbor", "centers of pixels in polygons"
"""Ways in which truth is brought onto the grid of a map."""

COARSER = 2.0
"""A warning tells if the pixels of map and truth differ by a larger factor."""


@dataclass(frozen=True, kw_only=True)
class TruthFile:
    """A file that says which class is where on Earth: a raster of labels, or polygons.

    Attributes:
        path: the file.
        values: the class of each value of the raster, or of the polygons' attribute; empty if the
            values are labels or names of classes.
        attribute: attribute of the polygons that has the class.
        layer: layer of the polygons; None if there is only one.
        all_are: the class of all polygons, instead of an attribute.
        background: the class of all pixels that are in no polygon; None if they do not count.
    """

    path: Path
    values: Mapping[str, str] = field(default_factory=dict)
    attribute: str | None = None
    layer: str | None = None
    all_are: str | None = None
    background: str | None = None

    @property
    def is_raster(self) -> bool:
        """Whether GDAL can read the file as a raster."""
        if self.path.suffix.lower() in (".parquet", ".geoparquet"):
            return False
        try:
            with rasterio.Env(**OPTIONS), rasterio.open(self.path) as file:
                return file.count > 0
        except (RasterioError, CPLE_BaseError, OSError, ValueError):
            return False


@dataclass(frozen=True)
class OpenTruth:
    """Truth on the grid of a map.

    Attributes:
        labels: the labels, by window.
        window: rows and columns of the map that the truth may cover.
        crs: name of the reference system of the file.
        layer: name of the layer of polygons; None for a raster.
        how: how the truth was brought onto the grid.
        resolution: side of its pixels on the ground, in meters; None if it has none.
    """

    labels: Labels
    window: Window
    crs: str
    layer: str | None
    how: str
    resolution: float | None = None


class PolygonLabels:
    """Labels of polygons; the last one counts where they overlap.

    Args:
        painting: draws the labels.
        background: label of the pixels in no polygon.
    """

    def __init__(self, painting: "Painting", background: int):
        self._painting, self._background = painting, background

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Read labels (h, w) uint8."""
        return self._painting.read(rows, columns, self._background, "uint8")

    def note_unknown(self, rows: slice, columns: slice, chosen: np.ndarray) -> None:
        """Do nothing: all values were checked when the polygons were read."""

    def check(self) -> None:
        """Do nothing, as above."""

    def close(self) -> None:
        """Do nothing: the file has been read."""


def open_truth(truth: TruthFile, grid: EarthGrid, info: DatasetInfo) -> OpenTruth:
    """Bring truth onto the grid of a map.

    Args:
        truth: the file.
        grid: the grid of the map.
        info: the classes.

    Raises:
        InputError: the truth cannot be read, names unknown classes, or lies elsewhere.
    """
    if not truth.path.exists():
        raise InputError(truth.path, "no such file")
    return (_open_raster if truth.is_raster else _open_polygons)(truth, grid, info)


def _open_raster(truth: TruthFile, grid: EarthGrid, info: DatasetInfo) -> OpenTruth:
    for name in ("attribute", "layer", "all_are", "background"):
        given = getattr(truth, name)
        if given is not None:
            raise InputError(f"{name}={given}", f"{truth.path} is a raster, not polygons")
    source = WarpedSource(truth.path, grid)
    try:
        own = source.own_grid
        labels = RasterLabels(
            truth.path, source, info, value_labels(truth.path, info, truth.values, "truth_values")
        )
        window = grid.window_of(own.bounds, own.crs, truth.path)
        if window is None:
            raise elsewhere(truth.path, own.crs, grid)
    except InputError:
        source.close()
        raise
    return OpenTruth(labels, window, name_of(own.crs), None, NEAREST, own.resolution)


def _open_polygons(truth: TruthFile, grid: EarthGrid, info: DatasetInfo) -> OpenTruth:
    require_extra("vectors", "polygons")
    from network.rasters import shapes, vectors

    if (truth.attribute is None) == (truth.all_are is None):
        names = vectors.list_attributes(truth.path, truth.layer)
        raise InputError(
            truth.path,
            "its polygons need a class",
            f"give attribute=NAME of the attribute that has the class (of {listed(names, 30)}), or "
            "all_are=CLASS for all of them",
        )
    found = vectors.read_features(
        truth.path,
        grid,
        vectors.POLYGONS,
        layer=truth.layer,
        attributes={} if truth.attribute is None else {truth.attribute: "attribute"},
    )
    if truth.attribute is not None:
        known = text_labels(info, truth.values, "values")
        labels = vectors.labels_of(found, truth.attribute, known)
    else:
        assert truth.all_are is not None
        labels = np.full(len(found), label_of(truth.all_are, info, "all_are"))
    background = info.ignore_index
    if truth.background is not None:
        background = label_of(truth.background, info, "background")
    window = grid.window_around(shapes.box_around(found.shapes)) if len(found) else None
    if window is None:
        raise elsewhere(truth.path, found.crs, grid)
    painting = shapes.Painting(found.shapes, labels)
    return OpenTruth(
        PolygonLabels(painting, background), window, name_of(found.crs), found.layer, CENTERS
    )


def compare_resolution(path: Path, truth: OpenTruth, grid: EarthGrid) -> None:
    """Warn if the pixels of truth and map have very different sizes.

    Args:
        path: file of the truth.
        truth: the truth.
        grid: the grid of the map.
    """
    theirs, ours = truth.resolution, grid.resolution
    if theirs is None or ours is None:
        return
    factor = max(theirs / ours, ours / theirs)
    if factor > COARSER:
        kind = "coarser" if theirs > ours else "finer"
        warn(
            f"{path}: its pixels are {factor:.1f} times {kind} than those of the map "
            f"({theirs:.3g} m and {ours:.3g} m on the ground); each pixel of the map takes the "
            "label at its center"
        )
