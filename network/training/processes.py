"""What the processes of one training tell each other: all go on, or all end alike."""

from typing import Any

import torch.distributed as dist

from network.errors import InputError


class SharedError(InputError):
    """An error that all processes of a training end with; the first of each node reports it."""


def is_connected() -> bool:
    """Whether this is one of several processes that can talk to each other by now."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(value: Any) -> list:
    """``value`` of every process, by rank."""
    if not is_connected():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def raise_together(error: InputError | None) -> None:
    """Raise in all processes what one of them cannot go on with; all must call this.

    A process that ended alone would leave the others waiting for it.
    """
    if not is_connected():
        if error:
            raise error
        return
    messages = gathered(str(error) if error else None)
    first = next((message for message in messages if message), None)
    if first:
        raise SharedError(first) from error
