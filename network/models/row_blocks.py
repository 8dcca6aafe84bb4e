"""A function of each pixel that is computed in blocks, and again in the backward pass.

A block fits into a processor's cache, so its intermediate results are not written to memory. None
of them is kept for the backward pass, which computes the function again block by block.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from network.models.precision import current_autocast

BLOCK = 1 << 19
"""Number of values of a block of features for each thread, 2 MB in float32: about the cache of one
core."""

Function = Callable[..., Tensor]


def by_rows(
    function: Function, maps: Sequence[Tensor], *vectors: Tensor, dim: int = 1, scale: int = 1
) -> Tensor:
    """Compute a function that treats all rows alike, in blocks of rows where this is faster.

    Blocks are for the caches of a CPU. Elsewhere, and in compiled or exported programs, the
    function is called once.

    Args:
        function: function of the maps and the vectors. A row of its result depends on the same row
            of the maps alone.
        maps: the first is (b, h, ...), of which h are the rows; others are (b or 1, h, ...).
        vectors: other inputs. Those of three dimensions belong to the images, (b or 1, ...).
        dim: dimension of the rows in the result; its first dimension is b.
        scale: number of rows of the result for each row of the maps.
    """
    is_traced = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    if maps[0].device.type != "cpu" or is_traced or maps[0].numel() == 0:
        return function(*maps, *vectors)
    result: Tensor = _ByRows.apply(function, len(maps), dim, scale, *maps, *vectors)
    return result


class _Block(NamedTuple):
    """Some rows of some images."""

    images: slice
    rows: slice

    def of_inputs(self, inputs: Sequence[Tensor], maps: int) -> list[Tensor]:
        """Get the parts of the inputs, of which the first are maps, as views."""
        of_images = [x[self.images] if x.ndim >= 3 and len(x) > 1 else x for x in inputs]
        return [x[:, self.rows] if n < maps else x for n, x in enumerate(of_images)]

    def of_result(self, tensor: Tensor, dim: int, scale: int) -> Tensor:
        """Get the part of the result, as a view."""
        first, count = scale * self.rows.start, scale * (self.rows.stop - self.rows.start)
        return tensor[self.images].narrow(dim, first, count)


def _blocks(features: Tensor) -> Iterator[_Block]:
    images, rows = features.shape[:2]
    size = BLOCK * torch.get_num_threads()
    height = max(1, min(rows, size // features[0, 0].numel()))
    number = max(1, size // features[0].numel())
    for image in range(0, images, number):
        for row in range(0, rows, height):
            yield _Block(slice(image, image + number), slice(row, min(row + height, rows)))


class _ByRows(torch.autograd.Function):
    """See :func:`by_rows`."""

    @staticmethod
    def forward(
        ctx: Any, function: Function, maps: int, dim: int, scale: int, *inputs: Tensor
    ) -> Tensor:
        ctx.function, ctx.maps, ctx.place = function, maps, (dim, scale)
        ctx.autocast = current_autocast(inputs[0].device)
        ctx.save_for_backward(*inputs)
        result: Tensor | None = None
        for block in _blocks(inputs[0]):
            part = function(*block.of_inputs(inputs, maps))
            if result is None:
                shape = list(part.shape)
                shape[0], shape[dim] = len(inputs[0]), scale * inputs[0].shape[1]
                result = part.new_empty(shape)
            block.of_result(result, dim, scale).copy_(part)
        assert result is not None  # there are rows
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, maps = ctx.saved_tensors, ctx.maps
        sums = [
            torch.zeros_like(x) if is_needed else None
            for x, is_needed in zip(inputs, ctx.needs_input_grad[4:], strict=True)
        ]
        totals = [x for x in sums if x is not None]
        needed_maps = sum(x is not None for x in sums[:maps])
        for block in _blocks(inputs[0]):
            parts = [
                part.detach().requires_grad_(total is not None)
                for part, total in zip(block.of_inputs(inputs, maps), sums, strict=True)
            ]
            with torch.enable_grad(), ctx.autocast():
                part = ctx.function(*parts)
            own = block.of_result(gradient, *ctx.place)
            found = torch.autograd.grad(part, [x for x in parts if x.requires_grad], own)
            for total, of_input in zip(block.of_inputs(totals, needed_maps), found, strict=True):
                total.add_(of_input)
        return None, None, None, None, *sums
