"""Files of labels, rasters or polygons, that are brought onto the grid of an image or a map."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.errors import RasterioError

from network.datasets.on_earth.classes import label_of, text_labels, value_labels
from network.datasets.on_earth.files import LabelFile
from network.datasets.on_earth.labels import Labels, RasterLabels
from network.datasets.schema import MAX_CLASSES, DatasetInfo
from network.datasets.windows import Window
from network.errors import InputError, listed, warn
from network.extras import require_extra
from network.rasters.earth_grid import EarthGrid, elsewhere, name_of
from network.rasters.header import OPTIONS
from network.rasters.warped import WarpedSource

if TYPE_CHECKING:
    from network.rasters.shapes import Painting

NEAREST, CENTERS = "nearest neighbor", "centers of pixels in polygons"
TOUCHED = "pixels that polygons touch"
"""Ways in which labels are brought onto a grid."""

COARSER = 2.0
"""A warning tells if the pixels of the labels and of the grid differ by a larger factor."""


@dataclass(frozen=True)
class OpenedLabels:
    """Labels on a grid.

    Attributes:
        labels: the labels, by window.
        window: rows and columns of the grid that the labels may cover.
        crs: name of the reference system of the file.
        layer: name of the layer of polygons; None for a raster.
        how: how the labels were brought onto the grid.
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


def open_labels(
    file: LabelFile, grid: EarthGrid, info: DatasetInfo, *, uncovered: int | None = None
) -> OpenedLabels:
    """Bring labels onto a grid.

    Args:
        file: the file.
        grid: the grid of the image or the map.
        info: the classes.
        uncovered: label of the pixels in no polygon; by default that of the file's background, or
            the ignore label.

    Raises:
        InputError: the labels cannot be read, name unknown classes, or lie elsewhere.
    """
    if not file.path.exists():
        raise InputError(file.path, "no such file")
    if is_raster(file.path):
        return _open_raster(file, grid, info)
    if uncovered is None:
        uncovered = info.ignore_index
        if file.background is not None:
            uncovered = label_of(file.background, info, "background")
    return _open_polygons(file, grid, info, uncovered)


def _open_raster(file: LabelFile, grid: EarthGrid, info: DatasetInfo) -> OpenedLabels:
    for name in ("attribute", "layer", "all_are", "background", "order", "all_touched"):
        given = getattr(file, name)
        if given not in (None, (), False):
            raise InputError(f"{name}={given}", f"{file.path} is a raster, not polygons")
    source = WarpedSource(file.path, grid)
    try:
        own = source.own_grid
        values = value_labels(file.path, source, info, file.values, file.option)
        labels = RasterLabels(file.path, source, info, values)
        window = grid.window_of(own.bounds, own.crs, file.path)
        if window is None:
            raise elsewhere(file.path, own.crs, grid)
    except InputError:
        source.close()
        raise
    return OpenedLabels(labels, window, name_of(own.crs), None, NEAREST, own.resolution)


def _open_polygons(
    file: LabelFile, grid: EarthGrid, info: DatasetInfo, uncovered: int
) -> OpenedLabels:
    require_extra("vectors", "polygons")
    from network.rasters import shapes, vectors

    if (file.attribute is None) == (file.all_are is None):
        names = vectors.list_attributes(file.path, file.layer)
        raise InputError(
            file.path,
            "its polygons need a class",
            f"give attribute=NAME of the attribute that has the class (of {listed(names, 30)}), or "
            "all_are=CLASS for all of them",
        )
    found = vectors.read_features(
        file.path,
        grid,
        vectors.POLYGONS,
        layer=file.layer,
        attributes={} if file.attribute is None else {file.attribute: "attribute"},
    )
    if file.attribute is not None:
        known = text_labels(info, file.values, file.option)
        labels = vectors.labels_of(found, file.attribute, known)
    else:
        assert file.all_are is not None
        labels = np.full(len(found), label_of(file.all_are, info, "all_are"))
    window = grid.window_around(shapes.box_around(found.shapes)) if len(found) else None
    if window is None:
        raise elsewhere(file.path, found.crs, grid)
    if file.order:
        ranks = np.full(MAX_CLASSES + 2, -1)
        for rank, name in enumerate(file.order):
            ranks[label_of(name, info, "order")] = rank
        order = np.argsort(ranks[labels], kind="stable")
        found, labels = found.select(order), labels[order]
    painting = shapes.Painting(found.shapes, labels, all_touched=file.all_touched)
    return OpenedLabels(
        PolygonLabels(painting, uncovered),
        window,
        name_of(found.crs),
        found.layer,
        TOUCHED if file.all_touched else CENTERS,
    )


def is_raster(path: Path) -> bool:
    """Tell whether GDAL can read a file as a raster."""
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        return False
    try:
        with rasterio.Env(**OPTIONS), rasterio.open(path) as file:
            return file.count > 0
    except (RasterioError, CPLE_BaseError, OSError, ValueError):
        return False


def compare_resolution(path: Path, labels: OpenedLabels, grid: EarthGrid, what: str) -> None:
    """Warn if the pixels of labels and of a grid have very different sizes.

    Args:
        path: file of the labels.
        labels: the labels.
        grid: the grid.
        what: what has the grid: ``"the map"``.
    """
    theirs, ours = labels.resolution, grid.resolution
    if theirs is None or ours is None:
        return
    factor = max(theirs / ours, ours / theirs)
    if factor > COARSER:
        kind = "coarser" if theirs > ours else "finer"
        warn(
            f"{path}: its pixels are {factor:.1f} times {kind} than those of {what} "
            f"({theirs:.3g} m and {ours:.3g} m on the ground); each pixel of {what} takes "
            "the label at its center"
        )
