"""How the command lines report input that cannot be used: one line, exit code 2."""

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


class InputError(Exception):
    """Something the user gave cannot be used.

    As text it is one line, ``where: problem; remedy``. A line that has no such parts may be given
    whole, as the first of them.

    Args:
        where: the file, or the setting or argument with its value, as in ``optim.lr=-1``.
        problem: what is wrong with it, what came and what was expected.
        remedy: what to do.
    """

    def __init__(self, where: str | PathLike[str], problem: str = "", remedy: str = ""):
        where = str(where)
        # A DataLoader worker re-raises with its whole traceback as the message; the line
        # that was written for the user is the last one.
        if where.startswith(f"Caught {type(self).__name__} in "):
            where = where.rstrip().splitlines()[-1].partition(f"{type(self).__name__}: ")[2]
        if not problem:
            where, problem = "", where
        super().__init__(where, problem, remedy)  # all that pickle keeps
        self.where, self.problem, self.remedy = where, problem, remedy

    def __str__(self) -> str:
        line = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{line}; {self.remedy}" if self.remedy else line


def run_command(main: Callable[..., None] | str, *args: Any) -> NoReturn:
    """Run a command line's function and exit.

    The exit code is 0 when it is done, 2 where the input cannot be used or the machine fails (one
    line says so, and what to do), and 130 where Ctrl-C or SIGTERM, which clusters send, ended it.

    Args:
        main: the function, or ``"module:function"``. That module, and with it torch, is imported
            here, where Ctrl-C already ends the command without a traceback.
        args: of the function.
    """
    signals = _Signals()
    launcher = os.getppid()
    # Class names may have letters that a terminal or log of few letters cannot show.
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
    except OSError:  # else Python says it once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signals.end_at_once(code)
    sys.exit(code)


INTERRUPTED = 130
"""Exit code of a command that Ctrl-C or SIGTERM ended."""


class _Signals:
    """What Ctrl-C and SIGTERM do, which is the same; where they are ignored, they stay so.

    At first they end the process at once: nothing is to be removed yet, and of an exception raised
    in the middle of an import anything may become.
    """

    def __init__(self) -> None:
        self.received: float | None = None
        both = (signal.SIGINT, signal.SIGTERM)
        self.heeded = [number for number in both if signal.getsignal(number) != signal.SIG_IGN]
        self.end_at_once(INTERRUPTED, "interrupted")
        # When Python ends, it forgets handlers, but not that a signal is ignored.
        atexit.register(self._handle, signal.SIG_IGN)

    def end_at_once(self, code: int, text: str = "") -> None:
        """From now on they end the process with ``code``."""

        def end(*_: object) -> None:
            if text and is_first_process():
                os.write(sys.stderr.fileno(), f"{text}\n".encode())
            os._exit(code)

        self._handle(end)

    def interrupt(self) -> None:
        """From now on they raise :class:`KeyboardInterrupt`, so that leftovers are removed."""

        def interrupt(*_: object) -> None:
            # torchrun sends SIGTERM beside Ctrl-C: the second must not stop what the first began.
            last, self.received = self.received, time.monotonic()
            if last is None or self.received - last > 1:
                raise KeyboardInterrupt

        self._handle(interrupt)

    def note(self) -> None:
        """From now on they are only noted."""

        def note(*_: object) -> None:
            self.received = time.monotonic()

        self._handle(note)
        # torch raises, wherever this process is, when a worker of its data ends.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _handle(self, handler: Callable[..., None] | signal.Handlers) -> None:
        for number in self.heeded:
            signal.signal(number, handler)


def _imported(name: str) -> Callable[..., None]:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _report(error: BaseException, signals: _Signals, launcher: int) -> int | None:
    """Say in one line how a command ended; its exit code, None where that is not known.

    Args:
        launcher: the process that started this one.
    """
    is_lost_peer = failures.is_lost_peer(error)
    if is_lost_peer or failures.is_terminated_worker(error):
        time.sleep(0.5)  # all processes of a job are told to end, this one perhaps last
    # What fails after an interrupt fails because of it.
    if signals.received or isinstance(error, KeyboardInterrupt):
        if is_first_process():
            print("interrupted", file=sys.stderr)
        return INTERRUPTED
    line = str(error) if isinstance(error, InputError) else failures.explain(error)
    if line is None:
        return None
    # Of a lost process one of the others tells: the first, or who has lost that one.
    if not is_lost_peer or is_first_process() or os.getppid() != launcher:
        print(f"error: {line}", file=sys.stderr)
    return 2


def is_first_process() -> bool:
    """Whether this is the only process of a command, or the first of a training on several."""
    keys = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return all(os.environ.get(key, "0") == "0" for key in keys)


def warn(message: str) -> None:
    """Say what is most likely not as the user wants it; the first process of a training does."""
    if is_first_process():
        print(f"warning: {message}", file=sys.stderr)


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` with the nearest known word, or some of the known words."""
    known = list(known)
    match = get_close_matches(word[:100], known, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else f"; known: {listed(known)}"


def listed(words: Iterable[str], most: int = 10) -> str:
    """The words in so much of one line as a message can take: the first, and how many more."""
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return (", ".join(words[:most]) or "none") + more
