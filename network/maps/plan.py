"""Plan of a map: the windows that a network sees, and the blocks that are written one by one.

An image is cut into cores, which cover it without overlap. The network sees each core with a halo
of context around it, the window, and only the labels of the core are kept. Windows begin at
multiples of the encoder's stride, as in a prediction of the whole image. So a network whose
receptive field is no larger than the halo gives the same labels as for the whole image.

A block is a rectangle of neighboring cores. It is computed from its own windows alone and is
written whole or not at all, so blocks may be computed in any order, by any process, and twice.

All lengths are in pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from network.datasets.windows import STRIDE, Part, Window, check_lengths, spans, with_halo
from network.errors import InputError

WINDOW, HALO = 1024, 128
"""Default side of the windows, and default width of the context around each core."""

CORES_A_BLOCK = 4

BLENDS = ("crop", "hann")
"""How windows are put together."""


@dataclass(frozen=True)
class Block:
    """A part of a map that is computed and written at once.

    Attributes:
        plan: the plan that it belongs to.
        row: number of the block from the top.
        column: number of the block from the left.
    """

    plan: "Plan"
    row: int
    column: int

    @property
    def name(self) -> str:
        """Name of the block's files, without an ending."""
        return f"r{self.row:04}_c{self.column:04}"

    @property
    def rows(self) -> slice:
        """Rows of the map."""
        return _joined(self._cores[0])

    @property
    def columns(self) -> slice:
        """Columns of the map."""
        return _joined(self._cores[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        rows, columns = self.rows, self.columns
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def parts(self) -> tuple[Part, ...]:
        """The passes of the network, row by row.

        With ``blend="hann"``, these are all windows that see a pixel of the block. The kept parts,
        which then overlap, are what the windows see of the block.
        """
        if self.plan.blend == "crop":
            return tuple(Part(self.plan.window_of(core), core) for core in product(*self._cores))
        halo, sides = self.plan.halo, (self.rows, self.columns)
        seeing = [
            [c for c in cores if c.start - halo < side.stop and side.start < c.stop + halo]
            for cores, side in zip(self.plan.bands, sides, strict=True)
        ]
        rows, columns = seeing
        windows = [self.plan.window_of(core) for core in product(rows, columns)]
        return tuple(Part(window, _overlap(window, sides)) for window in windows)

    @property
    def _cores(self) -> tuple[list[slice], list[slice]]:
        """Cores of each row and of each column."""
        rows, columns = (
            cores[number * at_once : (number + 1) * at_once]
            for cores, number, at_once in zip(
                self.plan.bands, (self.row, self.column), self.plan.cores, strict=True
            )
        )
        return rows, columns


def default_halo(window: int) -> int:
    """Choose the halo of windows for which none is given: a quarter of their side, at most 128.

    Examples:
        >>> [default_halo(window) for window in (1024, 512, 256, 96)]
        [128, 128, 64, 0]
    """
    return min(HALO, window // 4 // STRIDE * STRIDE)


@dataclass(frozen=True)
class Plan:
    """How an image is cut into windows and blocks.

    Args:
        height: height of the image.
        width: width of the image.
        window: largest side of a window.
        halo: width of the context around each core; none is needed at the edges of the image.
        cores: rows and columns of cores in a block.
        blend: ``"crop"``: each pixel is taken from the window whose core it is in; ``"hann"``: from
            all windows that see it, each with a weight that falls to 0 at the window's border.

    Raises:
        InputError: a length does not fit.
    """

    height: int
    width: int
    window: int = WINDOW
    halo: int = HALO
    cores: tuple[int, int] = (CORES_A_BLOCK, CORES_A_BLOCK)
    blend: str = "crop"

    def __post_init__(self) -> None:
        check_lengths(self.window, self.halo)
        if self.blend not in BLENDS:
            raise InputError(f"blend={self.blend}", f"must be one of {', '.join(BLENDS)}")

    @cached_property
    def bands(self) -> tuple[list[slice], list[slice]]:
        """Cores of each row and of each column."""
        return (
            spans(self.height, self.window, self.halo),
            spans(self.width, self.window, self.halo),
        )

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns of blocks."""
        down, across = (
            -(-len(cores) // at_once) for cores, at_once in zip(self.bands, self.cores, strict=True)
        )
        return down, across

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1]

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks, row by row."""
        for row, column in product(*map(range, self.shape)):
            yield self.block(row, column)

    def block_at(self, number: int) -> Block:
        """Make one block.

        Args:
            number: number of the block from 0 on, row by row.
        """
        return self.block(*divmod(number, self.shape[1]))

    def block(self, row: int, column: int) -> Block:
        """Make one block.

        Args:
            row: number of the block from the top.
            column: number of the block from the left.
        """
        return Block(self, row, column)

    def window_of(self, core: Window) -> Window:
        """Add the halo to a core, as far as the image reaches."""
        return with_halo(core, self.halo, (self.height, self.width))


def _overlap(one: Window, other: Window) -> Window:
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def fade(side: slice, length: int, halo: int) -> np.ndarray:
    """Compute the weights of a window's pixels along one axis, for ``blend="hann"``.

    Args:
        side: rows or columns of the window.
        length: height or width of the image. Weights do not fall at the edges of the image.
        halo: half of the number of pixels that neighboring windows share.

    Returns:
        A weight above 0 and at most 1 for each pixel.

    Examples:
        >>> fade(slice(0, 8), 100, 2).round(2).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.96, 0.69, 0.31, 0.04]
    """
    count = side.stop - side.start
    weights = np.ones(count)
    rise = np.sin(np.pi / 2 * (np.arange(2 * halo) + 0.5) / max(1, 2 * halo)) ** 2
    if side.start > 0:
        weights[: 2 * halo] *= rise[:count]
    if side.stop < length:
        weights[max(0, count - 2 * halo) :] *= rise[::-1][-count:]
    return weights


def _joined(spans: list[slice]) -> slice:
    return slice(spans[0].start, spans[-1].stop)
