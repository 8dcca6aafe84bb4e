"""Check of one image of a folder and of its masks, which are read in strips if they are large."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network.datasets.checks.findings import Examined, Finding, finding_of
from network.datasets.checks.values import Values
from network.datasets.files import (
    check_pair,
    fitting_header,
    ignore_invalid,
    image_of,
    mask_labels,
    read_image_raster,
    read_mask_raster,
    used_size,
)
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import is_read_in_windows
from network.datasets.window_reader import WindowReader, strips, window_name
from network.datasets.windows import Window
from network.errors import InputError
from network.rasters.earth_grid import EarthGrid
from network.rasters.header import Header
from network.rasters.pixels import count_labels
from network.rasters.reader import Table
from network.rasters.source import Source

ALPHA_BETWEEN = 0.1
"""Smallest share of half transparent pixels with which an alpha band looks like an image band."""

_Window = Window | None
"""A window of a file that is read in strips; None for the whole of a small file."""


@dataclass(frozen=True)
class Job:
    """One image to examine.

    Args:
        split: name of its split.
        image: the image file.
        masks: mask files by label kind.
    """

    split: str
    image: Path
    masks: dict[str, Path]


@dataclass(frozen=True)
class Examination:
    """A function that examines one image and its masks; it runs in a worker.

    Args:
        info: description of the data set.
    """

    info: DatasetInfo

    def __call__(self, job: Job) -> Examined:
        """Examine an image and its masks.

        Args:
            job: the image.
        """
        try:
            header = fitting_header(job.image, self.info)
            size = used_size(header, self.info)
            windows = list(strips(size)) if is_read_in_windows(size) else [None]
            image = _Image(job.image, self.info)
            masks, faults = self._open_masks(job, header)
            for window in windows:
                valid = image.add(window)
                for path, mask in list(masks.items()):
                    try:
                        mask.add(window, valid)
                    except InputError as error:
                        faults[path] = finding_of(error)
                        del masks[path]
            alpha = _alpha_findings(job.image, header, self.info, windows)
        except InputError as error:
            return Examined(job.split, job.image, job.masks, (finding_of(error),))
        findings = [*alpha, *image.findings()]
        for path in job.masks.values():
            findings += [faults[path]] if path in faults else masks[path].findings()
        pixels = next((mask.pixels for mask in masks.values()), ())
        facts = (tuple(findings), size, pixels, image.content, image.no_data)
        return Examined(job.split, job.image, job.masks, *facts, _grid_of(job.image, header))

    def _open_masks(
        self, job: Job, header: Header
    ) -> tuple[dict[Path, "_Mask"], dict[Path, Finding]]:
        """Begin with the masks that fit the image, and find the faults of the others."""
        masks, faults = {}, {}
        for path in job.masks.values():
            try:
                check_pair(job.image, path, header, self.info)
            except InputError as error:
                faults[path] = finding_of(error)
            else:
                masks[path] = _Mask(path, self.info)
        return masks, faults


class _Image:
    """The facts and faults of an image that is read window by window.

    Attributes:
        no_data: number of pixels without data.
    """

    def __init__(self, path: Path, info: DatasetInfo):
        self.path, self.info = path, info
        self.no_data = self._pixels = 0
        self._values = Values()
        self._reader = WindowReader(info)
        # The size counts too: the same bytes in rows of another length are another image.
        self._shape, self._digest = (0, 0, 0), hashlib.sha256()

    def add(self, window: _Window) -> np.ndarray | None:
        """Read a window; return where it has data (h, w) bool, or None for everywhere."""
        if window is None:
            raster = read_image_raster(self.path, self.info)
        else:
            raster = self._reader.image_raster(self.path, window)
        self._values.add(raster)
        image, valid = image_of(raster, self.info)
        height, *rest = image.shape
        self._shape = (self._shape[0] + height, *rest)
        self._digest.update(image.tobytes())
        self._pixels += image.shape[0] * image.shape[1]
        self.no_data += 0 if valid is None else int(np.count_nonzero(~valid))
        return valid

    @property
    def content(self) -> str:
        """A hash of all pixels."""
        return hashlib.sha256(f"{self._shape}".encode() + self._digest.digest()).hexdigest()

    def findings(self) -> list[Finding]:
        """List the faults of the pixels."""
        found = [Finding(str(self.path), *fault) for fault in self._values.faults()]
        if self.no_data == self._pixels:
            found.append(Finding(str(self.path), "none of its pixels has data", "remove it"))
        return found


class _Mask:
    """The facts and faults of a mask that is read window by window."""

    def __init__(self, path: Path, info: DatasetInfo):
        self.path, self.info = path, info
        self._reader = WindowReader(info)
        self._counts, self._kept = np.zeros(256, np.int64), np.zeros(256, np.int64)
        self._without_data = 0
        self._table: Table | None = None
        self._nodata: float | None = None

    def add(self, window: _Window, valid: np.ndarray | None) -> None:
        """Read a window.

        Args:
            window: the window.
            valid: (h, w) bool, true where the image has data; None if it has data everywhere.
        """
        if window is None:
            raster, where = read_mask_raster(self.path, self.info), str(self.path)
        else:
            raster = self._reader.mask_raster(self.path, window)
            where = window_name(self.path, window)
        labels = mask_labels(self.path, raster, self.info, where=where)
        self._counts += count_labels(labels)
        self._kept += count_labels(ignore_invalid(labels, valid, self.info))
        self._table, self._nodata = raster.table, raster.nodata
        # It may be the value of a class in a mask of one band.
        if raster.values.shape[2] == 1 and raster.nodata in self.info.mask_values:
            self._without_data += int(np.count_nonzero(raster.values == raster.nodata))

    @property
    def pixels(self) -> tuple[int, ...]:
        """Number of pixels of each class where the image has data, and then of the others."""
        classes = self._kept[: self.info.num_classes].tolist()
        return *classes, int(self._kept[self.info.ignore_index])

    def findings(self) -> list[Finding]:
        """List the faults of a mask whose labels are classes."""
        found = [self._table_finding(), self._nodata_finding()]
        return [finding for finding in found if finding]

    def _table_finding(self) -> Finding | None:
        """Find a color table that does not show labels in the colors of their classes."""
        info = self.info
        if self._table is None or info.mask_coding.color_tables == "colors":
            return None
        by_value = {value: color[:3] for value, color in self._table.items()}
        table = {n: by_value[v] for n, v in enumerate(info.mask_values) if v in by_value}
        used = np.flatnonzero(self._counts[: info.num_classes]).tolist()
        other = [n for n in used if n in table and table[n] != info.palette[n]]
        # A gray ramp says nothing about classes.
        if not any(len(set(table[n])) > 1 for n in other):
            return None
        name, shown = info.classes[other[0]], table[other[0]]
        problem = (
            f"its color table shows label {other[0]} as {shown}, {info.name} has {name} as "
            f"{info.palette[other[0]]}"
        )
        return Finding(str(self.path), problem, "check that the labels mean the same")

    def _nodata_finding(self) -> Finding | None:
        """Find a no-data value that is a class, since some programs set 0 without being asked."""
        value = self._nodata
        if value is None or not self._without_data:
            return None
        name = self.info.classes[self.info.mask_values.index(int(value))]
        problem = (
            f"calls label {value:g} ({name}) its no-data value, {self._without_data} pixels are "
            "ignored"
        )
        remedy = (
            "if these pixels do belong to the class, remove the no-data value (gdal_edit.py "
            "-unsetnodata)"
        )
        return Finding(str(self.path), problem, remedy)


def _alpha_findings(
    path: Path, header: Header, info: DatasetInfo, windows: Sequence[_Window]
) -> list[Finding]:
    """Find an image band that a program has declared to be alpha."""
    if not header.has_alpha or header.bands != info.bands + 1:
        return []
    size = header.height, header.width
    whole = (slice(0, size[0]), slice(0, size[1]))
    parts = strips(size) if len(windows) > 1 else [whole]
    highest, at_highest, above = 0.0, 0, 0
    with Source(path, (header.bands,)) as source:
        for part in parts:
            alpha = source.read_raster(*part).values
            largest = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else alpha.max()
            if largest > highest:
                highest, at_highest = largest, 0
            at_highest += int(np.count_nonzero(alpha == highest))
            above += int(np.count_nonzero(alpha > 0))
    between = (above - at_highest) / (size[0] * size[1])
    if between < ALPHA_BETWEEN:
        return []
    problem = f"its alpha band looks like an image ({between:.0%} of it is half transparent)"
    remedy = f"if it is one, say bands={header.bands} in the config's DatasetInfo"
    return [Finding(str(path), problem, remedy)]


def _grid_of(path: Path, header: Header) -> EarthGrid | None:
    """Find the pixels of an image on Earth; None if it does not say where each of them lies."""
    try:
        return EarthGrid.of(path, header.place, header.height, header.width)
    except InputError:
        return None
