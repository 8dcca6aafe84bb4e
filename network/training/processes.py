"""Communication of the processes of one training, so that all go on or all end."""

from typing import Any

import torch.distributed as dist

from network.errors import InputError


class SharedError(InputError):
    """An error that ends all processes of a training; the first one of each node reports it."""


def is_connected() -> bool:
    """Tell whether there are several processes, and they are already connected."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(value: Any) -> list:
    """Collect a value from every process, by rank; all processes must call this."""
    if not is_connected():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def raise_together(error: InputError | None) -> None:
    """Raise the error of one process in all processes; all must call this.

    If one process ended alone, the others would wait for it.

    Args:
        error: the error of this process, if it has one.
    """
    if not is_connected():
        if error:
            raise error
        return
    messages = gathered(str(error) if error else None)
    first = next((message for message in messages if message), None)
    if first:
        raise SharedError(first) from error
