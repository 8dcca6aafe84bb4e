"""Resuming from the ``last.ckpt`` of a run: checks of this file, and extension of the run."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from network.config import Experiment
from network.differences import (
    as_trained,
    changes_training,
    check_same_classes,
    check_same_settings,
)
from network.errors import InputError
from network.evaluation.protocol import EXTENDED_KEY, HISTORY, LABELS_KEY, PROCESSES_KEY
from network.models.checkpoint import (
    SETTINGS_KEY,
    TASK_PREFIX,
    check_finite,
    first_not_finite,
    is_dense,
    kind_of,
    load_weights,
    read_checkpoint,
)
from network.training.averaging import TRAINED_KEY
from network.training.data import SegmentationData, epochs_done
from network.training.optim import build_optimizer, extend_schedule
from network.training.run_files import RunCheckpoint
from network.training.task import SegmentationTask

EPOCHS_KEY = "optim.epochs"


@dataclass(frozen=True)
class Resumed:
    """A checkpoint that a training resumes from.

    Args:
        path: path of the file.
        experiment: the experiment, with the normalization of the run.
        content: content of the file.
        planned: number of epochs that the run was planned to have.
    """

    path: Path
    experiment: Experiment
    content: dict[str, Any]
    planned: int

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the run that wrote the checkpoint."""
        return self.content.get(SETTINGS_KEY, {})

    @property
    def done(self) -> int:
        """Number of finished epochs."""
        return self.content["epoch"] + 1


def open_run(experiment: Experiment, path: Path) -> Resumed:
    """Read the checkpoint that an experiment resumes from.

    Args:
        experiment: the experiment.
        path: the checkpoint file.

    Raises:
        InputError: it is not a checkpoint of this experiment, or a training cannot resume from it.
    """
    content = read_checkpoint(path)
    if "optimizer_states" not in content:
        last = path.parent / "last.ckpt"
        other = last if last.is_file() and last != path else "the last.ckpt of a run"
        raise InputError(path, "holds only weights", f"resume from {other}")
    weights = content.get("state_dict")
    if not isinstance(weights, Mapping) or not any(
        isinstance(name, str) and TASK_PREFIX in name for name in weights
    ):
        raise InputError(
            path, "not from a run of this project", "only the test scripts can read it"
        )
    epoch: Any = content.get("epoch")
    _require(type(epoch) is int and epoch >= 0, path, f"epoch is {epoch!r}")
    epochs = experiment.optim.epochs
    planned = content.get(SETTINGS_KEY, {}).get(EPOCHS_KEY, epochs)
    _require(type(planned) is int and planned > epoch, path, f"{EPOCHS_KEY} is {planned!r}")
    experiment = as_trained(experiment, content.get(SETTINGS_KEY))
    resumed, is_longer = Resumed(path, experiment, content, planned), epochs > planned
    check_same_classes(resumed.settings, experiment, path)
    check_same_settings(
        resumed.settings,
        experiment,
        path,
        lambda key: (
            (changes_training(key) and not (is_longer and key == EPOCHS_KEY))
            # Parts of the loss, such as Dice, are of a batch.
            or (key == "data.val_batch_size" and experiment.monitor == "val/loss")
        ),
    )
    return resumed


def check_data(resumed: Resumed, data: SegmentationData, processes: int) -> None:
    """Raise an :class:`InputError` if the labels or the number of processes have changed.

    Args:
        resumed: the checkpoint.
        data: the data of the training.
        processes: number of processes.
    """
    known, path = resumed.settings, resumed.path
    if known.get(LABELS_KEY, data.train_digest) != data.train_digest:
        raise InputError(
            path,
            f"was trained on other labels than are in {data.experiment.root} now",
            "restore the old labels, or train anew",
        )
    trained = known.get(PROCESSES_KEY, processes)
    if trained != processes:
        raise InputError(
            path,
            f"was trained by {trained} processes, each with its own batches, not by {processes}",
            f"give devices={trained}, or train anew",
        )


