"""Progress bars: on a terminal one that moves, in a log file a line now and then."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

LINE_EVERY = 30.0
"""Seconds between two lines of a bar that goes into a file."""


class _Lines:
    """A log file: what a bar would paint over the last text becomes a line of its own."""

    def __init__(self, file: TextIO):
        self.file = file

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            self.file.write(f"{line}\n")
            self.flush()

    def flush(self) -> None:
        self.file.flush()


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
    """tqdm's bar around ``iterable``, or one to be updated; its options are tqdm's.

    Where stderr is no terminal, it writes at most a line every 30 seconds and one at the end.
    """
    options: dict[str, Any] = {"unit_scale": unit_scale, "leave": leave, "disable": disable}
    if not sys.stderr.isatty():
        options |= {"file": _Lines(sys.stderr), "ascii": True, "ncols": 80, "leave": True}
        options |= {"mininterval": LINE_EVERY, "maxinterval": LINE_EVERY}
        options |= {"delay": 1e-9}  # no line at the start
    return tqdm(iterable, total=total, desc=desc, unit=unit, **options)
