"""Labels of a map and of its truth, read window by window on the grid of the map."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from network.datasets.on_earth.classes import ValueLabels, color_labels
from network.datasets.schema import MAX_CLASSES, DatasetInfo
from network.errors import InputError, listed
from network.rasters.source import Source, is_lossy_raster

UNKNOWN = MAX_CLASSES
"""Label of pixels whose value is no class. No class and no ignore label has this number."""


class Labels(Protocol):
    """Labels that are read window by window."""

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Read labels (h, w) uint8: a class, the ignore label, or ``UNKNOWN``."""

    def note_unknown(self, rows: slice, columns: slice, chosen: np.ndarray) -> None:
        """Count the values without a class among the chosen pixels (h, w) bool of a window."""

    def check(self) -> None:
        """Raise an :class:`InputError` if values without a class were counted."""

    def close(self) -> None:
        """Close the file."""


class RasterLabels:
    """Labels of a raster: of its values, or of its colors if it has three bands of 8 bits.

    Args:
        path: the file.
        source: the opened raster.
        info: the classes.
        values: the labels of its values; colors mean what the palette of the classes says.

    Raises:
        InputError: the raster has neither one band nor three bands of colors, or was compressed
            with loss.
    """

    def __init__(self, path: Path, source: Source, info: DatasetInfo, values: ValueLabels):
        self.path, self.info = path, info
        self._source, self._values = source, values
        self._unknown: Counter[float] = Counter()
        self._is_colored = len(source.bands) == 3 and source.dtypes == {"uint8"}
        if is_lossy_raster(source):
            raise InputError(
                path, "compressed with loss, so some of its labels are wrong", "make it again"
            )
        if len(source.bands) != 1 and not self._is_colored:
            raise InputError(
                path,
                f"has {len(source.bands)} bands",
                "labels are one band of numbers, or three bands of colors",
            )
        labels = color_labels(info) if self._is_colored else dict(values.labels)
        if not labels:
            raise InputError(
                path,
                f"names its values {listed(values.names.values(), 30)}, and no class",
                f"the classes are {listed(info.classes, 30)}; say which of them the values are by "
                f"{values.option}=VALUE=CLASS,...",
            )
        dtype = np.dtype("int64" if self._is_colored else min(source.dtypes))
        self._keys, self._labels = _keys(labels, dtype)
        self._table = _table(labels) if source.dtypes == {"uint8"} else None

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Read labels (h, w) uint8: a class, the ignore label, or ``UNKNOWN``."""
        values, valid = self._read(rows, columns)
        if self._table is not None and not self._is_colored:
            found = self._table[values]
        elif not len(self._keys):
            found = np.full(values.shape, UNKNOWN, np.uint8)
        else:
            places = np.searchsorted(self._keys, values).clip(max=len(self._keys) - 1)
            found = np.where(self._keys[places] == values, self._labels[places], np.uint8(UNKNOWN))
        found[~valid] = self.info.ignore_index
        return found

    def note_unknown(self, rows: slice, columns: slice, chosen: np.ndarray) -> None:
        """Count the values without a class among the chosen pixels (h, w) bool of a window."""
        values, _ = self._read(rows, columns)
        chosen = chosen & (self.read(rows, columns) == UNKNOWN)
        self._unknown.update(
            dict(
                zip(
                    *(a.tolist() for a in np.unique(values[chosen], return_counts=True)),
                    strict=True,
                )
            )
        )

    def check(self) -> None:
        """Raise an :class:`InputError` if values without a class were counted."""
        if not self._unknown:
            return
        shown = [f"{self._shown(v)} ({n} pixels)" for v, n in self._unknown.most_common()]
        option, classes = self._values.option, listed(self.info.classes, 30)
        raise InputError(
            self.path,
            f"values that are no class: {listed(shown)}",
            f"the classes are {classes}"
            if self._is_colored
            else f"the classes are {classes}; say which of them the values are by "
            f"{option}=VALUE=CLASS,... (or VALUE=ignore)",
        )

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def _read(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Read values, or codes of colors, and where they are valid; both (h, w)."""
        values, valid = self._source.read(rows, columns)
        if valid is None:
            valid = np.ones(values.shape[:2], bool)
        if self._is_colored:
            red, green, blue = (values[..., band].astype(np.int64) for band in range(3))
            return red << 16 | green << 8 | blue, valid
        band = values[..., 0]
        if band.dtype.kind == "f":
            valid = valid & ~np.isnan(band)
        return band, valid

    def _shown(self, value: float) -> str:
        if self._is_colored:
            code = int(value)
            return f"color ({code >> 16}, {code >> 8 & 255}, {code & 255})"
        name = self._values.names.get(int(value)) if value == int(value) else None
        return f"{value:g}" + (f" '{name}'" if name else "")


def _keys(labels: Mapping[int, int], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """List in order the values that pixels of a type can have, and their labels.

    Some programs mark pixels without a label by the largest value of a type, such as 2**64 - 1 or
    -3.4e38. NumPy cannot compare it with the values of other types.
    """
    values = sorted(labels)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = [value for value in values if limits.min <= value <= limits.max]
    widest = {"i": np.int64, "u": np.uint64}.get(dtype.kind, np.float64)
    return np.array(values, widest), np.array([labels[value] for value in values], np.uint8)


def _table(labels: Mapping[int, int]) -> np.ndarray:
    """Make a table of the label of each value of 8 bits."""
    table = np.full(256, UNKNOWN, np.uint8)
    for value, label in labels.items():
        if 0 <= value < 256:
            table[value] = label
    return table
