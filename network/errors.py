"""Errors of the user's input, which a command line reports in one line."""

import atexit
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from os import PathLike
from typing import Any, NoReturn

from network import failures

_LINE_ENDS = str.maketrans({"\n": "\\n", "\r": "\\r"})


class InputError(Exception):
    """The error for a file, setting or argument of the user that cannot be used.

    As text it is one line, ``where: problem; remedy``.

    Args:
        where: the file, or the setting or argument with its value, as in ``optim.lr=-1``. Without
            ``problem``, this is the whole line.
        problem: what is wrong: what was found and what was expected.
        remedy: what the user can do.

    Attributes:
        exit_code: exit code of a command that ends with this error.
    """

    exit_code = 2

    def __init__(self, where: str | PathLike[str], problem: str = "", remedy: str = ""):
        self.is_file = isinstance(where, PathLike)
        given, where = where, str(where)
        # A DataLoader worker raises the error again with its whole traceback as the message; only
        # the last line was written for the user.
        if where.startswith(f"Caught {type(self).__name__} in "):
            where = where.rstrip().splitlines()[-1].partition(f"{type(self).__name__}: ")[2]
        if not problem:
            where, problem = "", where
        # pickle makes the exception again from these arguments.
        super().__init__(given if self.is_file else where, problem, remedy)
        self.where, self.problem, self.remedy = where, problem, remedy

    def __str__(self) -> str:
        line = f"{self.where}: {self.problem}" if self.where else self.problem
        line = f"{line}; {self.remedy}" if self.remedy else line
        return line.translate(_LINE_ENDS)  # a name of a file may have them


def run_command(main: Callable[..., None] | str, *args: Any) -> NoReturn:
    """Run the function of a command line and exit.

    The exit code is 0 after success. It is 2 if the input cannot be used or the machine fails, or
    the ``exit_code`` of the error; one line then says why, and what to do. It is 130 if Ctrl-C or
    SIGTERM, which clusters send, ended the command.

    Args:
        main: the function, or ``"module:function"``. The module (and torch with it) is then
            imported here, so Ctrl-C during the import leaves no traceback.
        args: arguments of the function.
    """
    signals = _Signals()
    launcher = os.getppid()
    # Class names may have letters that the encoding of a terminal or a log lacks.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if isinstance(main, str):
            main = _imported(main)
        signals.interrupt()
        main(*args)
        sys.stdout.flush()
        signals.note()
        code = 0
    except BaseException as error:
        signals.note()
        reported = _report(error, signals, launcher)
        if reported is None:
            raise
        code = reported
    try:
        sys.stdout.flush()
    except OSError:  # otherwise Python reports it again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signals.end_at_once(code)
    sys.exit(code)


INTERRUPTED = 130
"""Exit code of a command that Ctrl-C or SIGTERM ended."""


class _Signals:
    """Handlers of Ctrl-C and SIGTERM, which do the same; an ignored signal stays ignored.

    At first they end the process at once. There is nothing to clean up yet, and an exception in
    the middle of an import could be caught or changed by any library.
    """

    def __init__(self) -> None:
        self.received: float | None = None
        both = (signal.SIGINT, signal.SIGTERM)
        self.heeded = [number for number in both if signal.getsignal(number) != signal.SIG_IGN]
        self.end_at_once(INTERRUPTED, "interrupted")
        # When Python exits, it removes handlers, but an ignored signal stays ignored.
        atexit.register(self._handle, signal.SIG_IGN)

    def end_at_once(self, code: int, text: str = "") -> None:
        """Make both signals end the process with ``code`` from now on."""

        def end(*_: object) -> None:
            if text and is_first_process():
                os.write(sys.stderr.fileno(), f"{text}\n".encode())
            os._exit(code)

        self._handle(end)

    def interrupt(self) -> None:
        """Make both signals raise :class:`KeyboardInterrupt` from now on.

        This gives the command the chance to remove its temporary files.
        """

        def interrupt(*_: object) -> None:
            # torchrun sends SIGTERM as well as Ctrl-C. The second must not stop the cleanup that
            # the first has begun.
            last, self.received = self.received, time.monotonic()
            if last is None or self.received - last > 1:
                raise KeyboardInterrupt

        self._handle(interrupt)

    def note(self) -> None:
        """Make both signals do nothing from now on but set the time in ``received``."""

        def note(*_: object) -> None:
            self.received = time.monotonic()

        self._handle(note)
        # When a data worker ends, torch's handler raises at any place in this process.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _handle(self, handler: Callable[..., None] | signal.Handlers) -> None:
        for number in self.heeded:
            signal.signal(number, handler)


def _imported(name: str) -> Callable[..., None]:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _report(error: BaseException, signals: _Signals, launcher: int) -> int | None:
    """Print in one line how a command ended and return its exit code; None for an unknown error.

    Args:
        error: the exception that ended the command.
        signals: handlers that know whether a signal came.
        launcher: id of the process that started this one.
    """
    is_lost_peer = failures.is_lost_peer(error)
    if is_lost_peer or failures.is_terminated_worker(error):
        # When a job is ended, each process gets its own signal. The one for this process may still
        # come.
        time.sleep(0.5)
    # An error after an interrupt is caused by it.
    if signals.received or isinstance(error, KeyboardInterrupt):
        if is_first_process():
            print("interrupted", file=sys.stderr)
        return INTERRUPTED
    line = str(error) if isinstance(error, InputError) else failures.explain(error)
    if line is None:
        return None
    # Normally only the first process reports a lost process. Another process reports it if its
    # launcher is gone, because the launcher may have been the first process.
    if not is_lost_peer or is_first_process() or os.getppid() != launcher:
        print(f"error: {line}", file=sys.stderr)
    return error.exit_code if isinstance(error, InputError) else 2


def is_first_process() -> bool:
    """Tell whether this process is the only one of a command, or the first of several."""
    keys = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return all(os.environ.get(key, "0") == "0" for key in keys)


def warn(message: str) -> None:
    """Print a warning; when a training has several processes, only the first prints it."""
    if is_first_process():
        print(f"warning: {message}", file=sys.stderr)


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that is nearest to a misspelled one, as the end of an error's text.

    If no known word is near, the text lists the known words.

    Examples:
        >>> nearest("crops", ["crop", "flip"])
        "; did you mean 'crop'?"
        >>> nearest("size", ["crop", "flip"])
        '; known: crop, flip'
    """
    known = list(known)
    match = get_close_matches(word[:100], known, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else f"; known: {listed(known)}"


def listed(words: Iterable[str], most: int = 10) -> str:
    """Join the first words with commas and say how many more there are.

    Args:
        words: the words; if there are none, the text is ``"none"``.
        most: number of words to show.

    Examples:
        >>> listed(["red", "green", "blue"], most=2)
        'red, green and 1 more'
    """
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return (", ".join(words[:most]) or "none") + more
