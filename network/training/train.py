"""Training of an experiment with the Lightning trainer."""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from network.config import Experiment, check_settings, default_settings, settings
from network.contracts import CountingLoss
from network.differences import as_trained, defines_training
from network.errors import InputError, is_first_process, nearest, warn
from network.evaluation.protocol import HISTORY, INIT_KEY, LABELS_KEY
from network.losses.weights import WeightedLoss
from network.models.checkpoint import SETTINGS_KEY, check_readable, read_checkpoint
from network.models.pretrained import pretrained_normalization
from network.training.agreement import Agreement
from network.training.begin import begin_with, normalized_as
from network.training.console import console_callbacks, console_options, quiet_lightning
from network.training.data import SegmentationData
from network.training.figures import missing_figures, write_training_figures
from network.training.peers import Peers
from network.training.processes import SharedError
from network.training.resume import Resumed, check_data, open_run, restore
from network.training.run_files import CheckpointFiles, RunCheckpoint, RunFiles, RunLog
from network.training.runs import (
    LOGS_DIR,
    find_checkpoint,
    free_logs,
    new_run,
    reserved_run,
    resumed_run,
    runs,
)
from network.training.task import SegmentationTask
from network.training.trackers import Tracked, make_trackers

LATEST = "latest"
STRATEGIES = ("auto", *StrategyRegistry.available_strategies())


class DeviceOptions(TypedDict, total=False):
    """Options of the devices of a training; see :func:`train`."""

    devices: str
    num_nodes: int
    strategy: str
    accelerator: str


def train(
    experiment: Experiment,
    *,
    resume: str | Path | None = None,
    init_from: str | Path | None = None,
    devices: str | int | Sequence[int] = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    accelerator: str = "auto",
    fast_dev_run: bool = False,
) -> Path:
    """Train an experiment, with checkpoints and logs in a new run folder.

    A resumed run keeps its folder.

    Args:
        experiment: the experiment.
        resume: a ``last.ckpt``, or ``"latest"`` for the one of the newest run. If ``optim.epochs``
            is larger than before, the run is made longer.
        init_from: a checkpoint. The training begins with those of its weights that fit the model,
            see :func:`network.models.transfer.take_weights`.
        devices: number of devices, a list of numbers of GPUs, or ``"auto"``; also as text, such as
            ``"2"`` or ``"0,1"``.
        num_nodes: see Lightning's trainer.
        strategy: see Lightning's trainer.
        accelerator: see Lightning's trainer.
        fast_dev_run: whether to train and validate on only one batch, without writing files.

    Returns:
        The folder of the checkpoints.

    Raises:
        InputError: data, checkpoint or devices cannot be used; the loss is no longer finite; the
            disk is full.
    """
    if init_from and resume:
        raise InputError(
            "init_from and resume",
            "a resumed run already has weights",
            "give only one of the two",
        )
    if resume and fast_dev_run:
        raise InputError(
            "resume and fast_dev_run",
            "a trial of one batch begins anew",
            "give only one of the two",
        )
    init_from = Path(init_from) if init_from else None
    if not isinstance(devices, str):
        devices = str(devices) if isinstance(devices, int) else "".join(f"{n}," for n in devices)
    check_settings(experiment)
    check_devices(accelerator, devices)
    if num_nodes < 1:
        raise InputError(f"num_nodes={num_nodes}", "must be at least 1")
    monitor = _check_monitor(experiment)
    _check_network(experiment)
    _warn_of_normalization(experiment)
    if not (resume or init_from):
        _warn_of_random_encoder(experiment)
    path = _resume_path(experiment, resume)
    if init_from:
        check_readable(init_from)
        experiment = normalized_as(experiment, init_from)
    place: AbstractContextManager[Path]
    if fast_dev_run:
        place = nullcontext(new_run(experiment))
    else:
        place = resumed_run(path.parent) if path else reserved_run(experiment)
    options: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": devices,
        "num_nodes": num_nodes,
        "strategy": strategy,
        "precision": experiment.compute.precision,
        "max_epochs": experiment.optim.epochs,
        "accumulate_grad_batches": experiment.optim.accumulate,
        "gradient_clip_val": experiment.optim.clip or None,
        "fast_dev_run": fast_dev_run,
        "log_every_n_steps": 1,
        "limit_val_batches": None if monitor else 0,
        "num_sanity_val_steps": 0,  # every mask has already been read
        "use_distributed_sampler": False,  # the samplers shard by themselves
        **console_options(),
    }
    with place as run:
        resumed = open_run(experiment, path) if path else None
        experiment = resumed.experiment if resumed else experiment
        if resumed and resumed.done >= experiment.optim.epochs:
            return _finish(experiment, resumed, accelerator)
        options["plugins"] = [CheckpointFiles(resumed.content if resumed else None)]
        if SLURMEnvironment.detect():
            # Lightning's automatic requeue would resume from a file outside the run folders. Users
            # give --resume instead.
            options["plugins"].append(SLURMEnvironment(auto_requeue=False))
        options["callbacks"] = [Agreement(experiment, run, path), Peers(), *console_callbacks()]
        if not fast_dev_run:
            logs = LOGS_DIR / experiment.name / free_logs(experiment, run)
            log, trackers = RunLog(logs), make_trackers(experiment, run, logs)
            options["logger"] = [log, *trackers]
            options["callbacks"] += _callbacks(experiment, run, monitor, log)
            options["callbacks"] += [Tracked(experiment, trackers)] if trackers else []
        with quiet_lightning():
            return _train(experiment, run, options, resumed, init_from)


