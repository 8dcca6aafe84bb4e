"""The labels of a scene on the grid of its image, drawn once and kept in a file.

Polygons take memory and time to draw, labels in another reference system have to be warped, and
areas of interest cut both. So all of this is done once for each scene. The result is a small
GeoTIFF, which a GIS shows, with the number of pixels of each class in each of its cells.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import cv2
import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from network.datasets.on_earth.classes import label_of
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.labels import UNKNOWN, Labels
from network.datasets.on_earth.open_labels import compare_resolution, is_raster, open_labels
from network.datasets.schema import DatasetInfo
from network.errors import InputError, nearest
from network.extras import require_extra
from network.progress import progress_bar
from network.rasters.earth_grid import EarthGrid, LiesElsewhere
from network.rasters.header import OPTIONS
from network.rasters.pixels import count_labels
from network.rasters.source import Source, file_version
from network.rasters.whole import check_structure
from network.writing import replacing, unwritable

if TYPE_CHECKING:
    from network.rasters.shapes import Painting

CELL = 256
"""Side of the cells whose pixels are counted, in pixels."""

_STRIP = 2 * CELL
_ACROSS = 16 * CELL
"""Rows that are drawn at once, and columns of the image whose validity is read at once."""

_VERSION = 2
"""Number of this way to draw labels; files of another one are drawn again."""


_NOWHERE = 255
"""Number of the file of pixels without a label."""


@dataclass(frozen=True)
class Origins:
    """Which of several descriptions of label files the label of each pixel is from.

    Attributes:
        path: the GeoTIFF, uint8, with the number of the description, from 0 on.
        cells: number of pixels of each description and class in each cell, (n, rows, columns, k)
            uint32.
        weights: weight of each description, see :class:`LabelFile`.
    """

    path: Path
    cells: np.ndarray
    weights: tuple[float, ...]


@dataclass(frozen=True)
class LabelRaster:
    """The labels of a scene as a file.

    Attributes:
        path: the GeoTIFF, uint8, with the ignore label where nothing counts.
        cells: number of pixels of each class in each cell, (rows, columns, k) uint32.
        digest: SHA-256 of the labels.
        origins: where each label is from; None if all labels have the same weight.
    """

    path: Path
    cells: np.ndarray
    digest: str
    origins: Origins | None = None

    @property
    def pixels(self) -> np.ndarray:
        """Number of pixels of each class, (k,) int64."""
        return self.cells.sum(axis=(0, 1), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class LabelPlan:
    """All that the labels of a scene depend on.

    Attributes:
        image: the opened image.
        info: the classes.
        labels: the files of labels, a group for each description; those that lie elsewhere are left
            out.
        backgrounds: the class of what no polygon of each group covers, if it has one. It counts
            also if the group has no file for this image.
        weights: weight of each group; empty if all have the same.
        areas: the areas outside of which nothing counts; None to count all.
        border: width of the ignored band at each side of the border between classes, in pixels.
    """

    image: Source
    info: DatasetInfo
    labels: Sequence[Sequence[LabelFile]]
    backgrounds: Sequence[str | None]
    weights: tuple[float, ...] = ()
    areas: AreaFile | None = None
    border: int = 0

    @property
    def has_origins(self) -> bool:
        """Whether training must know which group the label of a pixel is from."""
        return len(set(self.weights)) > 1

    @property
    def grid(self) -> EarthGrid:
        """The grid of the image."""
        return EarthGrid.of(Path(self.image.path), self.image.header.place, *self.image.size)

    @property
    def key(self) -> str:
        """A short text that differs if the labels may differ."""
        files = [file for group in self.labels for file in group]
        facts = {
            "version": _VERSION,
            # Files of other folders may have the same name, size and time.
            "image": [self.image.version(), *_name(Path(self.image.path))],
            "grid": [self.grid.crs.to_wkt(), *self.grid.transform[:6], *self.image.size],
            "bands": self.image.bands,
            "labels": [_facts(file) for file in files],
            "backgrounds": list(self.backgrounds),
            "areas": None if self.areas is None else _facts(self.areas),
            "border": self.border,
            "classes": self.info.classes,
            "palette": self.info.palette,
            "ignored": self.info.mask_coding.ignored,
            "ignore_index": self.info.ignore_index,
        }
        if self.has_origins:
            # The weights themselves are not drawn, so another weight needs no other drawing.
            facts["origins"] = [number for number, group in enumerate(self.labels) for _ in group]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _facts(file: LabelFile | AreaFile) -> dict:
    left_out = ("path", "weight", "optional")
    facts = {name: value for name, value in asdict(file).items() if name not in left_out}
    return {**facts, "file": [file_version(file.path), *_name(file.path)]}


def _name(path: Path) -> tuple[str, str]:
    """Name a file and its folder; the folders above may be moved."""
    return path.parent.name, path.name


def find_label_raster(plan: LabelPlan, folder: Path) -> LabelRaster | None:
    """Read the labels of a scene from the cache.

    Args:
        plan: all that they depend on.
        folder: folder of the cache.

    Returns:
        None if they have not been drawn, or if a file is damaged.
    """
    rasters, counts = _files(plan, folder)
    try:
        with np.load(counts, allow_pickle=False) as stored:
            by_group = stored["origins"] if plan.has_origins else stored["cells"][None]
            found = _label_raster(plan, rasters, by_group, str(stored["digest"]))
        for raster in rasters:
            check_structure(raster, "GTiff")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, InputError):
        return None
    return found


def draw_label_raster(plan: LabelPlan, folder: Path) -> LabelRaster | None:
    """Draw the labels of a scene and keep them in the cache.

    Args:
        plan: all that they depend on.
        folder: folder of the cache.

    Returns:
        None if no label and no area touches the image.

    Raises:
        InputError: a file of labels or areas cannot be read or does not fit, or the disk refuses to
            write.
    """
    rasters, counts = _files(plan, folder)
    grid = plan.grid
    areas = None
    if plan.areas is not None:
        areas = draw_areas(plan.areas, grid)
        if areas is None:
            return None
    opened = list(_opened(plan, grid))
    try:
        if not any(group for group, _ in opened) and all(fill is None for _, fill in opened):
            return None
        with ExitStack() as stack:
            partials = [stack.enter_context(replacing(raster)) for raster in rasters]
            by_group, digest = _write(rasters, partials, _Drawing(plan, grid, opened, areas))
            for group, _ in opened:
                for labels, _ in group:
                    labels.check()
    finally:
        for group, _ in opened:
            for labels, _ in group:
                labels.close()
    with replacing(counts) as partial, partial.open("wb") as file:
        if plan.has_origins:
            np.savez_compressed(file, digest=digest, origins=by_group)
        else:
            np.savez_compressed(file, digest=digest, cells=by_group[0])
    return _label_raster(plan, rasters, by_group, digest)


def _files(plan: LabelPlan, folder: Path) -> tuple[list[Path], Path]:
    """Name the rasters of a scene, the labels first, and the file of counts.

    The counts are written last, so they say that all exist.
    """
    stem = f"{Path(plan.image.path).stem[:100]}-{plan.key}"
    rasters = [folder / f"{stem}.tif"]
    if plan.has_origins:
        rasters.append(folder / f"{stem}-origins.tif")
    return rasters, folder / f"{stem}.npz"


def _label_raster(
    plan: LabelPlan, rasters: Sequence[Path], by_group: np.ndarray, digest: str
) -> LabelRaster:
    """Describe what was drawn.

    Args:
        plan: what it depends on.
        rasters: the files of :func:`_files`.
        by_group: number of pixels of each group and class in each cell, (n, rows, columns, k). Of
            labels without origins, all are one group.
        digest: SHA-256 of the labels.
    """
    cells = by_group.sum(axis=0, dtype=np.uint32)
    origins = Origins(rasters[1], by_group, plan.weights) if plan.has_origins else None
    return LabelRaster(rasters[0], cells, digest, origins)


def draw_areas(areas: AreaFile, grid: EarthGrid) -> "Painting | None":
    """Find the areas that touch a grid, and draw them as 1; None if none does.

    Args:
        areas: the file.
        grid: the grid.

    Raises:
        InputError: the file cannot be read.
    """
    require_extra("vectors", "areas of interest")
    from network.rasters import shapes, vectors

    attributes = {} if areas.attribute is None else {areas.attribute: "attribute"}
    found = vectors.read_features(
        areas.path, grid, vectors.POLYGONS, layer=areas.layer, attributes=attributes
    )
    if areas.only and areas.attribute is not None:
        names = found.values[areas.attribute]
        found = found.select(np.array([name in areas.only for name in names], bool))
    if not len(found) or grid.window_around(shapes.box_around(found.shapes)) is None:
        return None
    return shapes.Painting(found.shapes, np.ones(len(found)))


def check_areas(areas: AreaFile) -> None:
    """Raise an :class:`InputError` if a file lacks areas that are used.

    Args:
        areas: the file.
    """
    require_extra("vectors", "areas of interest")
    from network.rasters import vectors

    if areas.attribute is None:
        return
    known = vectors.list_values(areas.path, areas.attribute, areas.layer)
    for name in areas.only:
        if name not in known:
            raise InputError(
                areas.path, f"has no area '{name}' in '{areas.attribute}'{nearest(name, known)}"
            )


_Group = list[tuple[Labels, bool]]
"""Opened files, and for each whether it is a raster."""


def _opened(plan: LabelPlan, grid: EarthGrid) -> Iterator[tuple[_Group, int | None]]:
    """Open the files that touch the grid, with the label of what no polygon of a group covers."""
    for group, background in zip(plan.labels, plan.backgrounds, strict=True):
        found: _Group = []
        for file in group:
            try:
                opened = open_labels(file, grid, plan.info, uncovered=UNKNOWN)
            except LiesElsewhere:
                continue
            compare_resolution(file.path, opened, grid, "the image")
            found.append((opened.labels, is_raster(file.path)))
        fill = None if background is None else label_of(background, plan.info, "background")
        yield found, fill


class _Drawing:
    """The labels of a scene, drawn in strips over its whole width."""

    def __init__(
        self,
        plan: LabelPlan,
        grid: EarthGrid,
        groups: Sequence[tuple[_Group, int | None]],
        areas: "Painting | None",
    ):
        self.plan, self.grid = plan, grid
        self._groups, self._areas = groups, areas

    def strips(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield rows, their labels (h, w), and the groups of these, from the top to the bottom."""
        height, width, border = self.grid.height, self.grid.width, self.plan.border
        name = Path(self.plan.image.path).name
        what = "labels" if any(self.plan.labels) else "the ground"
        with progress_bar(
            total=height * width, desc=f"Drawing {what} of {name}", unit="px", unit_scale=True
        ) as bar:
            for top in range(0, height, _STRIP):
                rows = slice(top, min(top + _STRIP, height))
                around = slice(max(0, top - border), min(height, rows.stop + border))
                labels, groups = self._labels(around, slice(0, width))
                if border:
                    labels = without_borders(labels, border, self.plan.info.ignore_index)
                    inner = slice(rows.start - around.start, rows.stop - around.start)
                    labels, groups = labels[inner], groups[inner]
                self._ignore(labels, rows)
                groups[labels == self.plan.info.ignore_index] = _NOWHERE
                yield rows, labels, groups
                bar.update(labels.size)

    def _labels(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Draw the labels of all files, and the number of the group that each is from."""
        ignore = self.plan.info.ignore_index
        shape = rows.stop - rows.start, columns.stop - columns.start
        labels = np.full(shape, ignore, np.uint8)
        groups = np.full(shape, _NOWHERE, np.uint8)
        for number, (group, fill) in enumerate(self._groups):
            own = np.full(shape, UNKNOWN, np.uint8)
            for file, is_image in group:
                drawn = file.read(rows, columns)
                if is_image and (drawn == UNKNOWN).any():
                    file.note_unknown(rows, columns, drawn == UNKNOWN)
                is_there = drawn != (ignore if is_image else UNKNOWN)
                own[is_there] = drawn[is_there]
            if fill is not None:
                own[own == UNKNOWN] = fill
            is_there = own != UNKNOWN
            labels[is_there], groups[is_there] = own[is_there], number
        return labels, groups

    def _ignore(self, labels: np.ndarray, rows: slice) -> None:
        """Ignore pixels outside the areas, and those where the image has no data."""
        ignore, width = self.plan.info.ignore_index, self.grid.width
        if self._areas is not None:
            inside = self._areas.read(rows, slice(0, width), 0, "uint8")
            labels[inside == 0] = ignore
        if not self.plan.image.may_lack_data:
            return
        for left in range(0, width, _ACROSS):
            columns = slice(left, min(left + _ACROSS, width))
            if (labels[:, columns] != ignore).any():
                _, valid = self.plan.image.read(rows, columns)
                if valid is not None:
                    labels[:, columns][~valid] = ignore


def without_borders(labels: np.ndarray, width: int, ignore_index: int) -> np.ndarray:
    """Ignore a band at each side of the border between two classes.

    Args:
        labels: (h, w) uint8.
        width: width of the band in pixels: the radius of a disk in which no other class may be.
        ignore_index: label of ignored pixels, which have no border.

    Returns:
        (h, w) uint8

    Examples:
        >>> without_borders(np.array([[0, 0, 0, 1, 1, 255, 2, 2]], np.uint8), 1, 255).tolist()
        [[0, 0, 255, 255, 1, 255, 2, 2]]
    """
    across = np.arange(-width, width + 1)
    disk = (across[:, None] ** 2 + across**2 <= width**2).astype(np.uint8)
    is_ignored = labels == ignore_index
    low, high = np.where(is_ignored, 255, labels), np.where(is_ignored, 0, labels)
    smallest = cv2.erode(low.astype(np.uint8), disk)
    largest = cv2.dilate(high.astype(np.uint8), disk)
    return np.where(smallest < largest, np.uint8(ignore_index), labels)


def _write(
    paths: Sequence[Path], partials: Sequence[Path], drawing: _Drawing
) -> tuple[np.ndarray, str]:
    """Write the labels, and their groups if there is a second file.

    Returns:
        Number of pixels of each group and class in each cell, (n, rows, columns, k), with one group
        for all if the groups are not written; and the SHA-256 of the labels.
    """
    grid, info, plan = drawing.grid, drawing.plan.info, drawing.plan
    numbers = range(len(plan.labels)) if plan.has_origins else range(1)
    shape = len(numbers), -(-grid.height // CELL), -(-grid.width // CELL), info.num_classes
    cells, digest = np.zeros(shape, np.uint32), hashlib.sha256()
    options = {
        "driver": "GTiff",
        "height": grid.height,
        "width": grid.width,
        "count": 1,
        "dtype": "uint8",
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": _STRIP,
        "blockysize": _STRIP,
        "compress": "zstd",
        "zstd_level": 3,
        "bigtiff": "if_safer",
    }
    try:
        with ExitStack() as stack:
            stack.enter_context(rasterio.Env(**OPTIONS))
            files = [
                stack.enter_context(rasterio.open(partial, "w", nodata=nodata, **options))
                for partial, nodata in zip(partials, (info.ignore_index, _NOWHERE), strict=False)
            ]
            for rows, labels, groups in drawing.strips():
                window = RasterioWindow.from_slices(rows, slice(0, grid.width))
                for file, values in zip(files, (labels, groups), strict=False):
                    file.write(values, 1, window=window)
                digest.update(labels.tobytes())
                for number in numbers:
                    own = labels
                    if plan.has_origins:
                        own = np.where(groups == number, labels, np.uint8(info.ignore_index))
                    for start in range(0, len(own), CELL):
                        row = (rows.start + start) // CELL
                        cells[number, row] = _count(own[start : start + CELL], info.num_classes)
        # GDAL tells nobody of an error when it closes the file.
        for partial in partials:
            check_structure(partial, "GTiff")
    except (RasterioError, CPLE_BaseError, SystemError) as error:
        raise unwritable(paths[0], error) from error
    return cells, digest.hexdigest()


def _count(labels: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of each class in each cell of a row of cells, (columns, k)."""
    counts = []
    for left in range(0, labels.shape[1], CELL):
        found = count_labels(labels[:, left : left + CELL])
        counts.append(found[:classes])
    return np.array(counts)
