"""Files that a training writes: checkpoints, log and settings, each complete or not at all."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from network.config import Experiment, describe
from network.errors import InputError
from network.models.checkpoint import first_not_finite, read_checkpoint
from network.training.processes import raise_together
from network.writing import replacing

METRICS = "metrics.csv"


class CheckpointFiles(CheckpointIO):
    """The reader and writer of checkpoints for Lightning's trainer.

    Lightning itself writes a file into the folder for temporary files and then moves it. If the
    target is on another disk, moving means copying, and an interrupted copy leaves an incomplete
    file.

    Args:
        resumed: content of the checkpoint that the training resumes from.
    """

    def __init__(self, resumed: dict | None = None):
        self._resumed = resumed

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, which replaces the file ``path`` only when it is complete.

        Args:
            checkpoint: the content.
            path: the file.
            storage_options: unused.

        Raises:
            InputError: it cannot be written; the former file stays unchanged.
        """
        with replacing(Path(path)) as partial, partial.open("wb", buffering=0) as file:
            writer = _Writer(file)
            # The writer can only write and flush; torch needs no more of a file.
            torch.save(checkpoint, writer)  # type: ignore[arg-type]
            if writer.error:
                raise writer.error

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Give the checkpoint in memory and release it; if there is none, read the file."""
        if not self._resumed:
            return read_checkpoint(Path(path))
        content = dict(self._resumed)
        self._resumed.clear()  # frees its memory, though others still refer to the dictionary
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the file of a checkpoint."""
        Path(path).unlink(missing_ok=True)


class _Writer:
    """A file for torch that keeps the errors of a disk.

    With a plain file, torch would raise another error, or end the process.
    """

    def __init__(self, file: IO[bytes]):
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = left.nbytes
        while left and self.error is None:
            try:
                left = left[self.file.write(left) :]
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Do nothing, since the file has no buffer."""


class RunCheckpoint(ModelCheckpoint):
    """The callback for the checkpoint ``<run>/<name>.ckpt``.

    Each better checkpoint replaces it; without ``monitor``, each newer one does.

    Args:
        run: folder of the run.
        name: name of the file without its suffix.
        monitor: see Lightning's :class:`ModelCheckpoint`.
        mode: see Lightning's :class:`ModelCheckpoint`.
        save_weights_only: see Lightning's :class:`ModelCheckpoint`.
        save_on_train_epoch_end: see Lightning's :class:`ModelCheckpoint`.
    """

    def __init__(
        self,
        run: Path,
        name: str,
        *,
        monitor: str | None = None,
        mode: str = "min",
        save_weights_only: bool = False,
        save_on_train_epoch_end: bool | None = None,
    ):
        super().__init__(
            run,
            name,
            monitor=monitor,
            mode=mode,
            save_weights_only=save_weights_only,
            save_on_train_epoch_end=save_on_train_epoch_end,
            enable_version_counter=False,
        )
        self._unbounded: frozenset[str] = frozenset()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        # Constants of a network may be infinite, such as the minus infinity of a mask.
        state = pl_module.state_dict()
        self._unbounded = frozenset(n for n, v in state.items() if first_not_finite({n: v}))

    def load_state_dict(self, state_dict: dict) -> None:
        # After a move of the folder, Lightning would forget the best score and overwrite its file.
        state = {**state_dict, "dirpath": self.dirpath}
        if state["best_model_path"]:
            assert self.dirpath is not None  # the folder of the run
            best = str(Path(self.dirpath) / Path(state["best_model_path"]).name)
            state["best_model_path"] = best
            if state["best_k_models"]:
                state["best_k_models"] = {best: state["best_model_score"]}
                state["kth_best_model_path"] = best
        super().load_state_dict(state)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        raise_together(self._why_not_saved(trainer, filepath))
        failure = None
        try:
            super()._save_checkpoint(trainer, filepath)
        except InputError as error:  # only in the first process, which writes
            failure = error
            trainer.strategy.barrier()  # the others wait here
        for logger in trainer.loggers:
            failure = failure or getattr(logger, "failure", None)
        raise_together(failure)

    def _why_not_saved(self, trainer: pl.Trainer, filepath: str) -> InputError | None:
        """Make the error if weights are not finite, which must not replace a good checkpoint."""
        state = trainer.lightning_module.state_dict()
        state = {name: value for name, value in state.items() if name not in self._unbounded}
        for number, optimizer in enumerate(trainer.optimizers):
            state[f"optimizer {number}"] = optimizer.state_dict()
        name = first_not_finite(state)
        if name is None:
            return None
        return InputError(
            filepath,
            f"not written, {name} is not finite after epoch {trainer.current_epoch + 1}",
            "train anew with a lower optim.lr",
        )


_SETTINGS_FILE = "experiment.txt"


class RunLog(Logger):
    """The logger that writes ``metrics.csv``, with one row for each call.

    Each time, the whole file is written again. Rows that cannot be written stay in memory;
    :class:`RunCheckpoint` then ends the training after it has saved a checkpoint.

    Args:
        folder: folder of the file.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.failure: InputError | None = None
        self._rows: list[dict[str, Any]] = []
        self._is_saved = False

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def version(self) -> str:
        return self.folder.name

    @property
    def has_rows(self) -> bool:
        """Whether any metrics were logged."""
        return bool(self._rows)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row of metrics."""
        self._rows.append({**metrics, "step": step})
        self._is_saved = False

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing, since the settings are in experiment.txt."""

    @rank_zero_only
    def save(self) -> None:
        """Write all rows, and keep the error if that fails."""
        if self._is_saved:
            return
        try:
            self.write()
        except InputError as error:
            self.failure = error

    def write(self) -> None:
        """Write all rows.

        Raises:
            InputError: the file cannot be written.
        """
        names = sorted({name for row in self._rows for name in row})
        with (
            replacing(self.folder / METRICS) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)
        self._is_saved, self.failure = True, None

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the remaining rows; after a failed training, an error here must not hide its cause.

        Args:
            status: ``"success"`` or the kind of failure.
        """
        if self._rows:
            self.save()
        if self.failure and status == "success":
            raise self.failure


class RunFiles(Callback):
    """A callback that writes the settings and the log of a training before it begins.

    Args:
        experiment: the experiment.
        run: folder of the checkpoints, which gets the settings.
        log: the log.
    """

    def __init__(self, experiment: Experiment, run: Path, log: RunLog):
        self.experiment, self.run, self.run_log = experiment, run, log

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        failure = None
        if trainer.is_global_zero:
            try:
                self.run_log.write()
                with replacing(self.run / _SETTINGS_FILE) as partial:
                    partial.write_text(describe(self.experiment), encoding="utf-8")
            except InputError as error:
                failure = error
                self._withdraw()
        raise_together(failure)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave no run without weights if a training fails in its first steps."""
        is_failure = isinstance(exception, Exception) and not self.run_log.has_rows
        if trainer.is_global_zero and is_failure:
            self._withdraw()

    def _withdraw(self) -> None:
        """Remove the files of a training that did not begin; a run that goes on keeps its own."""
        has_weights = any(self.run.glob("*.ckpt"))
        own = [] if has_weights else [self.run / _SETTINGS_FILE]
        for path in (*own, self.run_log.folder / METRICS):
            with suppress(OSError):
                path.unlink(missing_ok=True)
                for folder in path.parents:
                    folder.rmdir()
