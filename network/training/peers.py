"""The other processes of a training on this machine: they end together, whatever ends one."""

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
"""Seconds between two looks at the processes, and for this one to end by itself."""


class Peers(Callback):
    """End a training whose processes were told to end, or one of which was killed.

    Lightning asks all processes what to do after SIGTERM, and waits for ever where they are in the
    middle of a step; and it kills this process, without a word, when another one was killed.
    """

    def __init__(self) -> None:
        self.terminate = signal.getsignal(signal.SIGTERM)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher) and launcher.procs:
            processes = list(launcher.procs)
            launcher.procs.clear()  # those that Lightning's own thread looks after
            launcher.procs = processes
            threading.Thread(target=_watch, args=(processes,), daemon=True).start()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if callable(self.terminate):  # Lightning has just set its own
            signal.signal(signal.SIGTERM, self.terminate)


def _watch(processes: list[subprocess.Popen]) -> None:
    """End this process if one of ``processes`` has failed, and this one goes on waiting for it."""
    while not any(process.poll() for process in processes):
        time.sleep(LOOK_EVERY)
    time.sleep(GRACE)
    for process in processes:
        process.kill()
    print(f"error: {LOST_PEER}", file=sys.stderr, flush=True)
    os._exit(2)
