"""A map of classes on Earth that is open to be read, with its classes and its confidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from network.datasets.on_earth.classes import find_classes, value_labels
from network.datasets.on_earth.labels import RasterLabels
from network.datasets.schema import DatasetInfo
from network.datasets.windows import Window
from network.errors import InputError, warn
from network.rasters.earth_grid import EarthGrid
from network.rasters.source import Source

SIDE = 2048
"""Side of the windows in which maps are read, in pixels."""


@dataclass(frozen=True, kw_only=True)
class MapFile:
    """A file of a map.

    Attributes:
        path: the file.
        info: description of a data set with the classes of the map; None if the map, or ``values``,
            name the classes.
        values: the class of each value of the map, by the user; empty if the values are labels or
            have names in ``MAP.aux.xml``.
    """

    path: Path
    info: DatasetInfo | None = None
    values: Mapping[str, str] = field(default_factory=dict)


class OpenMap:
    """A map that is read window by window.

    Args:
        file: the file of the map.
        with_confidence: whether to look for the confidence in ``MAP_confidence.tif``.

    Attributes:
        path: the file.
        info: the classes.
        grid: its grid on Earth.
        labels: its labels.
        confidence_path: file of the confidence; None if there is none.

    Raises:
        InputError: the map cannot be read, has no place on Earth, or nothing names its classes.
    """

    def __init__(self, file: MapFile, *, with_confidence: bool = False):
        self.path = file.path
        self._confidence: Source | None = None
        if not file.path.exists():
            raise InputError(file.path, "no such file")
        source = Source(file.path)
        try:
            height, width = source.size
            self.grid = EarthGrid.of(file.path, source.header.place, height, width)
            info = find_classes(file.path, source, file.info, file.values)
            self.info = _as_whole_image(info)
            # Maps hold labels, whatever values the masks of the data set have.
            values = value_labels(file.path, source, info.decoded, file.values, "map_values")
            self.labels = RasterLabels(file.path, source, self.info, values)
            self.confidence_path = self._find_confidence() if with_confidence else None
        except InputError:
            source.close()
            raise

    def _find_confidence(self) -> Path | None:
        path = self.path.with_name(f"{self.path.stem}_confidence.tif")
        if not path.is_file():
            return None
        found = Source(path)
        transform = found.header.place and found.header.place.transform
        is_same = found.size == (self.grid.height, self.grid.width)
        if not (is_same and transform and transform.almost_equals(self.grid.transform)):
            found.close()
            warn(f"{path}: has another grid than the map, so it is not used")
            return None
        self._confidence = found
        return path

    @property
    def everything(self) -> Window:
        """All rows and columns."""
        return slice(0, self.grid.height), slice(0, self.grid.width)

    def confidence(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Read the confidence (h, w), 0 to 1 and nan without data; None if there is none."""
        if self._confidence is None:
            return None
        values, valid = self._confidence.read(rows, columns)
        shares = values[..., 0].astype(np.float32) * np.float32(self._confidence.scales[0])
        return shares if valid is None else np.where(valid, shares, np.float32("nan"))

    def close(self) -> None:
        """Close the files."""
        self.labels.close()
        if self._confidence is not None:
            self._confidence.close()

    def __enter__(self) -> "OpenMap":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _as_whole_image(info: DatasetInfo) -> DatasetInfo:
    """Describe the same classes without patches, since a map is none."""
    return replace(info, tiles=None, patched=False)
