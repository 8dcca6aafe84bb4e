"""The Lightning task of a training, with model, loss, and the metrics of each epoch."""

from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from network.card import CARD_KEY, make_card
from network.compute import arrange, prepare
from network.config import Experiment
from network.datasets.transforms import Normalize
from network.errors import InputError, listed
from network.evaluation.metrics import ConfusionMatrix
from network.evaluation.protocol import PROCESSES_KEY
from network.evaluation.scores import MAIN, Scores, compute_scores
from network.models.checkpoint import SETTINGS_KEY, TASK_PREFIX
from network.models.output import SegOutput
from network.training.averaging import WeightAverage
from network.training.data import SegmentationData
from network.training.loss_watch import LossWatch
from network.training.optim import build_optimizer, scaled_rates
from network.training.teacher import mix, pseudo_labels, unlabeled_loss


def seed_batch(task: pl.LightningModule, seed: int, batch_index: int) -> None:
    """Seed torch's own generator (for stochastic depth and dropout) for one batch.

    So a resumed run draws the same numbers as an uninterrupted one.

    Args:
        task: the task, which knows epoch and rank.
        seed: seed of the experiment.
        batch_index: number of the batch in the epoch.
    """
    position = [seed, task.current_epoch, batch_index, task.global_rank]
    torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1)[0]))


def _mean(sync_on_compute: bool = True) -> MeanMetric:
    """Make a mean that keeps nan. torchmetrics would drop it, and look for it in each step."""
    return MeanMetric(nan_strategy="disable", sync_on_compute=sync_on_compute)


def _no_means() -> MutableMapping[str, MeanMetric]:
    """Make a dictionary of means; torch has no type for a ModuleDict of one kind of modules."""
    return cast("MutableMapping[str, MeanMetric]", nn.ModuleDict())


