"""Trackers that follow a training on request: TensorBoard, Weights & Biases, MLflow."""

import os
from collections.abc import Callable, Sequence
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
from network.datasets.segmentation import SegmentationDataset
from network.errors import InputError
from network.extras import require_extra
from network.training.data import SegmentationData
from network.training.processes import raise_together
from network.training.task import SegmentationTask

SIDE = 512
"""Largest height and width of a picture for a tracker, in pixels."""


def make_trackers(experiment: Experiment, run: Path, logs: Path) -> list[Logger]:
    """Make Lightning's loggers for the trackers of ``log.to``; they open nothing yet.

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
            trackers.append(_MAKERS[name](experiment, run, logs))
        except Exception as error:
            raise _unusable(name, error) from error
    return trackers


def _unusable(name: str, error: Exception) -> InputError:
    """Make the error for a tracker; each library raises other ones."""
    if isinstance(error, InputError):
        return error
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return InputError(f"log.to={name}", f"cannot be used ({reason})", "give log.to=None")


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

    def __init__(self, experiment: Experiment, trackers: Sequence[Logger]):
        self.experiment, self.trackers = experiment, trackers

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        failure = None
        for name, tracker in zip(self.experiment.log.trackers, self.trackers, strict=True):
            try:
                tracker.log_hyperparams(settings(self.experiment))
            except Exception as error:
                failure = failure or _unusable(name, error)
        raise_together(failure)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        info, samples = self.experiment.dataset, SegmentationData.of(trainer).val_samples
        dataset, count = SegmentationDataset(samples, info), len(samples)
        shown = min(self.experiment.log.images, count)
        for number in range(shown):
            item = dataset[(2 * number + 1) * count // (2 * shown)]
            picture = picture_of(cast(SegmentationTask, pl_module), item, info)
            for tracker in self.trackers:
                _send(tracker, f"val/{item['name']}", picture, trainer.current_epoch)


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


def _send(tracker: Any, name: str, picture: np.ndarray, epoch: int) -> None:
    """Give a tracker a picture; each library has its own call."""
    kind = type(tracker).__name__
    if kind == "TensorBoardLogger":
        tracker.experiment.add_image(name, picture, epoch, dataformats="HWC")
    elif kind == "WandbLogger":
        tracker.log_image(name, [picture], step=None)
    else:
        file = f"{name}/{epoch:04}.png"
        tracker.experiment.log_image(tracker.run_id, picture, artifact_file=file)
