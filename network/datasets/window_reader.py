"""Windows of the images and masks of a data set, which may be larger than the memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from network.datasets.files import ignore_invalid, mask_labels
from network.datasets.on_earth.find import Scene
from network.datasets.schema import DatasetInfo
from network.datasets.windows import Window
from network.rasters.reader import Raster, check_once
from network.rasters.source import Source
from network.rasters.source_pool import SourcePool
from network.rasters.whole import find_driver

STRIP = 2**24
"""Number of pixels that are read at once where a whole mask is needed."""


class Readable(Protocol):
    """An image of a data set; a :class:`network.datasets.segmentation.Sample` is one."""

    @property
    def image(self) -> Path:
        """The image file."""

    @property
    def scene(self) -> Scene | None:
        """The scene that the image is; None for an image in a folder."""


class WindowReader:
    """A reader of windows, with the same pixels and labels as those of the whole files.

    Files stay open, so that their next windows are read at once. One thread may use a reader at a
    time. A copy of it in another process opens the files anew.

    Args:
        info: description of the data set.
    """

    def __init__(self, info: DatasetInfo):
        self.info = info
        self._sources = SourcePool()

    def image(self, sample: Readable, window: Window) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a window of an image; see :func:`network.datasets.files.read_valid_image`.

        Args:
            sample: the image.
            window: rows and columns, after the image is turned if the data set says so.

        Raises:
            InputError: the file is damaged, or its pixels cannot be decoded.
        """
        return self._image(sample).read(*window)

    def mask(self, path: Path, window: Window) -> np.ndarray:
        """Read a window of a mask in a folder as labels (h, w) uint8; see :func:`read_mask`.

        Args:
            path: the mask file.
            window: rows and columns.

        Raises:
            InputError: the file is damaged, or holds a label or a color that is no class.
        """
        raster = self.mask_raster(path, window)
        return mask_labels(path, raster, self.info, where=window_name(path, window))

    def mask_raster(self, path: Path, window: Window) -> Raster:
        """Decode a window of a mask in a folder, without a check of its labels.

        Args:
            path: the mask file.
            window: rows and columns.

        Raises:
            InputError: the file is damaged, or its pixels cannot be decoded.
        """
        return self._file(path).read_raster(*window)

    def image_raster(self, path: Path, window: Window) -> Raster:
        """Decode a window of an image in a folder; pixels that are NaN count as valid here.

        Args:
            path: the image file.
            window: rows and columns, after the image is turned if the data set says so.

        Raises:
            InputError: the file is damaged, or its pixels cannot be decoded.
        """
        return self._file(path, self._bands).read_raster(*window)

    def mask_of(self, sample: Readable, path: Path, window: Window) -> np.ndarray:
        """Read a window of the mask of an image, as labels (h, w) uint8.

        Args:
            sample: the image.
            path: its mask; for a scene, the raster of its labels.
            window: rows and columns.
        """
        if sample.scene is None:
            return self.mask(path, window)
        return self._sources.get(path).read(*window)[0][..., 0]

    def labels(self, sample: Readable, path: Path, window: Window) -> np.ndarray:
        """Read a window of the mask of an image, ignored where the image has no data.

        Args:
            sample: the image.
            path: its mask.
            window: rows and columns.
        """
        mask = self.mask_of(sample, path, window)
        if sample.scene is not None:  # its labels are drawn where it has data
            return mask
        return ignore_invalid(mask, self.valid(sample, window), self.info)

    def valid(self, sample: Readable, window: Window) -> np.ndarray | None:
        """Read where a window of an image has data (h, w) bool; None if it has data everywhere.

        Args:
            sample: the image.
            window: rows and columns.
        """
        source = self._image(sample)
        return source.read(*window)[1] if source.may_lack_data else None

    def size(self, path: Path) -> tuple[int, int]:
        """Return height and width of a mask, after it is turned if the data set says so."""
        return self._file(path).size

    def _image(self, sample: Readable) -> Source:
        if sample.scene is not None:
            return self._sources.get(sample.image, sample.scene.bands)
        return self._file(sample.image, self._bands)

    @property
    def _bands(self) -> tuple[int, ...]:
        return tuple(range(1, self.info.bands + 1))

    def _file(self, path: Path, bands: tuple[int, ...] = ()) -> Source:
        check_once(path, find_driver(path))
        return self._sources.get(path, bands, turn=self.info.exif_orientation == "shown")


def window_name(path: Path, window: Window) -> str:
    """Name a window of a file for an error.

    Args:
        path: the file.
        window: rows and columns.
    """
    rows, columns = window
    return f"{path}, from row {rows.start} and column {columns.start} on"


def strips(size: tuple[int, int], pixels: int = STRIP) -> Iterator[Window]:
    """Cut an image into windows of its whole width.

    Args:
        size: height and width of the image.
        pixels: largest number of pixels of a window, which has one row at least.
    """
    height, width = size
    rows = max(1, pixels // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height)), slice(0, width)