class SegmentationTask(pl.LightningModule):
    """The Lightning module that trains and validates an experiment.

    Args:
        experiment: the experiment; its loss returns weighted parts by name, and their sum is
            minimized.
        pretrained: whether to load the encoder's pretrained weights; False if a checkpoint is
            loaded later.
        model: the network to train, if it is already built.
    """

    def __init__(
        self, experiment: Experiment, pretrained: bool = True, model: nn.Module | None = None
    ):
        super().__init__()
        self.experiment = experiment
        model = experiment.build_model(pretrained) if model is None else model
        self.model = prepare(model, experiment.compute)
        self.loss = experiment.loss()
        _check_ignored(self.loss, experiment)
        self.normalize = Normalize(*experiment.normalization)
        k = experiment.dataset.num_classes
        self.train_matrix, self.val_matrix = ConfusionMatrix(k), ConfusionMatrix(k)
        # nan counts as infinite; without such a rule torchmetrics ignores the weights.
        self.val_loss = MeanMetric(nan_strategy=float("inf"))
        self.history: dict[str, Any] = {}  # additional facts for checkpoints, see HISTORY
        self.watch = LossWatch()
        self.train_parts = _no_means()  # means of the loss and its parts
        self.logged = _no_means()
        self.log_keys: dict[str, str] = {}
        self.average: WeightAverage | None = None

    def configure_optimizers(self) -> tuple[list, list]:
        optimizer, scheduler = build_optimizer(self.model, self.experiment.optim)
        return [optimizer], [scheduler]

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        data = SegmentationData.of(self.trainer)
        processes = {PROCESSES_KEY: self.trainer.world_size}
        checkpoint[SETTINGS_KEY] = data.checkpoint_settings | processes | self.history
        checkpoint[CARD_KEY] = make_card(
            self.experiment, data.ground_resolution, data.plane_resolution
        ).to_plain()
        if self.average:
            self.average.save(checkpoint, TASK_PREFIX)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        if self.average:
            self.average.load(checkpoint, TASK_PREFIX)

    def setup(self, stage: str) -> None:
        """Begin the average of the weights, before a checkpoint is loaded."""
        if self.experiment.optim.ema:
            self.average = WeightAverage(self.model, self.experiment.optim.ema)

    def on_fit_start(self) -> None:
        if self.average:
            self.average.move(self.device)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        step, warmup = self.trainer.global_step + 1, self.experiment.optim.warmup
        with scaled_rates(optimizer.param_groups, min(1, step / warmup) if warmup else 1):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.average:
            self.average.update(self.model, self.trainer.global_step)

    def on_train_epoch_start(self) -> None:
        self._log_shared({"lr": self.trainer.optimizers[0].param_groups[0]["lr"]})

    def on_train_batch_start(self, batch: dict, batch_index: int) -> None:
        seed_batch(self, self.experiment.seed, batch_index)

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        labels = batch["labels"].long()
        output = self.output_of(batch)
        has_teacher = bool(self.experiment.teacher.weight)
        parts = check_parts(self.loss(output, labels), has_teacher)
        if has_teacher:
            parts |= self._unlabeled_parts(batch)
        loss = cast("Tensor", sum(parts.values()))
        step = (self.current_epoch, batch_index)
        self.watch.look({"loss": loss, **parts}, partial(self._not_finite, *step))
        self.train_matrix.update(output.logits.detach().argmax(dim=1), labels)
        for name, value in {"loss": loss, **parts}.items():
            key = self._key(name)
            if key not in self.train_parts:
                self.train_parts[key] = _mean().to(self.device)
            self.train_parts[key].update(value.detach())
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        return loss if self.experiment.optim.accumulate == 1 else self._in_step(loss, batch_index)

    def _in_step(self, loss: Tensor, batch_index: int) -> Tensor:
        """Enlarge the losses of the last batches of an epoch if they are fewer than the others.

        Lightning divides each by ``optim.accumulate``, so their step would be too small.
        """
        together, batches = self.experiment.optim.accumulate, int(self.trainer.num_training_batches)
        rest = batches % together
        return loss * (together / rest) if rest and batch_index >= batches - rest else loss

    def _key(self, name: str) -> str:
        """Return the key of a logged value in a ModuleDict, which forbids some names."""
        return self.log_keys.setdefault(name, f"value_{len(self.log_keys)}")

    def _unlabeled_parts(self, batch: dict) -> dict[str, Tensor]:
        """Compute the weighted loss on the unlabeled crops of a batch, see the module teacher."""
        teacher, ignore_index = self.experiment.teacher, self.experiment.dataset.ignore_index
        assert self.average is not None
        crops = arrange(self.normalize(batch["unlabeled"]), self.experiment.compute)
        weights = self.average.average
        labels = pseudo_labels(self.model, weights, crops, teacher.threshold, ignore_index)
        labels = labels.masked_fill(~batch["known"], ignore_index)
        images, labels = mix(batch["strong"], labels, teacher.mix)
        logits = self.output_of({"image": images}).logits
        return {"unlabeled": teacher.weight * unlabeled_loss(logits, labels, ignore_index)}

    def _not_finite(self, epoch: int, batch_index: int, told: str) -> str:
        """Make the text of the error for a step; epochs and steps count from 1."""
        epochs, steps = self.experiment.optim.epochs, self.trainer.num_training_batches
        step = f"epoch {epoch + 1} of {epochs}, step {batch_index + 1} of {steps}"
        return f"{step}: {told}; {self._remedy()}"

    def _remedy(self) -> str:
        optim, precision = self.experiment.optim, self.experiment.compute.precision
        lower = f"train anew with a lower optim.lr than {optim.lr:g}"
        if optim.encoder_lr is not None:
            lower += f" and optim.encoder_lr than {optim.encoder_lr:g}"
        if precision.endswith("mixed"):
            lower += f", or go on in compute.precision=32-true instead of {precision}"
        kept = "; the checkpoints of the epochs before are kept" if self.current_epoch else ""
        return lower + kept

    def output_of(self, batch: dict) -> SegOutput:
        """Compute the output of the network for the images of a batch."""
        images = batch["image"]
        output = self.model(arrange(self.normalize(images), self.experiment.compute))
        check_output(output, (len(images), self.experiment.dataset.num_classes, *images.shape[-2:]))
        return output

    def on_validation_start(self) -> None:
        self.watch.check()
        if self.average:
            self.average.swap(self.model)

    def on_train_epoch_end(self) -> None:
        self.watch.check()
        names = [name for name in self.log_keys if self.log_keys[name] in self.train_parts]
        means = {name: self.train_parts[self.log_keys[name]].compute() for name in names}
        for mean in self.train_parts.values():
            mean.reset()
        self._log_shared({f"train/{name}": mean for name, mean in means.items()})
        self._log_scores("train", self.train_matrix)

    def validation_step(self, batch: dict, batch_index: int) -> None:
        labels = next(iter(batch["labels"].values())).long()
        output = self.output_of(batch)
        loss = sum(check_parts(self.loss(output, labels)).values())
        # Weighted by pixels, since small and empty images must not count like whole ones.
        self.val_loss.update(loss, (labels != self.experiment.dataset.ignore_index).sum())
        self.val_matrix.update(output.logits.argmax(dim=1), labels)

    def on_validation_epoch_end(self) -> None:
        loss = self.val_loss.compute()
        self._check_validation(loss)
        self._log_shared({"val/loss": loss})
        self.val_loss.reset()
        scores = self._log_scores("val", self.val_matrix)
        per_class = zip(scores.classes, scores.by_class["IoU"], strict=True)
        self._log_shared({f"val/IoU/{name}": iou for name, iou in per_class})
        if self.average:  # before checkpoints are saved
            self.average.swap(self.model)

    def _check_validation(self, loss: Tensor) -> None:
        """Raise an :class:`InputError` if the loss is not finite, before a checkpoint is saved."""
        if loss.isfinite():
            return
        epochs = self.experiment.optim.epochs
        raise InputError(
            f"epoch {self.current_epoch + 1} of {epochs}",
            "the loss of the validation is not finite",
            f"{self._remedy()}",
        )

    def _log_scores(self, split: str, matrix: ConfusionMatrix) -> Scores:
        scores = compute_scores(matrix.compute(), self.experiment.dataset)
        matrix.reset()
        shared = {f"{split}/{name}": scores.overall[name] for name in MAIN}
        self._log_shared(shared, prog_bar=split == "val")
        return scores

    def _log_shared(
        self, values: Mapping[str, Tensor | float | None], prog_bar: bool = False
    ) -> None:
        """Log values that are the same in all processes; None is left out.

        They are logged as metrics that do not synchronize. Lightning would reduce plain numbers
        over all processes when they are read. If only the first process reads them, it would wait
        forever.
        """
        for name, value in values.items():
            if value is None:
                continue
            key = self._key(name)
            if key not in self.logged:
                self.logged[key] = _mean(sync_on_compute=False).to(self.device)
            self.logged[key].update(value)
            mean, place = self.logged[key], f"logged.{key}"
            self.log(name, mean, metric_attribute=place, prog_bar=prog_bar)


