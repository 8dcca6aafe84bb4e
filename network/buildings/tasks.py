"""Trainings of the chain's two networks, the classifier of tiles and the refinement network."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import PolynomialLR
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric

from network.buildings.activation import upsampled
from network.buildings.classifier import BuildingClassifier
from network.buildings.losses import balanced_soft_cross_entropy, multi_scale_consistency
from network.buildings.refiner import ActivationRefiner
from network.buildings.seeds import UNSURE
from network.buildings.settings import Chain, Classifier, Refiner
from network.datasets.files import read_mask, read_rgb
from network.datasets.info import BUILDING
from network.datasets.loaders import EpochSampler, make_loader
from network.datasets.resize import resize_image, resize_labels
from network.datasets.segmentation import Sample, to_tensor
from network.datasets.transforms import Normalize, random_window
from network.errors import InputError
from network.evaluation.metrics import ConfusionMatrix
from network.evaluation.scores import compute_scores
from network.models.checkpoint import read_checkpoint
from network.models.pretrained import encoder_normalization
from network.settings import IMAGENET_MEAN, IMAGENET_STD
from network.training.console import console_callbacks, console_options, quiet_lightning
from network.training.run_files import CheckpointFiles, RunCheckpoint, RunLog
from network.training.task import seed_batch

LAST, BEST = "last.ckpt", "best.ckpt"
Resize = Callable[[tuple[int, int], np.random.Generator], tuple[int, int]]


def normalize_for(settings: Classifier | Refiner) -> Normalize:
    """Make the layer that normalizes images of 0 to 255 as the network's encoder expects."""
    found = encoder_normalization(settings.encoder, settings.weights)
    mean, std = ([255 * value for value in values] for values in found)
    return Normalize(mean, std)


def normalization_record(settings: Classifier | Refiner) -> dict:
    """Tell the normalization for the record of a step; nothing if it is ImageNet's.

    All networks of earlier versions had ImageNet's, whatever their encoders expected. So those with
    other encoders are trained anew, and finished work with ImageNet's stays valid.
    """
    found = encoder_normalization(settings.encoder, settings.weights)
    if found == (IMAGENET_MEAN, IMAGENET_STD):
        return {}
    return {"normalization": [list(values) for values in found]}


