"""Square blocks of ground, with the pixels of each class in them.

This module needs the extra ``vectors``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from network.datasets.on_earth.find import Scene
from network.datasets.on_earth.label_raster import CELL
from network.datasets.on_earth.plane import DISTORTED, Plane, Raster, find_plane
from network.datasets.windows import Window
from network.errors import InputError
from network.progress import progress_bar
from network.rasters.shapes import Painting, to_grid
from network.rasters.source import Source

MOST = 100_000
"""The largest number of blocks."""

_SIDE = 8 * CELL
"""Side of the windows in which labels are read, in pixels."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of ground that have labels.

    Attributes:
        plane: the plane that was cut into blocks.
        diagonal: length of the longest diagonal of a pixel, in meters.
        outlines: borders of the images, (m,) polygons in meters.
        ground: the part of each block that is in an image, (n,) polygons in meters.
        counts: labeled pixels of each class in each block, (n, k); without labels, square meters
            (n, 1).
    """

    plane: Plane
    diagonal: float
    outlines: np.ndarray
    ground: np.ndarray
    counts: np.ndarray


def cut_blocks(scenes: Sequence[Scene], side: float) -> Blocks:
    """Cut the ground of scenes into square blocks, and keep those with labels.

    Borders of blocks lie at multiples of their side, so they stay where they are when images are
    added. A labeled pixel is in the block that has its center. If no scene has labels, all ground
    in the images counts.

    Args:
        scenes: the scenes, all with labels or all without.
        side: side of the blocks in meters.

    Raises:
        InputError: a scene does not say where it lies, the scenes are too far apart for one plane,
            or the blocks are too small.
    """
    rasters = [_raster(scene) for scene in scenes]
    plane = find_plane(rasters)
    if plane.distortion > DISTORTED:
        raise InputError(
            rasters[0].path.parent,
            f"its {len(rasters)} images are too far apart to be split on one plane",
            "split the images of each region by themselves",
        )
    diagonal = max(_diagonals(rasters, plane))
    if side < 2 * diagonal:
        raise InputError(
            f"block={side:g}", f"has less than four pixels, of {plane.pixel:.3g} m or more"
        )
    outlines = plane.outlines(rasters)
    squares = _squares(outlines, side)
    ground = _within(squares, outlines)
    is_there = ~shapely.is_empty(ground)
    squares, ground = squares[is_there], ground[is_there]
    if all(scene.labels is None for scene in scenes):
        counts = shapely.area(ground)[:, None]
    else:
        counts = count_classes(scenes, squares, plane)
    is_labeled = counts.any(axis=1)
    return Blocks(plane, diagonal, outlines, ground[is_labeled], counts[is_labeled])


def count_classes(scenes: Sequence[Scene], shapes: np.ndarray, plane: Plane) -> np.ndarray:
    """Count the labeled pixels of each class whose center is in each of some shapes.

    Args:
        scenes: the scenes; those without labels have no labeled pixel.
        shapes: polygons (n,) in meters, of which no two overlap.
        plane: the plane of the shapes.

    Returns:
        (n, k) int64

    Raises:
        InputError: labels cannot be read.
    """
    labeled = [scene for scene in scenes if scene.labels]
    assert labeled[0].labels is not None
    counts = np.zeros((len(shapes), labeled[0].labels.cells.shape[2]), np.int64)
    total = sum(math.prod(scene.size) for scene in labeled)
    with progress_bar(total=total, desc="Counting labels", unit="px", unit_scale=True) as bar:
        for scene in labeled:
            _count_scene(scene, shapes, plane, counts)
            bar.update(math.prod(scene.size))
    return counts


def _count_scene(scene: Scene, shapes: np.ndarray, plane: Plane, counts: np.ndarray) -> None:
    assert scene.labels is not None
    assert scene.grid is not None
    classes = counts.shape[1]
    outline = plane.outlines([_raster(scene)])[0]
    near = shapely.STRtree(shapes).query(shapely.buffer(outline, 2 * plane.pixel))
    drawn = to_grid(scene.image, shapes[near].copy(), plane.crs, scene.grid)
    painting = Painting(drawn, np.arange(len(near)))
    found = np.zeros(len(near) * classes, np.int64)
    with Source(scene.labels.path) as source:
        for rows, columns in _labeled_windows(scene.labels.cells, scene.size):
            labels = source.read(rows, columns)[0][..., 0]
            owners = painting.read(rows, columns, -1, "int32")
            counted = (labels < classes) & (owners >= 0)
            pairs = owners[counted].astype(np.int64) * classes + labels[counted]
            found += np.bincount(pairs, minlength=len(found))
    counts[near] += found.reshape(len(near), classes)


def _labeled_windows(cells: np.ndarray, size: tuple[int, int]) -> Iterator[Window]:
    """List windows that cover all labeled pixels of a scene."""
    height, width = size
    is_labeled = np.asarray(cells.any(axis=2))
    for top in range(0, height, _SIDE):
        for left in range(0, width, _SIDE):
            rows = slice(top, min(top + _SIDE, height))
            columns = slice(left, min(left + _SIDE, width))
            own = is_labeled[
                top // CELL : -(-rows.stop // CELL), left // CELL : -(-columns.stop // CELL)
            ]
            if own.any():
                yield rows, columns


def _raster(scene: Scene) -> Raster:
    if scene.grid is None:
        raise InputError(
            scene.image, "does not say where on Earth it lies", "georeference it (gdal_edit.py)"
        )
    return Raster(Path(scene.image), scene.grid)


def _diagonals(rasters: Sequence[Raster], plane: Plane) -> list[float]:
    """Measure the diagonal of the pixel in the middle of each raster, in meters."""
    pixels = []
    for raster in rasters:
        row, column = raster.grid.height // 2, raster.grid.width // 2
        pixel = raster.grid.part(slice(row, row + 1), slice(column, column + 1))
        pixels.append(Raster(raster.path, pixel))
    boxes = shapely.bounds(plane.outlines(pixels))
    return np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]).tolist()


def _squares(outlines: np.ndarray, side: float) -> np.ndarray:
    """List the squares that touch any of the outlines, from the top left to the bottom right."""
    found: set[tuple[int, int]] = set()
    for left, bottom, right, top in shapely.bounds(outlines) / side:
        rows = range(math.floor(bottom), math.ceil(top))
        columns = range(math.floor(left), math.ceil(right))
        if len(found) + len(rows) * len(columns) > MOST:
            raise InputError(
                f"block={side:g}", f"gives more than {MOST} blocks", "choose larger blocks"
            )
        found |= {(row, column) for row in rows for column in columns}
    rows_of, columns_of = np.array(sorted(found, key=lambda place: (-place[0], place[1]))).T
    # Neighbors have equal numbers for their common border. With the sum of a corner and the side,
    # there would be gaps of rounding, and pixels with their center there would be in no block.
    corners = columns_of * side, rows_of * side, (columns_of + 1) * side, (rows_of + 1) * side
    return shapely.box(*corners)


def _within(squares: np.ndarray, outlines: np.ndarray) -> np.ndarray:
    """Cut squares to the images that they touch."""
    owners, places = shapely.STRtree(outlines).query(squares, predicate="intersects")
    parts = shapely.intersection(squares[owners], outlines[places])
    # Squares that only touch an image share a line with it.
    parts[shapely.area(parts) == 0] = shapely.Polygon()
    ground = np.full(len(squares), shapely.Polygon(), object)
    for owner in np.unique(owners):
        ground[owner] = shapely.union_all(parts[owners == owner])
    return ground