def check_output(output: object, shape: tuple[int, ...]) -> None:
    """Raise an :class:`InputError` if a network does not return what training relies on.

    Args:
        output: what the network has returned.
        shape: shape that the logits must have, (b, k, H, W).
    """
    if not isinstance(output, SegOutput) or not isinstance(output.logits, Tensor):
        found = output.logits if isinstance(output, SegOutput) else output
        raise InputError("model", f"returns a {type(found).__name__}", "return SegOutput(logits)")
    if tuple(output.logits.shape) != shape:
        raise InputError(
            "model",
            f"returns logits of the shape {tuple(output.logits.shape)}, not {shape}",
            "return (images, classes, height, width), in the size of the images",
        )


RESERVED = ("loss", *MAIN)
"""Names that the log uses itself, so that no part of a loss can have them."""


def check_parts(parts: object, has_teacher: bool = False) -> dict[str, Tensor]:
    """Raise an :class:`InputError` if a loss does not return what training relies on.

    Args:
        parts: what the loss has returned.
        has_teacher: whether a part ``unlabeled`` is added to them.

    Returns:
        The parts by name.
    """
    remedy = "return a dict of the weighted parts by name, each a tensor of one number"
    if not isinstance(parts, dict) or not parts:
        found = "an empty dict" if parts == {} else f"a {type(parts).__name__}"
        raise InputError("loss", f"returns {found}", remedy)
    reserved: tuple[str, ...] = (*RESERVED, "unlabeled") if has_teacher else RESERVED
    if not has_teacher and len(parts) == 1:  # the part is the loss
        reserved = MAIN
    for name, value in parts.items():
        if not isinstance(name, str) or name in reserved:
            raise InputError("loss", f"names a part {name!r}", f"no part is {listed(reserved)}")
        if not isinstance(value, Tensor) or value.numel() != 1:
            kind = f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError("loss", f"its part '{name}' is a {kind}", remedy)
    return parts


def _check_ignored(loss: nn.Module, experiment: Experiment) -> None:
    """Raise an :class:`InputError` if a loss ignores another label than the data set."""
    ignored, known = getattr(loss, "ignore_index", None), experiment.dataset.ignore_index
    if isinstance(ignored, int) and ignored != known:
        raise InputError(
            "loss",
            f"ignores the label {ignored}, {experiment.dataset.name} has {known}",
            f"give {known} to the loss",
        )