def _train(
    experiment: Experiment,
    run: Path,
    options: dict[str, Any],
    resumed: Resumed | None,
    init_from: Path | None,
) -> Path:
    trainer = _make_trainer(options, LOGS_DIR / experiment.name / run.name)
    processes = trainer.world_size
    if processes > 1 and trainer.is_global_zero:
        batch = experiment.data.batch_size
        print(f"{processes} processes, each with batches of data.batch_size={batch}")
    data = SegmentationData(experiment, processes)
    pl.seed_everything(experiment.seed, verbose=False)
    model, begun = begin_with(experiment, init_from) if init_from else (None, None)
    task = SegmentationTask(experiment, pretrained=resumed is None, model=model)
    if experiment.compute.precision == "64-true":
        task.double()  # Lightning does so later, when weights were loaded or averaged in 32 bits
    if begun:
        task.history[INIT_KEY] = begun.record
        if trainer.is_global_zero:
            print(f"{init_from}: {begun.taken}")
    if isinstance(task.loss, CountingLoss) and task.loss.counted:
        task.loss.set_class_counts(data.class_counts(task.loss.counted))
        if isinstance(task.loss, WeightedLoss) and trainer.is_global_zero:
            print(f"class weights: {task.loss.describe(experiment.dataset.classes)}")
    if resumed:
        check_data(resumed, data, processes)
        told = restore(resumed, task, trainer)
        if told and trainer.is_global_zero:
            print(told)
    try:
        checkpoint = resumed.path if resumed else None
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    except SharedError:
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            # All processes end by themselves. Without this line, Lightning would kill this process
            # when another one ends.
            launcher.procs.clear()
        if trainer.local_rank:
            sys.exit(2)  # the first process of this machine prints the reason
        raise
    except SystemExit:
        # Lightning ends an interrupted process with code 1, as if it had failed.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    run = next(c.run for c in options["callbacks"] if isinstance(c, Agreement))
    if trainer.is_global_zero and not options["fast_dev_run"]:
        logs = LOGS_DIR / experiment.name / run.name
        _draw(experiment, run, logs, trainer.strategy.root_device)
        own = [log.folder for log in trainer.loggers if isinstance(log, RunLog)]
        folders = dict.fromkeys([logs, *own])  # a resumed run logs into a folder beside
        print(f"checkpoints in {run}, logs in {' and '.join(map(str, folders))}")
    return run


