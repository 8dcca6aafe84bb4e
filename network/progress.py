"""Progress bars, which move on a terminal and write a line now and then into a log file."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

LINE_EVERY = 30.0
"""Seconds between two lines of a bar that goes into a file."""

_DISABLE = "TQDM_DISABLE"


class _Lines:
    """A log file that turns each redrawing of a bar into a line of its own."""

    def __init__(self, file: TextIO):
        self.file = file

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            self.file.write(f"{line}\n")
            self.flush()

    def flush(self) -> None:
        self.file.flush()


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Show no progress bar in the meantime, in this process and those that it starts."""
    before = os.environ.get(_DISABLE)
    os.environ[_DISABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_DISABLE]
        else:
            os.environ[_DISABLE] = before


def progress_bar(
    iterable: Iterable | None = None,
    *,
    total: int | None = None,
    desc: str | None = None,
    unit: str = "it",
    unit_scale: bool = False,
    leave: bool = True,
    disable: bool = False,
) -> tqdm:
    """Make a progress bar of tqdm; if stderr is no terminal, it writes lines instead.

    There is then at most one line every 30 seconds, and one at the end. As with tqdm itself, there
    is no bar if the environment variable ``TQDM_DISABLE`` is set.

    Args:
        iterable: items to go through; without them, call ``update`` on the bar.
        total: number of steps, if ``iterable`` has no length.
        desc: text before the bar.
        unit: name of one step.
        unit_scale: whether large numbers are shortened, as in 1.2M.
        leave: whether the bar stays on a terminal when it is done.
        disable: whether there is no bar at all.
    """
    disable = disable or bool(os.environ.get(_DISABLE))
    options: dict[str, Any] = {"unit_scale": unit_scale, "leave": leave, "disable": disable}
    if not sys.stderr.isatty():
        options |= {"file": _Lines(sys.stderr), "ascii": True, "ncols": 80, "leave": True}
        options |= {"mininterval": LINE_EVERY, "maxinterval": LINE_EVERY}
        options |= {"delay": 1e-9}  # no line at the start
    return tqdm(iterable, total=total, desc=desc, unit=unit, **options)
