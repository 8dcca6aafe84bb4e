"""The end of all processes of a training on this machine as soon as one of them ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from network.failures import LOST_PEER

LOOK_EVERY, GRACE = 0.2, 3.0
"""Seconds between two checks of the processes, and seconds for this process to end by itself."""


class Peers(Callback):
    """A callback that ends a training after SIGTERM, or when one of its processes was killed.

    This replaces Lightning's own handling. After SIGTERM, Lightning waits for an answer of all
    processes, forever if they are in the middle of a step. If another process was killed, Lightning
    kills this one without a message.
    """

    def __init__(self) -> None:
        self.handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        self.processes: list[subprocess.Popen] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher) and launcher.procs:
            self.processes = list(launcher.procs)
            launcher.procs.clear()  # so that Lightning's own thread no longer watches them
            launcher.procs = self.processes
            threading.Thread(target=_watch, args=(self.processes,), daemon=True).start()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number, handler in self.handlers.items():
            if callable(handler):  # Lightning has just replaced the handler of SIGTERM
                signal.signal(number, partial(self._interrupt, handler))

    def _interrupt(self, handler: Callable[[int, Any], Any], number: int, frame: Any) -> None:
        """Pass a signal on to the other processes, then do what ``handler`` does.

        Only a terminal sends Ctrl-C to all processes. One that gets no signal of its own would
        report that this one is lost, as if it had been killed.
        """
        for process in self.processes:
            process.send_signal(number)
        handler(number, frame)


def _watch(processes: list[subprocess.Popen]) -> None:
    """End this process if one of ``processes`` has failed, and this one still waits for it."""
    while not any(process.poll() for process in processes):
        time.sleep(LOOK_EVERY)
    time.sleep(GRACE)
    for process in processes:
        process.kill()
    print(f"error: {LOST_PEER}", file=sys.stderr, flush=True)
    os._exit(2)
