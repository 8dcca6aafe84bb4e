"""Prediction of the blocks of one image. Reading, network and writing overlap in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from time import perf_counter
from typing import TypeVar

import numpy as np

from network.arrays import Array, arrays_of
from network.datasets.windows import Part, counted_from
from network.maps.layers import NO_DATA, Layer, channels, compute_layers
from network.maps.plan import Block, fade
from network.rasters.pixels import network_values
from network.rasters.source import Source

Item = TypeVar("Item")
Result = TypeVar("Result")

Segment = Callable[[np.ndarray, Sequence[Part]], Array]
"""A function from windows (b, bands, h, w), as they are stored, and their parts to scores
(b, c, h, w), whose channels :func:`network.maps.layers.channels` describes."""

ROWS = 256
"""Number of rows whose blended scores are turned into layers at once."""

AHEAD = 2
"""Number of batches that are read while the network works."""

BEHIND = 1
"""Number of blocks that wait until they are written; with probabilities they are large."""


@dataclass
class Times:
    """Seconds that each stage has worked; reading and writing run beside the others."""

    reading: float = 0.0
    network: float = 0.0
    merging: float = 0.0
    writing: float = 0.0

    def add(self, other: "Times") -> None:
        """Add the seconds of other work."""
        self.reading += other.reading
        self.network += other.network
        self.merging += other.merging
        self.writing += other.writing


class BlockFailed(Exception):
    """The error for a block whose pixels cannot be read, or that the network fails at.

    Attributes:
        block: the block.
        cause: the error.
    """

    def __init__(self, block: Block, cause: Exception):
        super().__init__(f"{block.name}: {cause}")
        self.block, self.cause = block, cause


@dataclass
class _Batch:
    """Windows of one size in one block; those without a valid pixel are left out.

    Attributes:
        block: the block.
        is_last: whether this is the last batch of the block.
        parts: windows and cores.
        images: (b, bands, h, w); None if no window has a valid pixel.
        valid: for each window (h, w) bool, or None if all of its pixels are valid.
    """

    block: Block
    is_last: bool
    parts: list[Part] = field(default_factory=list)
    images: np.ndarray | None = None
    valid: list[np.ndarray | None] = field(default_factory=list)


def predict_blocks(
    segment: Segment,
    classes: int,
    source: Source,
    blocks: Iterable[Block],
    layers: Sequence[Layer],
    write: Callable[[Block, dict[str, np.ndarray]], None],
    times: Times,
    *,
    batch_size: int = 1,
    done: Callable[[Block], None] = lambda block: None,
) -> None:
    """Predict blocks and hand each to ``write``, in a separate thread.

    Args:
        segment: gives the scores of windows (b, c, h, w).
        classes: number of classes, k.
        source: the opened image.
        blocks: the blocks.
        layers: what to compute.
        write: writes the layers of a block, by name (bands, h, w) uint8.
        times: gets the seconds of each stage.
        batch_size: number of windows in a step.
        done: called in this thread after each block.

    Raises:
        BlockFailed: a window cannot be read, or the network fails. All blocks that ``done`` was
            called for are written.
        InputError: a block cannot be written.
    """

    def read(batch: _Batch) -> _Batch:
        start = perf_counter()
        try:
            _read(batch, source)
        except Exception as error:
            raise BlockFailed(batch.block, error) from error
        times.reading += perf_counter() - start
        return batch

    def merge(batch: _Batch, images: np.ndarray, canvas: "_Cropped | _Blended") -> None:
        start = perf_counter()
        try:
            found = segment(images, batch.parts)
            arrays_of(found).wait(found)
            middle = perf_counter()
            for part, valid, scores in zip(batch.parts, batch.valid, found, strict=True):
                canvas.add(part, valid, scores)
        except Exception as error:
            raise BlockFailed(batch.block, error) from error
        times.network += middle - start
        times.merging += perf_counter() - middle

    def write_timed(block: Block, values: dict[str, np.ndarray]) -> None:
        start = perf_counter()
        write(block, values)
        times.writing += perf_counter() - start

    canvas: _Cropped | _Blended | None = None
    with (
        ThreadPoolExecutor(1, "reading") as readers,
        ThreadPoolExecutor(1, "writing") as writers,
    ):
        written: deque[Future] = deque()
        try:
            for batch in _ahead(readers, read, _batches(blocks, batch_size)):
                if canvas is None:
                    kind = _Cropped if batch.block.plan.blend == "crop" else _Blended
                    canvas = kind(batch.block, layers, classes)
                if batch.images is not None:
                    merge(batch, batch.images, canvas)
                if batch.is_last:
                    start = perf_counter()
                    values = canvas.result()
                    times.merging += perf_counter() - start
                    written.append(writers.submit(write_timed, batch.block, values))
                    canvas = None
                    while len(written) > BEHIND or (written and written[0].done()):
                        written.popleft().result()
                    done(batch.block)
        finally:
            # Also after the failure of another block: so these are written, or an error says why.
            while written:
                written.popleft().result()


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Apply a function to items in the pool, a few items ahead, and yield the results in order."""
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _batches(blocks: Iterable[Block], size: int) -> Iterator[_Batch]:
    """Group neighboring windows of one size in each block."""
    for block in blocks:
        groups = []
        for _, same in groupby(block.parts, key=_window_size):
            parts = list(same)
            groups += [parts[start : start + size] for start in range(0, len(parts), size)]
        for number, parts in enumerate(groups, 1):
            yield _Batch(block, number == len(groups), parts)


