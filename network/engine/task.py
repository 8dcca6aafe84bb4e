"""The Lightning task: one model, one loss, the metrics of each epoch."""

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MeanMetric

from network.config import Experiment
from network.datasets.transforms import Normalize
from network.engine.metrics import ConfusionMatrix, Scores, compute_scores
from network.engine.optim import build_optimizer


class SegmentationTask(pl.LightningModule):
    """Train and validate ``experiment``.

    Args:
        experiment: with a loss that returns its weighted parts by name; their sum is minimized.
        pretrained: load the encoder's pretrained weights; False where a checkpoint follows.
    """

    def __init__(self, experiment: Experiment, pretrained: bool = True):
        super().__init__()
        self.experiment = experiment
        self.model = experiment.build_model(pretrained)
        self.loss = experiment.loss()
        self.normalize = Normalize(experiment.data.mean, experiment.data.std)
        k = experiment.dataset.num_classes
        self.train_matrix, self.val_matrix = ConfusionMatrix(k), ConfusionMatrix(k)
        self.val_loss = MeanMetric()

    def configure_optimizers(self) -> tuple[list, list]:
        optimizer, scheduler = build_optimizer(self.model.parameters(), self.experiment.optim)
        return [optimizer], [scheduler]

    def on_train_batch_start(self, batch: dict, batch_index: int) -> None:
        # Stochastic depth draws from torch's own generator: seeded by the batch, a resumed run
        # draws what an uninterrupted one does.
        position = [self.experiment.seed, self.current_epoch, batch_index, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1)[0]))

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        labels = batch["labels"].long()
        output = self.model(self.normalize(batch["image"]))
        parts = self.loss(output, labels)
        loss = sum(parts.values())
        self.train_matrix.update(output.logits.detach().argmax(dim=1), labels)
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        means = {"train/loss": loss} | {f"train/{name}": part for name, part in parts.items()}
        self.log_dict(
            {name: value.detach() for name, value in means.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
        )
        return loss

    def on_train_epoch_end(self) -> None:
        self._log_scores("train", self.train_matrix)

    def validation_step(self, batch: dict, batch_index: int) -> None:
        labels = next(iter(batch["labels"].values())).long()
        output = self.model(self.normalize(batch["image"]))
        loss = sum(self.loss(output, labels).values())
        # By pixels: a mean over batches would weigh small and empty images like whole ones.
        self.val_loss.update(loss, (labels != self.experiment.dataset.ignore_index).sum())
        self.val_matrix.update(output.logits.argmax(dim=1), labels)

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss.compute())
        self.val_loss.reset()
        scores = self._log_scores("val", self.val_matrix)
        per_class = zip(scores.classes, scores.iou, strict=True)
        self.log_dict({f"val/IoU/{name}": iou for name, iou in per_class if iou is not None})

    def _log_scores(self, split: str, matrix: ConfusionMatrix) -> Scores:
        scores = compute_scores(matrix.compute(), self.experiment.dataset)
        matrix.reset()
        means = {"mIoU": scores.miou, "mF1": scores.mf1, "OA": scores.oa}
        # The matrix is already summed over processes, which all log the same.
        self.log_dict(
            {f"{split}/{name}": mean for name, mean in means.items() if mean is not None},
            prog_bar=split == "val",
        )
        return scores
