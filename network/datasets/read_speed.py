"""Advice on images whose windows are slow to read, because of how the file is stored."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from network.datasets.segmentation import Sample
from network.datasets.transforms import random_window
from network.errors import warn
from network.rasters.source import Source

TILE = 512
"""Side of the blocks that the advice asks for, in pixels."""

WINDOWS = 10
"""Number of windows that are read to measure the time."""

_SLOW = 3.0
"""The advice is given if blocks hold more than this many times the pixels of good blocks."""


def advise_on_blocks(samples: Sequence[Sample], side: int) -> None:
    """Warn of the scene whose blocks make windows slowest to read, with the command that helps.

    A window needs all blocks that it touches. A file that is stored in rows over its whole width
    decodes many times the pixels of the window.

    Args:
        samples: the scenes.
        side: side of the windows that are read, in pixels.
    """
    worst: tuple[float, Sample] | None = None
    for sample in samples:
        assert sample.scene is not None
        with Source(sample.image, sample.scene.bands) as source:
            decoded = _decoded(source, side, source.block_size)
            waste = decoded / _decoded(source, side, (TILE, TILE))
        if waste > _SLOW and (worst is None or waste > worst[0]):
            worst = waste, sample
    if worst is None:
        return
    waste, sample = worst
    height, width = _blocks(sample)
    warn(
        f"{sample.image}: is stored in blocks of {height} x {width} pixels, so reading a window of "
        f"{side} x {side} takes {1000 * _seconds(sample, side):.0f} ms; in blocks of {TILE} x "
        f"{TILE} it takes about 1/{waste:.0f} of that: gdal_translate -of COG -co COMPRESS=ZSTD "
        f"-co BLOCKSIZE={TILE} {sample.image.name} tiled.tif"
    )


def _blocks(sample: Sample) -> tuple[int, int]:
    assert sample.scene is not None
    with Source(sample.image, sample.scene.bands) as source:
        return source.block_size


def _decoded(source: Source, side: int, block: tuple[int, int]) -> float:
    """Compute the mean number of pixels that are decoded for a window."""
    pixels = 1.0
    for stored, length in zip(block, source.size, strict=True):
        pixels *= min(length, side + stored - 1)
    return pixels


def _seconds(sample: Sample, side: int) -> float:
    """Measure the median time to read a window, in seconds."""
    assert sample.scene is not None
    rng = np.random.default_rng(0)
    times = []
    with Source(sample.image, sample.scene.bands) as source:
        for _ in range(WINDOWS):
            start = perf_counter()
            source.read(*random_window(source.size, side, side, rng))
            times.append(perf_counter() - start)
    return float(np.median(times))