def _window_size(part: Part) -> tuple[int, int]:
    rows, columns = part.window
    return rows.stop - rows.start, columns.stop - columns.start


def _read(batch: _Batch, source: Source) -> None:
    """Read the windows of a batch, and drop those without a valid pixel."""
    images, parts = [], []
    for part in batch.parts:
        values, valid = source.read(*part.window)
        rows, columns = part.inside
        if valid is not None and not valid[rows, columns].any():
            continue
        images.append(network_values(values, valid).transpose(2, 0, 1))
        parts.append(part)
        batch.valid.append(None if valid is None else valid[rows, columns])
    batch.parts = parts
    if images:
        # By default, np.stack keeps the order of the bands in memory, and a network would copy it.
        stacked = np.empty((len(images), *images[0].shape), images[0].dtype)
        batch.images = np.stack(images, out=stacked)


class _Cropped:
    """The layers of a block, each pixel from the window whose core it is in.

    Args:
        block: the block.
        layers: the layers.
        classes: number of classes.
    """

    def __init__(self, block: Block, layers: Sequence[Layer], classes: int):
        self._block, self._layers = block, layers
        self._values = {
            layer.name: np.full((layer.bands(classes), *block.shape), NO_DATA, np.uint8)
            for layer in layers
        }

    def add(self, part: Part, valid: np.ndarray | None, scores: Array) -> None:
        """Add a window.

        Args:
            part: the window and its core.
            valid: (h, w) bool, valid pixels of the core; None if all are.
            scores: (c, h, w) of the window.
        """
        rows, columns = part.inside
        place = _in_block(part, self._block)
        for name, core in compute_layers(scores[:, rows, columns], self._layers).items():
            if valid is not None:
                core[:, ~valid] = NO_DATA
            self._values[name][:, *place] = core

    def result(self) -> dict[str, np.ndarray]:
        """The layers by name, (bands, h, w) uint8."""
        return self._values


class _Blended:
    """The layers of a block, each pixel from the weighted scores of all windows that see it.

    Args:
        block: the block.
        layers: the layers.
        classes: number of classes.
    """

    def __init__(self, block: Block, layers: Sequence[Layer], classes: int):
        self._block, self._layers, self._classes = block, layers, classes
        self._sums: Array = None
        self._weights: Array = None
        self._valid = np.zeros(block.shape, bool)

    def add(self, part: Part, valid: np.ndarray | None, scores: Array) -> None:
        """Add a window; see :class:`_Cropped`."""
        arrays = arrays_of(scores)
        if self._sums is None:
            count = channels(self._classes, self._layers)
            self._sums = arrays.zeros((count, *self._block.shape), scores)
            self._weights = arrays.zeros(self._block.shape, scores)
        plan, place = self._block.plan, _in_block(part, self._block)
        down, across = (
            arrays.from_numpy(fade(side, length, plan.halo), scores)[inside]
            for side, length, inside in zip(
                part.window, (plan.height, plan.width), part.inside, strict=True
            )
        )
        weights = down[:, None] * across
        self._sums[:, *place] += weights * scores[:, *part.inside]
        self._weights[place] += weights
        self._valid[place] = True if valid is None else valid

    def result(self) -> dict[str, np.ndarray]:
        """The layers by name, (bands, h, w) uint8."""
        found = _Cropped(self._block, self._layers, self._classes)
        if self._sums is None:  # no valid pixel
            return found.result()
        top, left = self._block.rows.start, self._block.columns.start
        height, width = self._block.shape
        for start in range(0, height, ROWS):  # so that the probabilities of a part are in memory
            rows = slice(start, min(start + ROWS, height))
            place = slice(top + rows.start, top + rows.stop), slice(left, left + width)
            weights = self._weights[rows]
            # They are 0, as the sums are, where no window was added: none has a valid pixel.
            scores = self._sums[:, rows] / (weights + (weights == 0))
            found.add(Part(place, place), self._valid[rows], scores)
        return found.result()


def _in_block(part: Part, block: Block) -> tuple[slice, slice]:
    """Find the rows and columns of a block that a part is used for."""
    return counted_from((block.rows, block.columns), part.core)
