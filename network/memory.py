"""Settings of Python and of the C library for work on much memory."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ARENA_MAX = -8  # number of glibc's malloc.h


def share_memory_among_threads() -> None:
    """Let all threads of this process allocate from one pool.

    By default, glibc gives each thread a pool of its own. Threads that compress for minutes leave
    holes in all pools, which no other thread can use, so the memory grows with the length of the
    work. This does nothing with another C library, and pools that exist already remain.
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_ARENA_MAX, 1)


def give_back_free_memory() -> None:
    """Give memory that this process has freed back to the system, before other work begins.

    This does nothing with another C library than glibc.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's search for unused objects while hundreds of thousands are made.

    It would look at all of them again and again, which takes as long as making them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _glibc() -> ctypes.CDLL | None:
    """Find glibc; None with another C library."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - only glibc has it
    except (OSError, AttributeError, TypeError):
        return None
    return library
