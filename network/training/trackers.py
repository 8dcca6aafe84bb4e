"""Trackers that follow a training on request: TensorBoard, Weights & Biases, MLflow."""

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch.utils.data import default_collate

from network.config import Experiment, settings
from network.datasets.files import to_photo
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import SegmentationDataset, evenly_spread
from network.errors import InputError, warn
from network.extras import require_extra
from network.training.data import SegmentationData
from network.training.processes import raise_together
from network.training.task import SegmentationTask

SIDE = 512
"""Largest height and width of a picture for a tracker, in pixels."""


class Tracker(Logger):
    """One of Lightning's loggers; if it fails, the training goes on without it.

    A server may stop, and a disk may be full. This is told once, and nothing more is sent.

    Args:
        kind: name of the tracker, a key of ``log.to``.
        logger: the logger.
        names: names of values that the tracker does not take, and those that it gets instead.
    """

    def __init__(self, kind: str, logger: Logger, names: Mapping[str, str] | None = None):
        super().__init__()
        self.kind, self.logger, self.is_lost = kind, logger, False
        self.names = names or {}

    @property
    def name(self) -> str:
        return self.kind

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Send the settings, when a training begins; an error is raised."""
        self.logger.log_hyperparams(params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send values by name."""
        sent = {self.names.get(name, name): value for name, value in metrics.items()}
        self._try(self.logger.log_metrics, sent, step)

    def log_picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """Send a picture (h, w, 3) RGB uint8 under a name that is the same in all epochs."""
        self._try(_SENDERS[self.kind], self.logger, name, picture, epoch)

    def save(self) -> None:
        """Write what has not been written yet."""
        self._try(self.logger.save)

    def finalize(self, status: str) -> None:
        """End the run; ``status`` is ``"success"`` or the kind of failure."""
        self._try(self.logger.finalize, status)

    def _try(self, call: Callable[..., Any], *args: Any) -> None:
        if self.is_lost:
            return
        try:
            call(*args)
        except Exception as error:  # each library has errors of its own
            self.is_lost = True
            reason = _reason(error)
            warn(f"log.to={self.kind}: no longer used ({reason}); the training goes on without it")


def make_trackers(experiment: Experiment, run: Path, logs: Path) -> list[Tracker]:
    """Make the trackers of ``log.to``; they open nothing yet.

    TensorBoard writes into the folder of the logs. Weights & Biases and MLflow go by variables of
    their own, such as ``WANDB_MODE`` and ``MLFLOW_TRACKING_URI``.

    Args:
        experiment: the experiment.
        run: folder of the checkpoints, whose name the trackers show.
        logs: folder of the logs.

    Raises:
        InputError: the library of a tracker is not installed, or it names no place.
    """
    trackers = []
    for name in experiment.log.trackers:
        require_extra(name, f"log.to={name}")
        try:
            names = mlflow_names(experiment.dataset.classes) if name == "mlflow" else None
            trackers.append(Tracker(name, _MAKERS[name](experiment, run, logs), names))
        except Exception as error:
            raise _unusable(name, error) from error
    return trackers


def mlflow_names(classes: Sequence[str]) -> dict[str, str]:
    """Name the IoU of each class in ASCII, since MLflow takes nothing else.

    Accents are left out. A class of which nothing is left, or of which another one leaves the same,
    is named by its label.

    Args:
        classes: names of the classes.

    Examples:
        >>> list(mlflow_names(["forêt", "дорога"]).values())
        ['val/IoU/foret', 'val/IoU/class 1']
    """
    found: dict[str, str] = {}
    for label, name in enumerate(classes):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        plain = " ".join(re.sub(r"[^\w. -]", " ", plain).split())
        is_free = plain and f"val/IoU/{plain}" not in found.values()
        found[f"val/IoU/{name}"] = f"val/IoU/{plain if is_free else f'class {label}'}"
    return found


def _unusable(name: str, error: Exception) -> InputError:
    """Make the error for a tracker; each library raises other ones."""
    if isinstance(error, InputError):
        return error
    return InputError(f"log.to={name}", f"cannot be used ({_reason(error)})", "give log.to=None")


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _tensorboard(experiment: Experiment, run: Path, logs: Path) -> Logger:
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(logs, name="", version="", default_hp_metric=False)


