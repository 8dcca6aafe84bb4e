"""Messages of a running training: a bar on a terminal, lines in a log file."""

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from network.progress import LINE_EVERY


class EpochLines(Callback):
    """A callback that prints a line every 30 seconds, and one with scores after each epoch."""

    def __init__(self) -> None:
        self._last = self._begun = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = self._begun = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any
    ) -> None:
        if time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            step = f"step {batch[-1] + 1} of {trainer.num_training_batches}"
            _say(trainer, f"{_epoch(trainer)}, {step}", ["loss"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        seconds = time.monotonic() - self._begun
        scores = [name for name in trainer.callback_metrics if name.count("/") == 1]
        names = sorted(name for name in scores if not name.startswith("train/"))
        # The loss is that of the last batch. The mean over the epoch stands in the logs; to compute
        # it here, all processes would have to take part.
        _say(trainer, f"{_epoch(trainer)} done in {seconds:.0f} s", ["loss", *names], "last ")


def _epoch(trainer: pl.Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"


def _say(trainer: pl.Trainer, begin: str, names: list[str], which: str = "") -> None:
    """Print the values of names; ``which`` stands before the loss of a batch."""
    if trainer.is_global_zero:
        known = trainer.callback_metrics
        values = [
            f"{which if name == 'loss' else ''}{name} {known[name].item():.4g}"
            for name in names
            if name in known
        ]
        print(", ".join([begin, *values]), file=sys.stderr, flush=True)


def console_options() -> dict[str, Any]:
    """Make Lightning's options, with a bar on a terminal; otherwise see :class:`EpochLines`."""
    return {"enable_progress_bar": sys.stderr.isatty(), "enable_model_summary": False}


def console_callbacks() -> list[Callback]:
    """Make the callbacks that print lines if no bar is drawn."""
    return [] if sys.stderr.isatty() else [EpochLines()]


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress messages of Lightning about itself, such as tips and found devices."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning uses torch in this way; it cannot be changed here.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            # A run folder is never empty, because it holds the lock of its owner.
            warnings.filterwarnings("ignore", message="Checkpoint directory .* is not empty")
            # Frozen parts of an encoder are in this mode on purpose.
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
