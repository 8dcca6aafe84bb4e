"""How the command lines report input that cannot be used: one line, exit code 2."""

import os
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NoReturn


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line that names the file or the key, says what came and what was
    expected, and gives the remedy.
    """

    def __init__(self, message: str):
        # A DataLoader worker re-raises with its whole traceback as the message; the line
        # that was written for the user is the last one.
        if message.startswith(f"Caught {type(self).__name__} in "):
            message = message.rstrip().splitlines()[-1].partition(f"{type(self).__name__}: ")[2]
        super().__init__(message)


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command line's ``main`` and exit: 0 done, 2 for unusable input, 130 interrupted."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def is_first_process() -> bool:
    """Whether this is the only process of a command, or the first of a training on several."""
    keys = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return all(os.environ.get(key, "0") == "0" for key in keys)


def warn(message: str) -> None:
    """Say what is most likely not as the user wants it; the first process of a training does."""
    if is_first_process():
        print(f"warning: {message}", file=sys.stderr)


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` with the nearest known word, or the known words themselves."""
    known = list(known)
    match = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else f"; known: {', '.join(known)}"
