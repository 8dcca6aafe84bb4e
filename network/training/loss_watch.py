"""Watch over the loss: if it is no longer finite, the training ends, as its weights are lost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from network.errors import InputError
from network.training.processes import is_connected, raise_together


@dataclass(frozen=True)
class _Look:
    """Values on their way from a device to the CPU.

    Attributes:
        names: names of this process's values.
        values: sum over all processes, followed by the values of this process.
        arrived: event of their arrival; None on the CPU.
        message: function that makes the text of the error.
    """

    names: tuple[str, ...]
    values: Tensor
    arrived: torch.cuda.Event | None
    message: Callable[[str], str]


class LossWatch:
    """A watch that checks the loss of each step without waiting for the device.

    On a GPU, the values of a step are checked in the next step, when they have already arrived.
    :meth:`check` checks the last ones.
    """

    def __init__(self) -> None:
        self._look: _Look | None = None

    def look(self, parts: Mapping[str, Tensor], message: Callable[[str], str]) -> None:
        """Check the values of the step before, and request those of this step.

        All processes must call this in each step, so that they end together.

        Args:
            parts: the loss, followed by its parts, by name.
            message: function that makes the text of the error from a description of the values.

        Raises:
            InputError: a value is not finite.
        """
        self.check()
        kind = next(iter(parts.values())).dtype
        values = torch.stack([value.detach().to(kind).reshape(()) for value in parts.values()])
        total = values.sum()[None]
        if is_connected():  # all processes must know if one cannot go on
            dist.all_reduce(total)
        values = torch.cat([total, values])
        arrived = None
        if values.is_cuda:
            there = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = there.copy_(values, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._look = _Look(tuple(parts), values, arrived, message)
        if arrived is None:
            self.check()

    def check(self) -> None:
        """Check the values of the last step.

        Raises:
            InputError: a value is not finite.
        """
        look, self._look = self._look, None
        if look is None:
            return
        if look.arrived:
            look.arrived.synchronize()
        total, *values = look.values.tolist()
        if total - total == 0:  # true only for finite numbers
            return
        raise_together(_error(look, values))


def _error(look: _Look, values: list[float]) -> InputError | None:
    """Make the error of this process; None if the values of another process are wrong."""
    wrong = [(n, v) for n, v in zip(look.names, values, strict=True) if v - v != 0]
    if not wrong:
        return None
    whole, parts = dict(wrong).get(look.names[0]), wrong[1:]
    told = f"the loss is {whole:g}"
    if parts:
        told += f" (its {', '.join(f'{name} {value:g}' for name, value in parts)})"
    return InputError(look.message(told))