def restore(resumed: Resumed, task: SegmentationTask, trainer: pl.Trainer) -> str | None:
    """Check that a checkpoint is complete, and prepare it for Lightning.

    If parts were missing, Lightning itself would train from scratch or with another optimizer.

    Args:
        resumed: the checkpoint; its content is changed.
        task: the task; its model gets the weights of the checkpoint.
        trainer: the trainer.

    Returns:
        A line about the schedule if the run is made longer; otherwise None.

    Raises:
        InputError: a part of the checkpoint is missing, or comes from another training.
    """
    path, content = resumed.path, resumed.content
    load_weights(task.model, path, content)
    saved = content["state_dict"]
    content["state_dict"] = {
        name: value if name.startswith(TASK_PREFIX) else saved.get(name, value)
        for name, value in task.state_dict().items()
    }
    optimizer, scheduler = build_optimizer(task.model, task.experiment.optim)
    _check_trained(resumed, task)
    _check_optimizer(resumed, optimizer)
    _check_scheduler(resumed, scheduler)
    _check_loops(resumed, trainer)
    _check_callbacks(resumed, trainer)
    return _extend(resumed, task)


def _extend(resumed: Resumed, task: SegmentationTask) -> str | None:
    task.history |= {key: resumed.settings[key] for key in HISTORY if key in resumed.settings}
    optim, planned = task.experiment.optim, resumed.planned
    if optim.epochs == planned:
        return None
    extended = [*task.history.get(EXTENDED_KEY, []), [resumed.done, planned, optim.epochs]]
    task.history[EXTENDED_KEY] = extended
    old, new = extend_schedule(resumed.content, optim)
    return (
        f"{resumed.path}: extended from {planned} to {optim.epochs} epochs; from epoch "
        f"{resumed.done + 1} on, the learning rate is {new:.3g} (schedule of {optim.epochs} "
        f"epochs); on the schedule of {planned} it would have been {old:.3g}"
    )


def _require(condition: object, path: Path, what: str) -> None:
    if not condition:
        raise InputError(
            path,
            f"a training cannot resume from it: its {what}",
            "take another last.ckpt, or train anew",
        )


def _check_trained(resumed: Resumed, task: SegmentationTask) -> None:
    """Require the weights that are trained, where ``state_dict`` holds their moving average."""
    if not task.experiment.optim.ema:
        return
    trained: Any = resumed.content.get(TRAINED_KEY)
    own = task.model.state_dict()
    _require(
        isinstance(trained, Mapping)
        and trained.keys() == own.keys()
        and all(
            isinstance(value, Tensor)
            and is_dense(value)
            and value.shape == own[name].shape
            and kind_of(value) == kind_of(own[name])
            for name, value in trained.items()
        ),
        resumed.path,
        f"{TRAINED_KEY}, which are the weights without the moving average, is not complete",
    )
    check_finite(trained, own, resumed.path)


def _check_optimizer(resumed: Resumed, optimizer: Optimizer) -> None:
    path, states = resumed.path, resumed.content["optimizer_states"]
    _require(
        isinstance(states, list) and len(states) == 1 and isinstance(states[0], Mapping),
        path,
        "optimizer has no state",
    )
    state, expected = states[0], optimizer.state_dict()
    for key in expected:
        _require(key in state, path, f"optimizer has no '{key}'")
    groups, own = state["param_groups"], expected["param_groups"]
    _require(
        isinstance(groups, list) and all(isinstance(group, Mapping) for group in groups),
        path,
        "optimizer has no groups of parameters",
    )
    _require(
        [group.get("params") for group in groups] == [group["params"] for group in own],
        path,
        "optimizer has other groups of parameters than this experiment",
    )
    for group in groups:
        for key in ("lr", "betas", "eps", "weight_decay", "initial_lr"):
            _require(key in group, path, f"optimizer has no '{key}'")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = state["state"]
    _require(
        isinstance(moments, Mapping) and moments.keys() <= set(range(len(parameters))) and moments,
        path,
        "optimizer has no state, or the state of other parameters",
    )
    for number, moment in moments.items():
        _require(
            isinstance(moment, Mapping) and {"step", "exp_avg", "exp_avg_sq"} <= moment.keys(),
            path,
            f"optimizer has no moments of parameter {number}",
        )
        for key in ("exp_avg", "exp_avg_sq"):
            _require(
                _fits(moment[key], parameters[number]),
                path,
                f"optimizer's {key} does not have the shape of parameter {number}",
            )
    if "slow_params" in expected:
        slow = state["slow_params"]
        _require(
            isinstance(slow, list)
            and len(slow) == len(parameters)
            and all(s is None or _fits(s, p) for s, p in zip(slow, parameters, strict=True)),
            path,
            "optimizer's slow weights are not those of this experiment",
        )
    name = first_not_finite(state)
    _require(name is None, path, f"optimizer's {name} is not finite")


