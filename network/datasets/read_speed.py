"""Advice on images whose windows are slow to read, because of how the file is stored.

The times are measured: those of the file as it is, and those of some of its pixels that are stored
in a better form in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np

from network.datasets.segmentation import Sample
from network.datasets.transforms import random_window
from network.datasets.windows import Window, counted_from, with_halo
from network.errors import warn
from network.rasters.header import CACHE_BYTES
from network.rasters.memory import blocks_in_memory
from network.rasters.source import Source, is_remote

TILE = 512
"""Side of the blocks that the advice asks for, in pixels."""

WINDOWS = 10
"""Number of windows that are read to measure the time."""

STORED = 3
"""How many of them are stored in the better form."""

FORMS = 8
"""Number of different forms of files that are measured, one file of each."""

_CONTEXT = 300
"""Context in pixels that is stored around a window, so that this does not begin with a block."""

_PATIENCE = 5.0
"""Seconds after which no further windows are read."""

_OVERVIEWS = 4 / 3
"""Size of a file with its overviews, divided by that without them."""

_SLOW = 2.5
"""The advice is given if the better form is faster by this factor."""

_QUICK = 0.005
"""Seconds that are no reason for advice, since the augmentation of a window takes longer."""


@dataclass(frozen=True)
class Speed:
    """How fast windows of a file are read.

    Attributes:
        image: the file.
        block: height and width of its blocks in pixels.
        compression: name of its compression; empty for none.
        seconds: median CPU time to read a window.
        better: median CPU time to read such a window in the better form.
        growth: size of the file in the better form, divided by its size; None if it is not known.
    """

    image: Path
    block: tuple[int, int]
    compression: str
    seconds: float
    better: float
    growth: float | None

    @property
    def gain(self) -> float:
        """How many times faster the better form is."""
        return self.seconds / self.better


def advise_on_storage(samples: Sequence[Sample], side: int) -> None:
    """Warn of the image whose form makes windows slowest to read, with the command that helps.

    A window needs all blocks that it touches. A file that is stored in rows over its whole width
    decodes many times the pixels of the window, and some compressions take long to decode.

    Args:
        samples: the images. Of those that are stored in the same way, one is measured.
        side: side of the windows that are read, in pixels.
    """
    if not samples or _pixel_bytes(samples[0]) * _pixels(samples) <= CACHE_BYTES:
        return  # all of them stay decoded in GDAL's memory
    forms: dict[object, Sample] = {}
    for sample in samples:
        with _opened(sample) as source:
            form = source.driver, source.block_size, source.compression, *source.dtypes
        forms.setdefault(form, sample)
        if len(forms) == FORMS:
            break
    measured = [measure_speed(sample, side) for sample in forms.values()]
    slow = [one for one in measured if one.gain > _SLOW and one.seconds > _QUICK]
    if not slow:
        return
    worst = max(slow, key=lambda one: one.gain)
    height, width = worst.block
    compressed = f" and compressed by {worst.compression}" if worst.compression else ""
    growth = f"; the file would be {worst.growth:.1f} times as large" if worst.growth else ""
    warn(
        f"{worst.image}: is stored in blocks of {height} x {width} pixels{compressed}, so reading "
        f"a window of {side} x {side} takes {_milliseconds(worst.seconds)}; in blocks of {TILE} x "
        f"{TILE} it would take {_milliseconds(worst.better)}, as measured on some windows"
        f"{growth}: gdal_translate -of COG -co COMPRESS=ZSTD -co BLOCKSIZE={TILE} "
        f"{worst.image.name} tiled.tif"
    )


def measure_speed(sample: Sample, side: int) -> Speed:
    """Measure how long random windows of an image take, as it is stored and in a better form.

    Args:
        sample: the image.
        side: side of the windows in pixels.
    """
    rng = np.random.default_rng(0)
    with _opened(sample) as source:
        windows = [random_window(source.size, side, side, rng) for _ in range(WINDOWS)]
        better, stored, start = [], 0.0, perf_counter()
        for number, window in enumerate(windows):
            outer = with_halo(window, _CONTEXT, source.size)
            values, _ = source.read(*outer)
            if number >= STORED:
                if perf_counter() - start > _PATIENCE:
                    windows = windows[:number]
                    break
                continue
            with blocks_in_memory(values, TILE) as memory:
                stored += len(memory.getbuffer()) / (values.shape[0] * values.shape[1])
                with Source(memory.name) as copy:
                    better.append(_seconds(copy, counted_from(outer, window)))
    # All bytes that are needed are in the memory of the system now, like those of the better form.
    # The file is opened anew for each window, so that no decoded block is left.
    seconds = []
    for window in windows:
        with _opened(sample) as source:
            seconds.append(_seconds(source, window))
    with _opened(sample) as source:
        height, width = source.size
        growth = None
        if not is_remote(source.path):
            size = Path(source.path).stat().st_size
            growth = _OVERVIEWS * stored / STORED * height * width / size
        return Speed(
            image=sample.image,
            block=source.block_size,
            compression=source.compression,
            seconds=float(np.median(seconds)),
            better=float(np.median(better)),
            growth=growth,
        )


def _opened(sample: Sample) -> Source:
    return Source(sample.image, sample.scene.bands if sample.scene else None)


def _pixels(samples: Sequence[Sample]) -> int:
    return sum(height * width for height, width in (sample.size for sample in samples))


def _pixel_bytes(sample: Sample) -> int:
    with _opened(sample) as source:
        return max(np.dtype(dtype).itemsize for dtype in source.dtypes) * len(source.bands)


def _seconds(source: Source, window: Window) -> float:
    """Measure the CPU time to read a window, which other programs on the machine do not change."""
    start = thread_time()
    source.read(*window)
    return thread_time() - start


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.001 else "less than 1 ms"
