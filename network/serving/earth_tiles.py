"""Tiles of labels in Web Mercator, as web maps and QGIS ask for them: ``/tiles/{z}/{x}/{y}``.

They come from a finished map, or from an image whose windows are predicted when a tile shows them
for the first time.
"""

import errno
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio.warp
from affine import Affine
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader

from network.datasets.files import encode
from network.datasets.open_image import open_image
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.maps.layers import LABELS, NO_DATA
from network.maps.options import MapOptions
from network.maps.plan import Block, Plan
from network.maps.predict import BlockFailed, Times, predict_blocks
from network.maps.read import FinishedMap
from network.rasters.place import Place
from network.rasters.source import Source
from network.rasters.view import View
from network.serving.batches import Ticket
from network.serving.readers import Readers
from network.serving.uploads import no_space
from network.writing import Unwritable, writing

SIDE = 256
"""Side of a tile in pixels."""

MOST_ZOOM = 30

MOST_WINDOWS = 16
"""Largest number of windows that one tile lets predict. A tile of a small scale, which would need
more, shows what was predicted before."""

_MERCATOR = "EPSG:3857"
_HALF = 20037508.342789244  # the largest coordinate, in meters


class Labels(Protocol):
    """A raster of labels that tiles are drawn from.

    Attributes:
        path: the raster, for errors.
        size: its height and width in pixels.
        place: its place on Earth.
        colors: (256, 4) uint8, red, green, blue and opacity of each label.
    """

    path: Path
    size: tuple[int, int]
    place: Place
    colors: np.ndarray

    def tile(self, zoom: int, x: int, y: int, ticket: Ticket) -> np.ndarray | None:
        """Read the labels of a tile (256, 256) uint8; None outside of the raster."""


class EarthTiles:
    """Tiles of labels as PNG.

    Args:
        labels: what they are drawn from.
    """

    def __init__(self, labels: Labels):
        self._labels = labels

    def about(self, address: str) -> dict[str, Any]:
        """Describe the tiles as TileJSON 3.0.

        Args:
            address: the address of a tile, with ``{z}``, ``{x}`` and ``{y}``.
        """
        bounds = _bounds(self._labels.place, self._labels.size, "EPSG:4326")
        meters = _bounds(self._labels.place, self._labels.size, _MERCATOR)
        pixel = (meters[2] - meters[0]) / self._labels.size[1]
        zoom = round(math.log2(2 * _HALF / SIDE / pixel))
        return {
            "tilejson": "3.0.0",
            "name": self._labels.path.name,
            "tiles": [address],
            "bounds": [round(value, 6) for value in bounds],
            "minzoom": 0,
            "maxzoom": min(MOST_ZOOM, max(0, zoom)),
        }

    def draw(self, zoom: int, x: int, y: int, ticket: Ticket) -> bytes | None:
        """Draw a tile.

        Args:
            zoom: zoom of the tile, 0 for the whole Earth.
            x: column of the tile, from the antimeridian eastward.
            y: row of the tile, from the north southward.
            ticket: gives access to the network.

        Returns:
            The PNG, transparent where there are no labels; None if there is no such tile.

        Raises:
            InputError: the raster cannot be decoded.
            Refusal: the network cannot predict it now.
            Cancelled: the work was given up.
        """
        if not (0 <= zoom <= MOST_ZOOM and 0 <= x < 2**zoom and 0 <= y < 2**zoom):
            return None
        labels = self._labels.tile(zoom, x, y, ticket)
        return None if labels is None else encode(self._labels.colors[labels], ".png")


