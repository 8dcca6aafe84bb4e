"""Training: the Lightning trainer around task and data."""

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytorch_lightning as pl
import timm
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from network.config import Experiment, default_settings, describe, settings
from network.engine.data import SegmentationData
from network.engine.protocol import (
    LABELS_KEY,
    PROCESSES_KEY,
    changes_training,
    check_same_settings,
    defines_training,
)
from network.engine.runs import LOGS_DIR, find_checkpoint, new_run, reserved_run, runs
from network.engine.task import SegmentationTask
from network.engine.training_figures import write_training_figures
from network.errors import InputError, nearest, warn
from network.models.checkpoint import SETTINGS_KEY, TASK_PREFIX, load_weights, read_checkpoint
from network.writing import replacing

LATEST = "latest"
STRATEGIES = ("auto", *StrategyRegistry.available_strategies())


def train(
    experiment: Experiment,
    *,
    resume: str | None = None,
    devices: str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    accelerator: str = "auto",
    fast_dev_run: bool = False,
) -> Path:
    """Train ``experiment``; checkpoints and logs get a new run folder, a resumed run its old one.

    Args:
        resume: a ``last.ckpt``, or ``"latest"`` for that of the newest run.
        devices, num_nodes, strategy, accelerator: Lightning's.
        fast_dev_run: one batch of training and validation, nothing is written.

    Returns:
        The folder of the checkpoints.

    Raises:
        InputError: data, checkpoint or devices cannot be used.
    """
    check_devices(accelerator, devices)
    if num_nodes < 1:
        raise InputError(f"--num-nodes {num_nodes}: must be at least 1")
    monitor = _check_monitor(experiment)
    _check_network(experiment)
    _warn_of_normalization(experiment)
    checkpoint = _resume_checkpoint(experiment, resume)
    place = nullcontext(checkpoint.parent) if checkpoint else reserved_run(experiment)
    if fast_dev_run:
        place = nullcontext(new_run(experiment))
    options = {
        "accelerator": accelerator,
        "devices": devices,
        "num_nodes": num_nodes,
        "strategy": strategy,
        "precision": experiment.compute.precision,
        "max_epochs": experiment.optim.epochs,
        "accumulate_grad_batches": experiment.optim.accumulate,
        "fast_dev_run": fast_dev_run,
        "log_every_n_steps": 1,
        "limit_val_batches": None if monitor else 0,
        "num_sanity_val_steps": 0,  # every mask has already been read
        "use_distributed_sampler": False,  # the samplers shard by themselves
    }
    if SLURMEnvironment.detect():
        # Lightning's requeue goes on from a file that belongs to no run; ours is --resume.
        options["plugins"] = [SLURMEnvironment(auto_requeue=False)]
    with place as run:
        if not fast_dev_run:
            options["logger"] = _logger(experiment, run)
            options["callbacks"] = _callbacks(experiment, run, monitor)
        _train(experiment, run, options, checkpoint)
    return run


def _train(experiment: Experiment, run: Path, options: dict, checkpoint: Path | None) -> None:
    try:
        # What Lightning leaves or looks for by itself lies with the logs.
        trainer = pl.Trainer(**options, default_root_dir=LOGS_DIR / experiment.name / run.name)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--accelerator {options['accelerator']} --devices {options['devices']} --strategy "
            f"{options['strategy']} --precision {options['precision']}: Lightning cannot run this "
            f"here ({reason})"
        ) from error
    processes = trainer.world_size
    if processes > 1 and trainer.is_global_zero:
        batch = experiment.data.batch_size
        print(f"{processes} processes, each with batches of data.batch_size={batch}")
    data = SegmentationData(experiment, processes)
    pl.seed_everything(experiment.seed, verbose=False)
    task = SegmentationTask(experiment, pretrained=checkpoint is None)
    counted = getattr(task.loss, "counted", None)
    if counted:
        task.loss.set_class_counts(data.class_counts(counted))
    if checkpoint:
        _check_resumed(checkpoint, data, processes)
        load_weights(task.model, checkpoint)  # names what does not fit before anything starts
    try:
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # Lightning ends an interrupted process with code 1, as if it had failed.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    if trainer.is_global_zero and not options["fast_dev_run"]:
        logs = LOGS_DIR / experiment.name / run.name
        try:
            write_training_figures(experiment, run, logs, trainer.strategy.root_device)
        except (InputError, RuntimeError) as error:  # what was trained stays
            warn(f"no figures of this training ({error})")
        print(f"checkpoints in {run}, logs in {logs}")