def _make_trainer(options: dict[str, Any], folder: Path) -> pl.Trainer:
    """Make Lightning's trainer; ``folder`` is for files that Lightning itself writes or reads."""
    try:
        trainer = pl.Trainer(**options, default_root_dir=folder)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"accelerator={options['accelerator']}, devices={options['devices']}, "
            f"strategy={options['strategy']}, precision={options['precision']}",
            f"Lightning cannot run this here ({reason})",
            "give others, such as accelerator=cpu devices=1",
        ) from error
    if trainer.is_global_zero and not is_first_process():
        raise InputError(
            f"num_nodes={options['num_nodes']}",
            "RANK, LOCAL_RANK, NODE_RANK, GROUP_RANK or SLURM_PROCID in the environment says "
            "that this is not the first process, but there is no other process",
            "unset this variable, or give the number of machines",
        )
    return trainer


def _draw(experiment: Experiment, run: Path, logs: Path, device: torch.device) -> None:
    try:
        write_training_figures(experiment, run, logs, device)
    except (InputError, RuntimeError, OSError) as error:  # the trained weights are still useful
        warn(f"no figures of this training ({error}); resume the run to draw them")


def _drawing_device(accelerator: str) -> torch.device:
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def _finish(experiment: Experiment, resumed: Resumed, accelerator: str) -> Path:
    """Draw the missing figures of a run that was stopped after its last epoch.

    Raises:
        InputError: no figure is missing, or the run has more epochs than requested.
    """
    run, done = resumed.path.parent, resumed.done
    logs = LOGS_DIR / experiment.name / run.name
    missing = missing_figures(run, logs)
    if done > experiment.optim.epochs or not missing:
        raise InputError(
            resumed.path, f"all {done} epochs are done", "test it, or give more optim.epochs"
        )
    if is_first_process():
        write_training_figures(experiment, run, logs, _drawing_device(accelerator))
        print(f"all {done} epochs were done; drew {', '.join(map(str, missing))}")
    return run


def train_once(experiment: Experiment, **options: Unpack[DeviceOptions]) -> Path:
    """Train an experiment unless it has a finished run; an unfinished run is resumed.

    Runs on other labels than there are now do not count.

    Args:
        experiment: the experiment.
        options: options of the devices, see :func:`train`.

    Returns:
        The folder of the finished run.
    """
    data: SegmentationData | None = None
    for run in reversed(runs(experiment)):
        last = run / "last.ckpt"
        if not last.is_file():
            continue
        checkpoint = read_checkpoint(last)
        if "epoch" not in checkpoint:
            continue
        recorded = checkpoint.get(SETTINGS_KEY, {})
        trained = default_settings(experiment) | recorded
        own = settings(as_trained(experiment, recorded))
        kept = [key for key in own if defines_training(key) or key == "data.root"]
        if any(key in trained for key in HISTORY) or any(
            trained.get(key) != own[key] for key in kept
        ):
            continue
        data = data or SegmentationData(experiment)
        if recorded.get(LABELS_KEY, data.train_digest) != data.train_digest:
            continue
        if checkpoint["epoch"] + 1 < experiment.optim.epochs:
            return train(experiment, resume=str(last), **options)
        logs = LOGS_DIR / experiment.name / run.name
        if missing_figures(run, logs) and is_first_process():
            _draw(experiment, run, logs, _drawing_device(options.get("accelerator", "auto")))
        return run
    return train(experiment, **options)


def check_devices(accelerator: str, devices: str) -> None:
    """Raise an :class:`InputError` if the machine has fewer devices than requested.

    Args:
        accelerator: see Lightning's trainer.
        devices: see Lightning's trainer.
    """
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    available = torch.cuda.device_count() if on_gpu else os.cpu_count() or 1
    kind = "GPU" if on_gpu else "CPU core"
    if not available:
        raise InputError(
            f"accelerator={accelerator}",
            "this machine has no GPU that torch can use",
            "give accelerator=cpu",
        )
    if devices == "auto" or (on_gpu and devices == "-1"):
        return
    # CPU processes have no numbers, so a list is not possible.
    form = r"\d+|(\d+,)+\d*" if on_gpu else r"\d+"
    if not re.fullmatch(form, devices) or devices == "0":
        listed = ", a list such as 0,1," if on_gpu else ""
        raise InputError(f"devices={devices}", f"expected a number of devices{listed} or auto")
    numbers = [int(number) for number in devices.split(",") if number]
    needed = max(numbers) + 1 if "," in devices else numbers[0]
    if needed > available:
        raise InputError(
            f"devices={devices}",
            f"this machine has {available} {kind}{'s' * (available > 1)}",
            f"give at most {available}",
        )