class TrainingTiles(Dataset):
    """Dataset of random crops of tiles, which are resized, flipped left-right and filled up.

    An index is ``(epoch, index)``. The augmentation depends only on these and the seed.

    Args:
        tiles: the tiles.
        labels: labels of the tiles by name.
        seeds: folder of their seeds; with None, the items have no seed.
        resize: function that draws the new size of a tile.
        settings: settings of the network, which give the side of the crops. Their empty parts are
            filled with the mean color of its normalization.
        seed: seed of the augmentation.
    """

    def __init__(
        self,
        tiles: Sequence[Sample],
        labels: Mapping[str, int],
        seeds: Path | None,
        resize: Resize,
        settings: Classifier | Refiner,
        seed: int,
    ):
        self.tiles, self.labels, self.seeds = tiles, labels, seeds
        self.resize, self.crop, self.seed = resize, settings.crop, seed
        mean, _ = encoder_normalization(settings.encoder, settings.weights)
        self.color = tuple(round(255 * value) for value in mean)

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        epoch, index = item
        tile = self.tiles[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        size = self.resize(tile.size, rng)
        flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
        image = resize_image(read_rgb(tile.image), *size)[:, flip]
        source, target = self._windows(size, rng)
        canvas = np.empty((self.crop, self.crop, 3), np.uint8)
        canvas[:] = self.color
        canvas[target] = image[source]
        found = {"image": to_tensor(canvas), "label": float(self.labels[tile.name])}
        if self.seeds:
            own = read_mask(self.seeds / f"{tile.name}.png", BUILDING)
            filled = np.full((self.crop, self.crop), UNSURE, np.uint8)
            filled[target] = resize_labels(own, *size)[:, flip][source]
            found["seed"] = torch.from_numpy(filled)
        return found

    def _windows(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[tuple, tuple]:
        """Draw the window of the resized tile, and its window in the crop."""
        source = random_window(size, self.crop, self.crop, rng)
        height, width = (span.stop - span.start for span in source)
        return source, random_window((self.crop, self.crop), height, width, rng)


def long_side_between(low: int, high: int) -> Resize:
    """Make a function that draws the longer side of a tile, uniformly from low to high pixels."""

    def resize(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        factor = int(rng.integers(low, high + 1)) / max(size)
        return _scaled(size, factor)

    return resize


def scale_between(low: float, high: float) -> Resize:
    """Make a function that resizes a tile by a factor, uniformly from low to high."""
    return lambda size, rng: _scaled(size, rng.uniform(low, high))


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


class _Task(pl.LightningModule):
    """Base of both trainings, with seeds and with the means of each epoch's values."""

    def __init__(self, settings: Classifier | Refiner, seed: int):
        super().__init__()
        pl.seed_everything(seed, verbose=False)  # before the model is built
        self.seed = seed
        self.normalize = normalize_for(settings)
        self.means: dict[str, MeanMetric] = {}

    def on_train_batch_start(self, batch: dict, batch_index: int) -> None:
        seed_batch(self, self.seed, batch_index)

    def note(self, **values: Tensor) -> None:
        """Add values to the means of this epoch, and show the loss on the progress bar."""
        for name, value in values.items():
            if name not in self.means:
                self.means[name] = MeanMetric().to(self.device)
            self.means[name].update(value.detach())
        self.log("loss", values["loss"].detach(), prog_bar=True, logger=False)

    def on_train_epoch_end(self) -> None:
        for name, mean in self.means.items():
            self.log(f"train/{name}", mean.compute(), prog_bar=name == "accuracy")
            mean.reset()


class ClassifierTask(_Task):
    """Training of a :class:`BuildingClassifier` with binary cross-entropy.

    Args:
        settings: settings of the classifier.
        seed: seed of the weights and of each batch.
        pretrained: whether to load pretrained weights; not needed if a checkpoint is loaded next.
    """

    def __init__(self, settings: Classifier, seed: int, pretrained: bool = True):
        super().__init__(settings, seed)
        self.settings = settings
        weights = settings.weights if pretrained else None
        self.model = BuildingClassifier(settings.encoder, weights)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        s = self.settings
        groups = [
            {"params": self.model.encoder.parameters(), "lr": s.encoder_lr},
            {"params": self.model.head.parameters(), "lr": s.lr},
        ]
        optimizer = torch.optim.SGD(groups, momentum=s.momentum, weight_decay=s.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = PolynomialLR(optimizer, total_iters=steps, power=0.9)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        logits = self.model(self.normalize(batch["image"]))
        label = batch["label"].to(logits)
        loss = functional.binary_cross_entropy_with_logits(logits, label)
        self.note(loss=loss, accuracy=((logits > 0) == (label > 0.5)).float().mean())
        return loss


class RefinerTask(_Task):
    """Training of an :class:`ActivationRefiner` on seeds.

    Args:
        settings: settings of the refinement network.
        seed: seed of the weights and of each batch.
        pretrained: whether to load pretrained weights; not needed if a checkpoint is loaded next.
    """

    def __init__(self, settings: Refiner, seed: int, pretrained: bool = True):
        super().__init__(settings, seed)
        self.settings = settings
        weights = settings.weights if pretrained else None
        self.model = ActivationRefiner(settings.encoder, weights, settings.rates, settings.dropout)
        self.matrix = ConfusionMatrix(BUILDING.num_classes)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        s = self.settings
        encoder = list(self.model.encoder.parameters())
        new = [*self.model.label_encoder.parameters(), *self.model.votes.parameters()]
        groups = [{"params": encoder, "lr": s.encoder_lr}, {"params": new, "lr": s.lr}]
        return torch.optim.Adam(groups, weight_decay=s.weight_decay)

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        s, label = self.settings, batch["label"].float()
        image = self.normalize(batch["image"])
        logits = self.model(image, label)
        size = logits.shape[-2:]
        seed = nearest_cells(batch["seed"].long(), size)
        pixel = balanced_soft_cross_entropy(logits, seed, s.epsilon)
        loss, parts = pixel, {"pixel": pixel}
        if s.consistency and s.consistency_scales:
            resize = partial(functional.interpolate, mode="bilinear", align_corners=True)
            views = [logits]
            for scale in s.consistency_scales:
                view = resize(image, scale_factor=scale)
                views.append(resize(self.model(view, label), size))
            parts["consistency"] = s.consistency * multi_scale_consistency(
                views, seed, s.confidence
            )
            loss = loss + parts["consistency"]
        self.note(loss=loss, **parts)
        return loss

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Compare with true masks of the positive training tiles; only an oracle needs this."""
        truth = next(iter(batch["labels"].values()))
        image = self.normalize(batch["image"])
        logits = upsampled(self.model(image, image.new_ones(len(image))), truth.shape[-2:])
        self.matrix.update(logits.argmax(dim=1), truth)

    def on_validation_epoch_end(self) -> None:
        scores = compute_scores(self.matrix.compute(), BUILDING)
        self.log("oracle/mIoU", scores.overall["mIoU"] or 0.0)
        self.matrix.reset()


def nearest_cells(seed: Tensor, size: Sequence[int]) -> Tensor:
    """Reduce seeds (b, H, W) to cells (b, h, w) by the label at the center of each cell."""
    return functional.interpolate(seed[:, None].float(), tuple(size), mode="nearest-exact")[
        :, 0
    ].long()


def checkpoint_of(folder: Path, oracle: bool = False) -> Path:
    """Return the checkpoint of a finished training, the last epoch or the oracle's choice."""
    return folder / (BEST if oracle else LAST)


def fit(
    task: _Task,
    tiles: TrainingTiles,
    folder: Path,
    *,
    key: str,
    epochs: int,
    batch_size: int,
    chain: Chain,
    device: torch.device,
    oracle: DataLoader | None = None,
) -> None:
    """Train a network, or go on from its ``last.ckpt``.

    Args:
        task: the training.
        tiles: the training data.
        folder: folder of the checkpoints.
        key: section of the settings, for the error.
        epochs: number of passes over the tiles.
        batch_size: tiles in a step.
        chain: settings of the chain.
        device: device that trains.
        oracle: tiles with true masks that choose the best epoch; None to keep only the last one.

    Raises:
        InputError: there are fewer tiles than a batch holds.
    """
    if len(tiles) < batch_size:
        raise InputError(
            f"{key}.batch_size={batch_size}",
            f"there are only {len(tiles)} labeled tiles",
            "lower it",
        )
    last = folder / LAST
    done = read_checkpoint(last)["epoch"] + 1 if last.is_file() else 0
    if done >= epochs:
        return
    sampler = EpochSampler(len(tiles), chain.seed)
    sampler.set_epoch(done)  # workers read ahead before Lightning sets the epoch of a resumed run
    loader = make_loader(
        tiles,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=True,
        num_workers=chain.workers,
        persistent_workers=chain.workers > 0,
    )
    callbacks = [RunCheckpoint(folder, "best", monitor="oracle/mIoU", mode="max")] if oracle else []
    is_cuda = device.type == "cuda"
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="gpu" if is_cuda else device.type,
            devices=[device.index or 0] if is_cuda else 1,
            max_epochs=epochs,
            logger=RunLog(folder.parent / "logs" / folder.name / f"from_epoch_{done}"),
            plugins=CheckpointFiles(),
            callbacks=[
                *console_callbacks(),
                *callbacks,
                RunCheckpoint(folder, "last", save_on_train_epoch_end=True),
            ],
            log_every_n_steps=1,
            limit_val_batches=None if oracle else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            **console_options(),
        )
        try:
            trainer.fit(task, loader, oracle, ckpt_path=last if done else None, weights_only=True)
        except SystemExit:
            # Lightning ends an interrupted process with code 1, as if it had failed.
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