def train_once(experiment: Experiment, **options) -> Path:
    """The folder of a finished run of this experiment: an old one, gone on with, or a new one.

    Args:
        options: see :func:`train`.
    """
    for run in reversed(runs(experiment)):
        last = run / "last.ckpt"
        if not last.is_file():
            continue
        checkpoint, own = read_checkpoint(last), settings(experiment)
        trained = default_settings(experiment) | checkpoint.get(SETTINGS_KEY, {})
        kept = [key for key in own if defines_training(key) or key == "data.root"]
        if any(trained.get(key) != own[key] for key in kept):
            continue
        if checkpoint["epoch"] + 1 >= experiment.optim.epochs:
            return run
        return train(experiment, resume=str(last), **options)
    return train(experiment, **options)


class RunCheckpoint(ModelCheckpoint):
    """The checkpoint ``<run>/<name>.ckpt``, replaced by each better or, unmonitored, newer one."""

    def __init__(self, run: Path, name: str, **options):
        super().__init__(run, name, enable_version_counter=False, **options)

    def load_state_dict(self, state_dict: dict) -> None:
        # Lightning forgets the best score when the folder was moved, and would overwrite it.
        state = {**state_dict, "dirpath": self.dirpath}
        if state["best_model_path"]:
            best = str(Path(self.dirpath) / Path(state["best_model_path"]).name)
            state["best_model_path"] = best
            if state["best_k_models"]:
                state["best_k_models"] = {best: state["best_model_score"]}
                state["kth_best_model_path"] = best
        super().load_state_dict(state)


class SaveSettings(Callback):
    """Write the resolved experiment beside its checkpoints."""

    def __init__(self, experiment: Experiment, run: Path):
        self.experiment, self.run = experiment, run

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            with replacing(self.run / "experiment.txt") as partial:
                partial.write_text(describe(self.experiment))


def check_devices(accelerator: str, devices: str) -> None:
    """Raise an :class:`InputError` if the machine has not as many devices as are asked for."""
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    available = torch.cuda.device_count() if on_gpu else os.cpu_count() or 1
    kind = "GPU" if on_gpu else "CPU core"
    if not available:
        raise InputError(f"--accelerator {accelerator}: this machine has no GPU that torch can use")
    if devices == "auto" or (on_gpu and devices == "-1"):
        return
    # CPU processes have no numbers to list.
    form = r"\d+|(\d+,)+\d*" if on_gpu else r"\d+"
    if not re.fullmatch(form, devices) or devices == "0":
        listed = ", a list such as 0,1," if on_gpu else ""
        raise InputError(f"--devices {devices}: expected a count{listed} or auto")
    numbers = [int(number) for number in devices.split(",") if number]
    needed = max(numbers) + 1 if "," in devices else numbers[0]
    if needed > available:
        raise InputError(
            f"--devices {devices}: this machine has {available} {kind}{'s' * (available > 1)}; "
            f"give at most {available}"
        )


def _check_monitor(experiment: Experiment) -> str | None:
    """The value that chooses the best checkpoint; None where nothing is held out."""
    if experiment.data.val is None:
        return None
    # The IoU of one class is not logged in an epoch that neither has nor predicts it.
    known = ["val/loss", "val/mIoU", "val/mF1", "val/OA"]
    if experiment.monitor not in known:
        raise InputError(
            f"monitor={experiment.monitor}: cannot choose a checkpoint by this"
            + nearest(experiment.monitor, known)
        )
    return experiment.monitor