def _check_monitor(experiment: Experiment) -> str | None:
    """Return the name of the value that chooses the best checkpoint; None without a val split."""
    if experiment.data.val is None:
        return None
    # The IoU of a class cannot be used: it is not logged in an epoch in which the class is neither
    # in the truth nor in the prediction.
    known = ["val/loss", "val/mIoU", "val/mF1", "val/OA"]
    if experiment.monitor not in known:
        raise InputError(
            f"monitor={experiment.monitor}",
            f"no logged value that can choose the checkpoint{nearest(experiment.monitor, known)}",
        )
    return experiment.monitor


def _warn_of_random_encoder(experiment: Experiment) -> None:
    """Warn if the encoder is not trained, and begins with random weights."""
    chosen = settings(experiment)
    frozen = [key for key in ("model.freeze", "model.lora") if chosen.get(key)]
    if frozen and "model.weights" in chosen and chosen["model.weights"] is None:
        warn(
            f"{frozen[0]}={chosen[frozen[0]]} keeps the weights of the encoder, which are random "
            "with model.weights=None"
        )


def _warn_of_normalization(experiment: Experiment) -> None:
    """Warn if the pretrained weights expect other means and standard deviations of the bands."""
    chosen = settings(experiment)
    if chosen.get("model.weights") != "imagenet" or not experiment.dataset.is_rgb8:
        return
    pretrained = pretrained_normalization(chosen.get("model.encoder", ""))
    if pretrained is None:
        return
    theirs = np.array(pretrained)
    own = np.array(experiment.normalization) / 255
    if np.abs(theirs - own).max() > 0.01:
        mean, std = (",".join(map(str, values)) for values in pretrained)
        warn(
            f"{chosen['model.encoder']} was pretrained with data.mean=({mean}) data.std=({std}), "
            "but this experiment has other values; data.mean=None data.std=None takes the encoder's"
        )


def _check_network(experiment: Experiment) -> None:
    """Raise an :class:`InputError` if the network cannot train on batches or bands of this kind.

    With one image in a batch, batch normalization of pooled features has no variance. A model
    without a parameter ``bands`` may expect another number of bands than the data set has.
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
                "data.batch_size=1",
                "this network applies batch normalization to pooled 1 x 1 features, which needs "
                "more than one image",
                "give at least 2",
            ) from error
        raise
    except RuntimeError as error:
        if "channels" in str(error):
            raise InputError(
                experiment.config,
                f"its model does not take the {bands} bands of {experiment.dataset.name}",
                "build it for that many bands",
            ) from error
        raise


def _resume_path(experiment: Experiment, resume: str | Path | None) -> Path | None:
    if resume is None:
        return None
    path = find_checkpoint(experiment, ("last.ckpt",)) if resume == LATEST else Path(resume)
    check_readable(path)  # before anything is made in its folder
    return path


def _callbacks(
    experiment: Experiment, run: Path, monitor: str | None, log: RunLog
) -> list[Callback]:
    callbacks: list[Callback] = [RunFiles(experiment, run, log)]
    if monitor:
        mode = "min" if monitor == "val/loss" else "max"
        callbacks.append(
            RunCheckpoint(run, "best", monitor=monitor, mode=mode, save_weights_only=True)
        )
    # "last" comes after "best", so that the best score in last.ckpt includes this epoch.
    return [*callbacks, RunCheckpoint(run, "last", save_on_train_epoch_end=True)]
