"""Prediction of the blocks of one image. Reading, network and writing overlap in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from time import perf_counter
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from network.maps.layers import NO_DATA, Layer, compute_layers
from network.maps.plan import Block, Part
from network.predictor import Predictor
from network.rasters.pixels import network_values
from network.rasters.source import Source

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Number of batches that are read, and of blocks that are written, while the network works."""


@dataclass
class Times:
    """Seconds that each stage has worked; reading and writing run beside the others."""

    reading: float = 0.0
    network: float = 0.0
    merging: float = 0.0
    writing: float = 0.0

    def add(self, other: "Times") -> None:
        """Add the seconds of another image."""
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
    images: Tensor | None = None
    valid: list[np.ndarray | None] = field(default_factory=list)


def predict_blocks(
    predictor: Predictor,
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
        predictor: the predictor, which predicts windows whole (``patch=None``).
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
    classes = predictor.info.num_classes

    def read(batch: _Batch) -> _Batch:
        start = perf_counter()
        try:
            _read(batch, source)
        except Exception as error:
            raise BlockFailed(batch.block, error) from error
        times.reading += perf_counter() - start
        return batch

    def merge(batch: _Batch, images: Tensor) -> None:
        start = perf_counter()
        try:
            logits = predictor.logits(images)
            _wait_for(predictor.device)
            middle = perf_counter()
            for part, valid, scores in zip(batch.parts, batch.valid, logits, strict=True):
                _merge(part, valid, scores, batch.block, layers, values)
        except Exception as error:
            raise BlockFailed(batch.block, error) from error
        times.network += middle - start
        times.merging += perf_counter() - middle

    def write_timed(block: Block, values: dict[str, np.ndarray]) -> None:
        start = perf_counter()
        write(block, values)
        times.writing += perf_counter() - start

    values: dict[str, np.ndarray] = {}
    with (
        ThreadPoolExecutor(1, "reading") as readers,
        ThreadPoolExecutor(1, "writing") as writers,
        torch.inference_mode(),
    ):
        written: deque[Future] = deque()
        try:
            for batch in _ahead(readers, read, _batches(blocks, batch_size)):
                if not values:
                    values = {
                        layer.name: np.full(
                            (layer.bands(classes), *batch.block.shape), NO_DATA, "u1"
                        )
                        for layer in layers
                    }
                if batch.images is not None:
                    merge(batch, batch.images)
                if batch.is_last:
                    written.append(writers.submit(write_timed, batch.block, values))
                    values = {}
                    while len(written) > AHEAD or (written and written[0].done()):
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
        images.append(torch.from_numpy(network_values(values, valid).transpose(2, 0, 1)))
        parts.append(part)
        batch.valid.append(None if valid is None else valid[rows, columns])
    batch.parts = parts
    batch.images = torch.stack(images) if images else None


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _merge(
    part: Part,
    valid: np.ndarray | None,
    logits: Tensor,
    block: Block,
    layers: Sequence[Layer],
    values: dict[str, np.ndarray],
) -> None:
    """Compute the layers of a core and put them into its place in the block."""
    rows, columns = part.inside
    found = compute_layers(logits[:, rows, columns], layers)
    rows, columns = part.core
    top, left = block.rows.start, block.columns.start
    down = slice(rows.start - top, rows.stop - top)
    across = slice(columns.start - left, columns.stop - left)
    for name, core in found.items():
        if valid is not None:
            core[:, ~valid] = NO_DATA
        values[name][:, down, across] = core
