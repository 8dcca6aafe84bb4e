"""The end of a training whose loss is not finite any more: no weights are left to be saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from network.errors import InputError
from network.training.processes import is_connected, raise_together


@dataclass(frozen=True)
class _Look:
    """Values on their way from a device: the sum over all processes, then those of this one."""

    names: tuple[str, ...]
    values: Tensor
    arrived: torch.cuda.Event | None
    message: Callable[[str], str]


class LossWatch:
    """Looks at the loss of each step without waiting for the device.

    On a GPU the values of a step are looked at in the next one, when they have arrived by
    themselves; :meth:`check` looks at the last ones.
    """

    def __init__(self) -> None:
        self._look: _Look | None = None

    def look(self, parts: Mapping[str, Tensor], message: Callable[[str], str]) -> None:
        """Look at the step before, and send for the values of this one.

        All processes must call it in each step, and end together.

        Args:
            parts: of the loss, by name; the whole first.
            message: makes the error of what is wrong with them.

        Raises:
            InputError: a value is not finite.
        """
        self.check()
        kind = next(iter(parts.values())).dtype
        values = torch.stack([value.detach().to(kind).reshape(()) for value in parts.values()])
        total = values.sum()[None]
        if is_connected():  # all must know of one that cannot go on
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
        """Look at the values of the last step.

        Raises:
            InputError: one is not finite.
        """
        look, self._look = self._look, None
        if look is None:
            return
        if look.arrived:
            look.arrived.synchronize()
        total, *values = look.values.tolist()
        if total - total == 0:  # neither infinite nor no number
            return
        raise_together(_error(look, values))


def _error(look: _Look, values: list[float]) -> InputError | None:
    """What this process has found; None where it was another."""
    wrong = [(n, v) for n, v in zip(look.names, values, strict=True) if v - v != 0]
    if not wrong:
        return None
    whole, parts = dict(wrong).get(look.names[0]), wrong[1:]
    told = f"the loss is {whole:g}"
    if parts:
        told += f" (its {', '.join(f'{name} {value:g}' for name, value in parts)})"
    return InputError(look.message(told))