def _check_resumed(checkpoint: Path, data: SegmentationData, processes: int) -> None:
    """Raise an :class:`InputError` if a run would go on with other labels or larger steps."""
    known = read_checkpoint(checkpoint).get(SETTINGS_KEY, {})
    own = next(iter(data.train_digests.values()))
    if known.get(LABELS_KEY, own) != own:
        raise InputError(
            f"{checkpoint}: was trained on other labels than are in {data.experiment.root} now; "
            "restore them, or train anew"
        )
    trained = known.get(PROCESSES_KEY, processes)
    if trained != processes:
        raise InputError(
            f"{checkpoint}: was trained by {trained} processes, each with a batch of its own, not "
            f"{processes}; give --devices {trained}, or train anew"
        )


def _warn_of_normalization(experiment: Experiment) -> None:
    """Say so if pretrained weights will see images of another mean and deviation."""
    chosen, data = settings(experiment), experiment.data
    if chosen.get("model.weights") != "imagenet" or not experiment.dataset.is_rgb8:
        return
    pretrained = timm.get_pretrained_cfg(chosen.get("model.encoder", ""), allow_unregistered=True)
    if pretrained is None:
        return
    theirs = (*pretrained.mean, *pretrained.std)
    if any(abs(a - b) > 0.01 for a, b in zip(theirs, (*data.mean, *data.std), strict=True)):
        mean, std = (",".join(map(str, values)) for values in (theirs[:3], theirs[3:]))
        warn(
            f"{chosen['model.encoder']} was pretrained with data.mean=({mean}) data.std=({std}), "
            "which this experiment does not have"
        )


def _check_network(experiment: Experiment) -> None:
    """Raise an :class:`InputError` if the network cannot be trained on what it will be given.

    Of single images batch normalization of pooled features has no variance, whatever their size;
    and a model that names no parameter ``bands`` may take others than the data set has.
    """
    bands = experiment.dataset.bands
    if experiment.data.batch_size > 1 and bands == 3:
        return
    side = min(64, experiment.data.crop)
    try:
        with torch.no_grad():
            model = experiment.build_model(pretrained=False).train()
            model(torch.zeros(min(2, experiment.data.batch_size), bands, side, side))
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            raise InputError(
                "data.batch_size=1: this network normalizes features that are one pixel large over "
                "the batch; give at least 2"
            ) from error
        raise
    except RuntimeError as error:
        if "channels" in str(error):
            raise InputError(
                f"{experiment.config}: its model does not take the {bands} bands of "
                f"{experiment.dataset.name}; build it for so many"
            ) from error
        raise


def _resume_checkpoint(experiment: Experiment, resume: str | None) -> Path | None:
    if resume is None:
        return None
    path = find_checkpoint(experiment, ("last.ckpt",)) if resume == LATEST else Path(resume)
    checkpoint = read_checkpoint(path)
    if "optimizer_states" not in checkpoint:
        raise InputError(f"{path}: holds weights alone; resume from the last.ckpt of a run")
    if not any(name.startswith(TASK_PREFIX) for name in checkpoint["state_dict"]):
        raise InputError(f"{path}: not a run of this project; only the test scripts can read it")
    check_same_settings(checkpoint.get(SETTINGS_KEY, {}), experiment, path, changes_training)
    done = checkpoint["epoch"] + 1
    if done >= experiment.optim.epochs:
        raise InputError(
            f"{path}: all {done} epochs are done; test it, or train anew with more optim.epochs"
        )
    return path


def _logger(experiment: Experiment, run: Path) -> CSVLogger:
    # Lightning empties a log folder that it finds: a resumed run gets one beside the first.
    folder, number = run.name, 0
    while (LOGS_DIR / experiment.name / folder).exists():
        number += 1
        folder = f"{run.name}_resumed_{number}"
    return CSVLogger(LOGS_DIR, name=experiment.name, version=folder)


def _callbacks(experiment: Experiment, run: Path, monitor: str | None) -> Sequence[Callback]:
    callbacks: list[Callback] = [SaveSettings(experiment, run)]
    if monitor:
        mode = "min" if monitor == "val/loss" else "max"
        callbacks.append(
            RunCheckpoint(run, "best", monitor=monitor, mode=mode, save_weights_only=True)
        )
    # After the best: what goes on from the last must know the best score of this epoch too.
    return [*callbacks, RunCheckpoint(run, "last", save_on_train_epoch_end=True)]
