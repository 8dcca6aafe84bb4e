"""What the workers of :mod:`tests.datasets.test_workers` do.

They import this module, and not torch and all that the tests themselves need.
"""

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import cv2

from network.errors import InputError


def double(number: int) -> int:
    return 2 * number


def double_all(numbers: Sequence[int]) -> list[int]:
    return [2 * number for number in numbers]


def tell_process(numbers: Sequence[int]) -> list[int]:
    return [os.getpid()] * len(numbers)


def refuse_three(number: int) -> int:
    if number == 3:
        raise InputError("three.tif: unreadable")
    return number


def refuse_the_first(folder: Path, number: int) -> None:
    (folder / str(number)).touch()
    if number == 0:
        raise InputError("0.tif: unreadable")
    for _ in range(600):
        time.sleep(0.1)
    (folder / "not interrupted").touch()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class PickyError(Exception):
    """Cannot be made again from its message, as pickle does."""

    def __init__(self, one: str, other: str):
        super().__init__(f"{one} and {other}")


def fail_strangely(_: int) -> None:
    raise PickyError("this", "that")


def make_unsendable(_: int) -> threading.Lock:
    return threading.Lock()


def threads(_: int) -> tuple[int, int]:
    import torch

    return torch.get_num_threads(), cv2.getNumThreads()


def work_long(folder: Path, number: int) -> None:
    mine = folder / f"{number}-{os.getpid()}"
    mine.touch()
    try:
        time.sleep(60)
    finally:
        mine.unlink()