def _fits(value: object, parameter: Tensor) -> bool:
    return (
        isinstance(value, Tensor)
        and is_dense(value)
        and value.is_floating_point()
        and value.shape == parameter.shape
    )


def _check_scheduler(resumed: Resumed, scheduler: LRScheduler) -> None:
    path = resumed.path
    states: Any = resumed.content.get("lr_schedulers")
    _require(
        isinstance(states, list) and len(states) == 1 and isinstance(states[0], Mapping),
        path,
        "schedule of the learning rate has no state",
    )
    state, expected = states[0], scheduler.state_dict()
    length = "T_max" if "T_max" in expected else "step_size"
    for key in ("last_epoch", "base_lrs", "_last_lr", length):
        _require(key in state, path, f"schedule of the learning rate has no '{key}'")
    _require(
        state["last_epoch"] == resumed.done,
        path,
        f"schedule of the learning rate is at epoch {state['last_epoch']}, not {resumed.done}",
    )
    rates = state["_last_lr"]
    _require(
        state["base_lrs"] == expected["base_lrs"]
        and isinstance(rates, list)
        and len(rates) == len(expected["base_lrs"])
        and all(isinstance(rate, float) for rate in rates),
        path,
        "schedule has other learning rates than this experiment",
    )
    planned = resumed.planned if length == "T_max" else expected[length]
    _require(
        state[length] == planned,
        path,
        f"schedule of the learning rate has a length of {state[length]}, not {planned}",
    )


def _check_loops(resumed: Resumed, trainer: pl.Trainer) -> None:
    path = resumed.path
    loops: Any = resumed.content.get("loops")
    try:
        # Lightning loads this state again later, but only here the error can name the checkpoint.
        trainer.fit_loop.load_state_dict(deepcopy(loops["fit_loop"]))
        done = epochs_done(trainer)
        steps = trainer.fit_loop.epoch_loop.global_step
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        _require(False, path, f"count of epochs and steps is missing or damaged ({error!r})")
        raise
    _require(done == resumed.done, path, f"count of epochs says {done}, not {resumed.done}")
    known = resumed.content.get("global_step", steps)
    _require(steps == known, path, f"count of steps says {steps}, not {known}")


def _check_callbacks(resumed: Resumed, trainer: pl.Trainer) -> None:
    """Require the best score so far, since without it a worse epoch would replace ``best.ckpt``."""
    saved = resumed.content.get("callbacks")
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, RunCheckpoint) or not callback.monitor:
            continue
        state: Any = saved.get(callback.state_key) if isinstance(saved, Mapping) else None
        _require(
            isinstance(state, Mapping)
            and {"best_model_score", "best_model_path", "best_k_models"} <= state.keys(),
            resumed.path,
            f"best {callback.monitor} is not known",
        )
        score = state["best_model_score"]
        _require(
            score is None or (isinstance(score, Tensor) and torch.isfinite(score).all()),
            resumed.path,
            f"best {callback.monitor} is not known",
        )
