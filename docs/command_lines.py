"""The scripts of the project and their parsers, for the site and for the tests of the pages."""

import argparse
import importlib
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 84
"""Columns of a help."""


class _Stop(BaseException):
    """Ends a script where it would begin; holds what it was given."""


def scripts() -> list[str]:
    """All command lines, relative to the root: first those at the top."""
    found = [path for path in sorted(ROOT.glob("*.py")) if "run_command" in path.read_text()]
    found += [p for p in sorted((ROOT / "tools").rglob("*.py")) if p.name != "_project.py"]
    return [path.relative_to(ROOT).as_posix() for path in found]


def main_of(script: str) -> tuple[Callable[..., None], tuple[Any, ...]]:
    """The function that a script runs, and its arguments."""

    def stop(main: str, *args: Any) -> None:
        raise _Stop(main, args)

    # As Python itself does with a script; and mkdocs does not run with the root on the path.
    with (
        patch.object(sys, "path", [str((ROOT / script).parent), str(ROOT), *sys.path]),
        patch("network.errors.run_command", stop),
    ):
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except _Stop as stopped:
            main, args = stopped.args
            module, _, function = main.partition(":")
            return getattr(importlib.import_module(module), function), args
    raise ValueError(f"{script}: runs no command")


def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser of a script, caught where it would read the command line."""
    main, args = main_of(script)
    parsers = []

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        parsers.append(parser)
        raise _Stop

    names = ("parse_args", "parse_known_args", "parse_intermixed_args")
    with patch.object(sys, "argv", [script]), _patched(argparse.ArgumentParser, names, stop):
        try:
            main(*args)
        except _Stop:
            parsers[0].prog = f"python {script}"
            return parsers[0]
    raise ValueError(f"{script}: reads no command line")


def help_of(script: str) -> str:
    """Get the text that a script prints for ``--help``."""
    with patch.dict(os.environ, COLUMNS=str(WIDTH)):
        return parser_of(script).format_help()


@contextmanager
def _patched(owner: type, names: tuple[str, ...], function: Callable[..., None]) -> Iterator[None]:
    if not names:
        yield
        return
    with patch.object(owner, names[0], function), _patched(owner, names[1:], function):
        yield
