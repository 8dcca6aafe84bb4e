"""Counts of a map against its truth, area by area and window by window.

The memory that this takes does not depend on the size of the map.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from network.datasets.on_earth.areas import Area, Areas
from network.datasets.on_earth.labels import UNKNOWN, Labels
from network.datasets.windows import Window, counted_from, separate_windows
from network.errors import InputError
from network.evaluation.boundary import Part
from network.evaluation.on_earth.open_map import SIDE, OpenMap
from network.evaluation.records import Counter, Counts, ImageRecord
from network.progress import progress_bar

KIND = "full"
"""Kind of the truth of maps: it reaches up to the boundaries of the classes."""


@dataclass
class MapCounts:
    """The counts of a map in all areas.

    Attributes:
        records: the record of each area in which pixels were counted.
        lines: a line for each of them that has the digest of its labels.
        counted: number of counted pixels.
        without_truth: number of pixels in the areas that have no truth.
        without_map: number of pixels with truth at which the map has no data.
        empty: names of the areas in which no pixel was counted.
    """

    records: list[ImageRecord] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    counted: int = 0
    without_truth: int = 0
    without_map: int = 0
    empty: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """SHA-256 of the names of the areas and of all labels that count in them."""
        return hashlib.sha256("".join(sorted(self.lines)).encode()).hexdigest()

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the pixels of all areas that do not count, by the reason."""
        pixels = max(1, self.counted + self.without_truth + self.without_map)
        return {"no truth": self.without_truth / pixels, "no map": self.without_map / pixels}


def count_map(
    map_: OpenMap, truth: Labels, areas: Areas, tolerance: int, side: int = SIDE
) -> MapCounts:
    """Count a map against its truth.

    The counts of each area are those of :meth:`Counter.count` for the rows and columns around it,
    with the labels outside the area ignored, whatever the windows are.

    Args:
        map_: the map.
        truth: its truth.
        areas: the areas.
        tolerance: largest distance of boundaries that boundary F1 takes as matched, in pixels.
        side: side of the windows in pixels.

    Raises:
        InputError: a file cannot be read, or has values that are no class.
    """
    counting = _Counting(map_, truth, areas, Counter(map_.info, tolerance), side)
    total = sum(map(_pixels, (area.window for area in areas.found)))
    with progress_bar(total=total, desc="Scoring the map", unit="px", unit_scale=True) as bar:
        for position in range(len(areas.found)):
            counting.count_area(position, bar.update)
    truth.check()
    map_.labels.check()
    return counting.found


class _Counting:
    """The work on all areas; see :func:`count_map`."""

    def __init__(self, map_: OpenMap, truth: Labels, areas: Areas, counter: Counter, side: int):
        self.map, self.truth, self.areas = map_, truth, areas
        self.counter, self.side = counter, side
        self.ignored = map_.info.ignore_index
        self.found = MapCounts()

    def count_area(self, position: int, done: Callable[[int], object]) -> None:
        """Count one area and add its record.

        Args:
            position: position of the area.
            done: called with the number of pixels after each window.
        """
        area, digest = self.areas.found[position], hashlib.sha256()
        counts, before = Counts.none(self.map.info.num_classes), self.found.counted
        for core in _cores(area.window, self.side):
            counts += self._count(position, area, core, digest.update)
            done(_pixels(core))
        if self.found.counted == before:
            self.found.empty.append(area.name)
            return
        # As the digests of masks: the shape counts too.
        self.found.lines.append(f"{area.name} {_size(area.window)} {digest.hexdigest()}\n")
        self.found.records.append(ImageRecord(area.name, {KIND: counts}))

    def _count(
        self, position: int, area: Area, core: Window, digest: Callable[[bytes], object]
    ) -> Counts:
        """Count the pixels of a window's core."""
        size = _size(area.window)
        window = _grown(core, self.counter.reach(size), area.window)
        inside = Part(window, core, size).inside
        true = self.truth.read(*window)
        is_here = self.areas.inside(position, *window)
        true[~is_here] = self.ignored
        found, has_truth = self.found, true[inside] != self.ignored
        found.without_truth += int((is_here[inside] & ~has_truth).sum())
        if not has_truth.any():
            digest(true[inside].tobytes())
            return Counts.none(self.map.info.num_classes)
        predicted = self.map.labels.read(*window)
        has_map = predicted != self.ignored
        found.without_map += int((has_truth & ~has_map[inside]).sum())
        true[~has_map] = self.ignored
        counted = true[inside] != self.ignored
        found.counted += int(counted.sum())
        digest(true[inside].tobytes())
        for one, labels in ((self.truth, true), (self.map.labels, predicted)):
            is_unknown = counted & (labels[inside] == UNKNOWN)
            if is_unknown.any():
                one.note_unknown(*core, is_unknown)
        # Values without a class are an error at the end; until then they do not count.
        true[(true == UNKNOWN) | (predicted == UNKNOWN)] = self.ignored
        predicted[true == self.ignored] = 0
        return self.counter.count_part(
            self._confidence(window, true),
            predicted,
            true,
            Part(counted_from(area.window, window), counted_from(area.window, core), size),
        )

    def _confidence(self, window: Window, true: np.ndarray) -> np.ndarray | None:
        found = self.map.confidence(*window)
        if found is not None and np.isnan(found[true != self.ignored]).any():
            assert self.map.confidence_path is not None
            raise InputError(
                self.map.confidence_path,
                "has no data where the map has some, so it is that of another map",
                "predict both again, or rename it",
            )
        return found


def _grown(core: Window, reach: int, limit: Window) -> Window:
    """Enlarge a window by ``reach`` pixels at each side, but not beyond another window."""
    rows, columns = (
        slice(max(end.start, side.start - reach), min(end.stop, side.stop + reach))
        for side, end in zip(core, limit, strict=True)
    )
    return rows, columns


def _cores(window: Window, side: int) -> Iterator[Window]:
    """Cut a window into parts that cover it without overlap."""
    top, left = (one.start for one in window)
    for rows, columns in separate_windows(*_size(window), side, keep_rest=True):
        yield (
            slice(top + rows.start, top + rows.stop),
            slice(left + columns.start, left + columns.stop),
        )


def _size(window: Window) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start


def _pixels(window: Window) -> int:
    height, width = _size(window)
    return height * width
