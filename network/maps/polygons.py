"""Polygons of a map: one for each region of a class, written tile by tile.

A first pass over the tiles finds the regions and measures them. The second one traces their
outlines; the pieces of a region that lies in several tiles wait on the disk for the last one. So
the memory depends on the size of a tile, on the number of regions (a few hundred bytes each), and
on the largest region. This module needs the extra ``vectors``.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import rasterio
import shapely
from rasterio.windows import Window as RasterioWindow

from network.maps.eliminate import eliminate
from network.maps.layers import STEPS
from network.maps.options import PolygonOptions
from network.maps.outlines import straightened, trace, unite
from network.maps.regions import Regions, Survey, Tile, make_tiles
from network.maps.waiting import Waiting
from network.progress import progress_bar
from network.rasters.ground import Ground
from network.rasters.header import OPTIONS
from network.rasters.vector_files import Layer, Rows, write_geopackage, write_geoparquet
from network.writing import writing

SIDE = 1024
"""Side of the tiles in pixels. Larger ones need more memory: noisy labels make a polygon of every
second pixel. Smaller ones cut more outlines, and simpler outlines keep a corner at each cut."""

FIELDS = {"class": int, "name": str, "area_m2": float, "confidence": float}
"""The columns of the table, beside the geometry."""

_REFUSED = re.compile(r"[!-/:-@\[-^`{-~]|gpkg|sqlite_", re.IGNORECASE)
"""How names of tables must not begin: with punctuation of ASCII other than ``_``, or with words
that GeoPackage and SQLite keep for themselves."""

_WRITERS = {"gpkg": write_geopackage, "parquet": write_geoparquet}


@dataclass(frozen=True)
class LabeledMap:
    """A map whose polygons are wanted.

    Attributes:
        name: its name.
        labels: raster of the labels, 255 where there is no data.
        confidence: raster of the largest probabilities, stored as 0 to 250.
        classes: names of the classes, by label.
        ground: its measures on the ground.
    """

    name: str
    labels: Path
    confidence: Path
    classes: Sequence[str]
    ground: Ground


def write_polygons(
    path: Path, map_: LabeledMap, options: PolygonOptions, scratch: Path, side: int = SIDE
) -> int:
    """Write the polygons of a map, whole or not at all.

    Args:
        path: the file.
        map_: the map.
        options: which polygons are wanted.
        scratch: folder for temporary files.
        side: side of the tiles in pixels.

    Returns:
        The number of polygons.

    Raises:
        InputError: the file cannot be written.
    """
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**OPTIONS))
        labels, confidence = (
            stack.enter_context(rasterio.open(file)) for file in (map_.labels, map_.confidence)
        )
        with writing(scratch):  # a file without a name, so a kill leaves nothing
            file = stack.enter_context(TemporaryFile(dir=scratch, buffering=0))
        waiting = Waiting(file, scratch)
        total, about = 2 * labels.height * labels.width, f"Polygons of {map_.name}"
        bar = stack.enter_context(progress_bar(total=total, desc=about, unit="px", unit_scale=True))
        tiles = make_tiles(labels.height, labels.width, side)
        survey = Survey(tiles, labels.width, with_borders=options.min_area > 0)
        for tile in tiles:
            areas = map_.ground.pixel_areas(*tile.window)
            survey.add(tile, _read(labels, tile), _read(confidence, tile), areas)
            bar.update(tile.pixels)
        regions, borders, numbers = survey.regions()
        if options.min_area:
            shape = map_.ground.pixel_shape
            regions, again = regions.merged(eliminate(regions, borders, options.min_area, shape))
            numbers = again[numbers]

        def batches() -> Iterator[Rows]:
            for tile in tiles:
                own = numbers[survey.number(tile, _read(labels, tile))]
                around = [None if side is None else numbers[side] for side in survey.sides(tile)]
                pieces, owners = trace(own, around, (tile.columns.start, tile.rows.start))
                if options.simplify:
                    tolerance = options.simplify / map_.ground.pixel_side(*tile.window)
                    pieces = shapely.coverage_simplify(pieces, tolerance, simplify_boundary=False)
                polygons, owners = _complete(pieces, owners, regions, tile, waiting)
                bar.update(tile.pixels)
                if len(polygons):
                    polygons = polygons if options.simplify else straightened(polygons)
                    yield _rows(polygons, owners, regions, map_)

        layer = Layer(_table_name(map_.name), map_.ground.crs, FIELDS)
        _WRITERS[options.format](path, layer, batches())
    return len(regions) - 1


def _table_name(name: str) -> str:
    """Choose the name of a table that GDAL takes; it is that of the map wherever possible.

    Examples:
        >>> [_table_name(name) for name in ("tile 1", "(1)", "GPKG_a")]
        ['tile 1', 'map_(1)', 'map_GPKG_a']
    """
    return f"map_{name}" if _REFUSED.match(name) else name


def _read(file: rasterio.DatasetReader, tile: Tile) -> np.ndarray:
    return file.read(1, window=RasterioWindow.from_slices(*tile.window))


def _complete(
    pieces: np.ndarray, owners: np.ndarray, regions: Regions, tile: Tile, waiting: Waiting
) -> tuple[np.ndarray, np.ndarray]:
    """Find the polygons that are complete with the pieces of a tile; the other pieces wait.

    Args:
        pieces: polygons (n,).
        owners: the region of each (n,); 0 for pixels without data.
        regions: all regions.
        tile: the tile.
        waiting: the pieces of earlier tiles.

    Returns:
        Polygons (p,) in the order of their first pixels, and the region of each (p,).
    """
    has_data = owners > 0
    is_whole = has_data & (regions.start[owners] == regions.end[owners])
    is_open = has_data & ~is_whole
    for number, piece in zip(owners[is_open].tolist(), pieces[is_open], strict=True):
        waiting.add(number, piece)
    ending = np.unique(owners[is_open & (regions.end[owners] == tile.number)])
    united = [unite(waiting.take(number)) for number in ending.tolist()]
    polygons = np.concatenate([pieces[is_whole], np.array(united, dtype=object)])
    owners = np.concatenate([owners[is_whole], ending])
    order = np.argsort(regions.first[owners])
    return polygons[order], owners[order]


def _rows(polygons: np.ndarray, owners: np.ndarray, regions: Regions, map_: LabeledMap) -> Rows:
    """Make the rows of polygons (n,) in pixels, each of which is the outline of a region (n,)."""
    a, b, c, d, e, f = map_.ground.transform[:6]

    def placed(corners: np.ndarray) -> np.ndarray:
        columns, rows = corners.T
        return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=1)

    polygons = shapely.orient_polygons(shapely.transform(polygons, placed))
    labels = regions.label[owners]
    values = {
        "class": labels,
        "name": [map_.classes[label] for label in labels],
        "area_m2": map_.ground.areas(polygons),
        "confidence": regions.shares[owners] / (STEPS * regions.pixels[owners]),
    }
    return Rows(polygons, values)