def _wandb(experiment: Experiment, run: Path, logs: Path) -> Logger:
    from pytorch_lightning.loggers import WandbLogger

    project = experiment.dataset.name
    return WandbLogger(project=project, name=f"{experiment.name}/{run.name}", save_dir=logs)


def _mlflow(experiment: Experiment, run: Path, logs: Path) -> Logger:
    from pytorch_lightning.loggers import MLFlowLogger

    place = os.environ.get("MLFLOW_TRACKING_URI")
    if not place:
        raise InputError(
            "log.to=mlflow",
            "no server is named",
            "set the variable MLFLOW_TRACKING_URI, for example to http://127.0.0.1:5000",
        )
    # Its own seven retries take four minutes, in which nothing is said.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    return MLFlowLogger(experiment.name, run_name=run.name, tracking_uri=place)


_MAKERS: dict[str, Callable[[Experiment, Path, Path], Logger]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


class Tracked(Callback):
    """A callback that gives trackers the settings, and pictures of the same images each epoch.

    A picture shows a validation image, its truth and its prediction beside one another.

    Args:
        experiment: the experiment.
        trackers: the trackers.
    """

    def __init__(self, experiment: Experiment, trackers: Sequence[Tracker]):
        self.experiment, self.trackers = experiment, trackers

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        failure = None
        for tracker in self.trackers:
            try:
                tracker.log_hyperparams(settings(self.experiment))
            except Exception as error:
                failure = failure or _unusable(tracker.kind, error)
        raise_together(failure)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        info, samples = self.experiment.dataset, SegmentationData.of(trainer).val_samples
        dataset = SegmentationDataset(evenly_spread(samples, self.experiment.log.images), info)
        for number in range(len(dataset)):
            item = dataset[number]
            picture = picture_of(cast(SegmentationTask, pl_module), item, info)
            # Windows of one image have the same name.
            name = f"val/{number + 1}_{item['name']}"
            for tracker in self.trackers:
                tracker.log_picture(name, picture, trainer.current_epoch)


@torch.no_grad()
def picture_of(task: SegmentationTask, item: dict[str, Any], info: DatasetInfo) -> np.ndarray:
    """Draw image, truth and prediction beside one another, (h, 3 w, 3) RGB.

    Args:
        task: the task, in evaluation mode.
        item: an item of a data set for evaluation.
        info: description of the data set.
    """
    batch = task.transfer_batch_to_device(default_collate([item]), task.device, 0)
    labels = task.output_of(batch).logits[0].argmax(dim=0).cpu().numpy().astype(np.uint8)
    truth = next(iter(item["labels"].values())).numpy()
    photo = to_photo(item["image"].permute(1, 2, 0).numpy(), item["valid"].numpy(), info)
    scale = min(1.0, SIDE / max(labels.shape))
    size = tuple(max(1, round(scale * side)) for side in labels.shape[::-1])
    small = [
        cv2.resize(photo, size, interpolation=cv2.INTER_AREA),
        *(
            cv2.resize(info.to_rgb(mask), size, interpolation=cv2.INTER_NEAREST)
            for mask in (truth, labels)
        ),
    ]
    return np.concatenate(small, axis=1)


def _to_tensorboard(logger: Any, name: str, picture: np.ndarray, epoch: int) -> None:
    logger.experiment.add_image(name, picture, epoch, dataformats="HWC")


def _to_wandb(logger: Any, name: str, picture: np.ndarray, _epoch: int) -> None:
    logger.log_image(name, [picture])


def _to_mlflow(logger: Any, name: str, picture: np.ndarray, epoch: int) -> None:
    file = f"{name}/{epoch:04}.png"
    logger.experiment.log_image(logger.run_id, picture, artifact_file=file)


_SENDERS: dict[str, Callable[[Any, str, np.ndarray, int], None]] = {
    "tensorboard": _to_tensorboard,
    "wandb": _to_wandb,
    "mlflow": _to_mlflow,
}