class MapLabels:
    """The labels of a finished map.

    Args:
        map_: the map.

    Raises:
        InputError: the map does not say where it lies.
    """

    def __init__(self, map_: FinishedMap):
        self._view: View = map_.labels
        self.path, self.size = self._view.path, (self._view.height, self._view.width)
        self.place = _known(self.path, self._view.place)
        self.colors = _colors([(entry.label, entry.color) for entry in map_.classes])
        self._readers = Readers(self.path, lambda: Reader(None, dataset=self._view.open()))

    def tile(self, zoom: int, x: int, y: int, ticket: Ticket) -> np.ndarray | None:
        """Read the labels of a tile, see :class:`Labels`."""
        with self._readers.borrowed() as reader:
            try:
                found = reader.tile(x, y, zoom, tilesize=SIDE, indexes=1).array[0]
            except TileOutsideBounds:
                return None
            return np.where(np.ma.getmaskarray(found), NO_DATA, found.data).astype(np.uint8)


class ImageLabels:
    """The labels of an image, each predicted when a tile shows it for the first time.

    Args:
        path: the image.
        info: description of the network's images and classes.
        folder: folder of the file of labels, which takes a byte for each predicted pixel.
        options: how the image is cut into windows.

    Raises:
        InputError: the image cannot be predicted, or does not say where it lies.
    """

    def __init__(self, path: Path, info: DatasetInfo, folder: Path, options: MapOptions):
        self.path, self._info = path, info
        with open_image(path, info) as source:
            self.size, self.place = source.size, _known(path, source.header.place)
        self.colors = _colors(list(enumerate(info.palette)))
        # Each block is one window.
        self._plan = Plan(*self.size, options.window, options.halo_width, cores=(1, 1))
        self._stored = _StoredLabels(folder / "labels", self.size)
        self._done: set[str] = set()
        self._lock = threading.Lock()

    def tile(self, zoom: int, x: int, y: int, ticket: Ticket) -> np.ndarray | None:
        """Predict and read the labels of a tile, see :class:`Labels`."""
        side = 2 * _HALF / 2**zoom
        left, top = x * side - _HALF, _HALF - y * side
        pixels = _seen(self.place, self.size, (left, top - side, left + side, top))
        if pixels is None:
            return None
        self._predict(pixels, ticket)
        rows, columns = pixels
        # Nearest neighbors use one pixel of many at a small scale; the others need not be read.
        step = max(1, min(rows.stop - rows.start, columns.stop - columns.start) // (4 * SIDE))
        labels = self._stored.read(rows, columns, step)
        assert self.place.transform is not None
        corner = Affine.translation(columns.start, rows.start) @ Affine.scale(step)
        tile = np.full((SIDE, SIDE), NO_DATA, np.uint8)
        rasterio.warp.reproject(
            labels,
            tile,
            src_transform=self.place.transform @ corner,
            src_crs=self.place.crs,
            src_nodata=NO_DATA,
            dst_transform=Affine(side / SIDE, 0, left, 0, -side / SIDE, top),
            dst_crs=_MERCATOR,
            dst_nodata=NO_DATA,
            resampling=rasterio.warp.Resampling.nearest,
        )
        return tile

    def _predict(self, pixels: tuple[slice, slice], ticket: Ticket) -> None:
        """Predict the windows of a part that are missing, unless these are too many."""
        inside = [
            [number for number, core in enumerate(cores) if _touch(core, side)]
            for cores, side in zip(self._plan.bands, pixels, strict=True)
        ]
        if len(inside[0]) * len(inside[1]) > MOST_WINDOWS:
            return
        blocks = [self._plan.block(row, column) for row in inside[0] for column in inside[1]]
        if all(block.name in self._done for block in blocks):
            return
        # Neighboring tiles come at once and need the same windows.
        while not self._lock.acquire(timeout=0.1):
            ticket.check()
        try:
            ticket.check()
            missing = [block for block in blocks if block.name not in self._done]
            with open_image(self.path, self._info) as source:
                self._predict_blocks(source, missing, ticket)
        finally:
            self._lock.release()

    def _predict_blocks(self, source: Source, blocks: Sequence[Block], ticket: Ticket) -> None:
        def keep(block: Block, values: dict[str, np.ndarray]) -> None:
            try:
                self._stored.write(block.rows, block.columns, values[LABELS.name][0])
            except Unwritable as error:
                raise no_space(error.__cause__) from error
            self._done.add(block.name)

        try:
            predict_blocks(
                lambda images, parts: ticket.logits(images),
                self._info.num_classes,
                source,
                blocks,
                (LABELS,),
                keep,
                Times(),
            )
        except BlockFailed as error:
            raise error.cause from None


class _StoredLabels:
    """The labels of an image in a file, in which nothing takes space that was not predicted.

    A file that is mapped into the memory would end the process when the disk is full.

    Args:
        path: the file.
        size: height and width of the image.
    """

    def __init__(self, path: Path, size: tuple[int, int]):
        self._height, self._width = size
        self._file = path.open("w+b", buffering=0)
        # A new file has zeros, which stand for NO_DATA.
        self._file.truncate(self._height * self._width)

    def read(self, rows: slice, columns: slice, step: int) -> np.ndarray:
        """Read each ``step``-th label of each ``step``-th row of a part."""
        length, file = columns.stop - columns.start, self._file.fileno()
        lines = [
            os.pread(file, length, row * self._width + columns.start)
            for row in range(rows.start, rows.stop, step)
        ]
        part: np.ndarray = np.frombuffer(b"".join(lines), np.uint8).reshape(-1, length)
        return part[:, ::step] ^ NO_DATA

    def write(self, rows: slice, columns: slice, labels: np.ndarray) -> None:
        """Write the labels of a part.

        Raises:
            Unwritable: the disk refuses to write.
        """
        path = Path(self._file.name)
        with writing(path):
            for row, line in zip(range(rows.start, rows.stop), labels ^ NO_DATA, strict=True):
                place = row * self._width + columns.start
                if os.pwrite(self._file.fileno(), line.tobytes(), place) < line.size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _colors(entries: Sequence[tuple[int, tuple[int, int, int]]]) -> np.ndarray:
    colors = np.zeros((256, 4), np.uint8)
    for label, color in entries:
        colors[label] = *color, 255
    return colors


def _known(path: Path, place: Place | None) -> Place:
    if place is None or place.transform is None or place.crs is None:
        raise InputError(
            path,
            "does not say where it lies on Earth, so it has no tiles in Web Mercator",
            "give a georeferenced raster",
        )
    return place


def _bounds(place: Place, size: tuple[int, int], crs: str) -> tuple[float, float, float, float]:
    """Find left, bottom, right and top of a raster in another reference system."""
    assert place.transform is not None
    columns, rows = np.array([[0, size[1], 0, size[1]], [0, 0, size[0], size[0]]], float)
    x, y = place.transform @ (columns, rows)
    box = min(x), min(y), max(x), max(y)
    return rasterio.warp.transform_bounds(place.crs, crs, *box)


def _seen(
    place: Place, size: tuple[int, int], box: tuple[float, float, float, float]
) -> tuple[slice, slice] | None:
    """Find the rows and columns of a raster inside a box of Web Mercator; None if there are none.

    Args:
        place: place of the raster.
        size: its height and width.
        box: left, bottom, right and top.
    """
    assert place.transform is not None
    left, bottom, right, top = _bounds(place, size, _MERCATOR)
    inside = max(left, box[0]), max(bottom, box[1]), min(right, box[2]), min(top, box[3])
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None
    left, bottom, right, top = rasterio.warp.transform_bounds(_MERCATOR, place.crs, *inside)
    corners = np.array([[left, right, left, right], [bottom, bottom, top, top]])
    columns, rows = ~place.transform @ tuple(corners)
    found = []
    for values, length in ((rows, size[0]), (columns, size[1])):
        # A pixel more on each side, for the curvature of the projection.
        start = max(0, math.floor(min(values)) - 1)
        stop = min(length, math.ceil(max(values)) + 1)
        if start >= stop:
            return None
        found.append(slice(start, stop))
    return found[0], found[1]


def _touch(one: slice, other: slice) -> bool:
    return one.start < other.stop and other.start < one.stop
