"""The end of all processes of a training on this machine as soon as one of them ends."""

import os
import signal
import subprocess
import sys
import threading
import time

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
        self.terminate = signal.getsignal(signal.SIGTERM)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher) and launcher.procs:
            processes = list(launcher.procs)
            launcher.procs.clear()  # so that Lightning's own thread no longer watches them
            launcher.procs = processes
            threading.Thread(target=_watch, args=(processes,), daemon=True).start()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if callable(self.terminate):  # Lightning has just replaced this handler
            signal.signal(signal.SIGTERM, self.terminate)


def _watch(processes: list[subprocess.Popen]) -> None:
    """End this process if one of ``processes`` has failed, and this one still waits for it."""
    while not any(process.poll() for process in processes):
        time.sleep(LOOK_EVERY)
    time.sleep(GRACE)
    for process in processes:
        process.kill()
    print(f"error: {LOST_PEER}", file=sys.stderr, flush=True)
    os._exit(2)
