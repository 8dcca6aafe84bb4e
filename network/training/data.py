"""The images of a training: functions and classes to find, check and load them."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from multiprocessing import get_start_method
from pathlib import Path
from typing import Self

import pytorch_lightning as pl
from pytorch_lightning.loops.progress import _ProcessedTracker
from torch.utils.data import DataLoader, Dataset

from network.config import Experiment
from network.datasets.caches import cache_folder
from network.datasets.known_files import KnownFiles
from network.datasets.loaders import EpochSampler, WorkerOptions, evaluation_loader, make_loader
from network.datasets.patch_cache import PatchCache
from network.datasets.provenance import tile_of_patch
from network.datasets.read_speed import advise_on_storage
from network.datasets.samples import sizes_of, spread_samples
from network.datasets.scene_windows import (
    SceneWindows,
    count_windows,
    in_windows,
    weights_digest,
)
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import (
    Labels,
    Sample,
    SegmentationDataset,
    check_samples,
    files_of,
    find_ground_samples,
    find_samples,
    read_in_windows,
)
from network.datasets.transforms import TrainTransform
from network.datasets.unlabeled import Crops, ImageCrops, WithUnlabeled
from network.errors import InputError, warn
from network.evaluation.protocol import training_settings
from network.points.labels import POINTS, dense_counts
from network.rasters.place import plane_resolution
from network.rasters.resolution import compare_resolutions


def epochs_done(trainer: pl.Trainer) -> int:
    """Count the finished epochs, in a resumed run including those before."""
    current = trainer.fit_loop.epoch_progress.current
    assert isinstance(current, _ProcessedTracker)
    return current.processed


def drawn_share(
    samples: Sequence[Sample], share: float, info: DatasetInfo, seed: int
) -> list[Sample]:
    """Draw a share of the images, at least one; patches of one image are drawn together.

    Images are taken in a random order until they have the share of all pixels.

    Args:
        samples: the images.
        share: the share, above 0 to 1.
        info: description of the data set.
        seed: seed of the order.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        tile = info.patched and tile_of_patch(sample.name, info.patch_names)
        groups.setdefault(tile or sample.name, []).append(sample)
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    wanted = share * sum(height * width for height, width in (s.size for s in samples))
    chosen: set[str] = set()
    for name in order:
        if wanted <= 0:
            break
        own = groups[name]
        chosen.update(sample.name for sample in own)
        wanted -= sum(sample.size[0] * sample.size[1] for sample in own)
    return [sample for sample in samples if sample.name in chosen]


class SegmentationData(pl.LightningDataModule):
    """The training and validation images of an experiment, found and checked at construction.

    Args:
        experiment: the experiment.
        world_size: number of processes that share each epoch.

    Raises:
        InputError: see :func:`find_samples` and :func:`check_samples`; or there are fewer
            training images than a batch holds.
    """

    def __init__(self, experiment: Experiment, world_size: int = 1):
        super().__init__()
        self.experiment = experiment
        experiment.check_normalization()  # before all masks are read
        info, data = experiment.dataset, experiment.data
        info.check_one_kind(data.train, "data.train")
        trained = info
        if data.train_labels:
            trained = info.relabeled(data.train, data.train_labels)
            self._check_folders(trained)
        self.train_samples, labels, known = self._samples(trained, data.train, data.image_share)
        self._are_scenes = self.train_samples[0].scene is not None
        self.train_digests = labels.digests
        weights = weights_digest(self.train_samples) if self._are_scenes else None
        if weights:
            # Other weights are other training data.
            self.train_digests = {
                kind: hashlib.sha256(f"{digest} {weights}".encode()).hexdigest()
                for kind, digest in labels.digests.items()
            }
        self._pixels = next(iter(labels.pixels.values()))
        self._counts = next(iter(labels.counts.values()))
        self._check_labels()
        advise_on_storage(read_in_windows(self.train_samples), data.crop)
        # Read now: checkpoints store this value, and hours later the file may have changed.
        self.ground_resolution = self.train_samples[0].ground_resolution()
        self.plane_resolution = plane_resolution(self.train_samples[0].place()[0])
        self.val_samples: Sequence[Sample] = []
        known_val = None
        if data.val:
            found, _, known_val = self._samples(info, data.val)
            self.val_samples = in_windows(found, info, data)
        self.unlabeled = self._unlabeled_samples(data.unlabeled) if data.unlabeled else []
        compare_resolutions(
            (sample.ground_resolution(), sample.image)
            for some in filter(len, (self.train_samples, self.val_samples, self.unlabeled))
            # All scenes of a split are compared already.
            for sample in spread_samples(some, 1 if some[0].scene else 10)
        )
        count = self._train_count // world_size
        if count < experiment.data.batch_size:
            raise InputError(
                f"data.batch_size={experiment.data.batch_size}",
                f"only {count} training {'windows' if self._are_scenes else 'images'} in "
                f"{experiment.root} for each process, with data.repeat={data.repeat}",
                "lower it, or raise data.repeat",
            )
        self._cache = self._make_cache(trained, known, known_val) if data.cache else None

    @classmethod
    def of(cls, trainer: pl.Trainer) -> Self:
        """Get the data of a training from its trainer."""
        # A connector of the trainer sets this attribute, so the type does not declare it.
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, cls)
        return data

    def _check_folders(self, trained: DatasetInfo) -> None:
        experiment = self.experiment
        for folder in trained.folders(experiment.data.train):
            path = experiment.root / folder.masks[0].folder
            if not path.is_dir():
                raise InputError(
                    path,
                    "no such folder",
                    f"make it by 'python tools/make_points.py -c {experiment.config} --name "
                    f"{experiment.data.train_labels} --budget N data.root={experiment.root}' "
                    "(pseudo masks: by tools/weak/run_chain.py), or give "
                    "data.train_labels=None",
                )

    def _check_labels(self) -> None:
        """Refuse masks that seem to hold points but have no record that says so.

        Such points would be lost when crops are scaled down. Also warn of classes without any
        pixel.
        """
        info, counts = self.experiment.dataset, self._pixels
        absent = [name for name, count in zip(info.classes, counts, strict=True) if not count]
        if absent:
            warn(
                f"no training pixel of {', '.join(absent)}; masks must hold the labels 0 to "
                f"{info.num_classes - 1} (write 1 instead of 255 in a mask of two classes) or the "
                "palette's colors"
            )
        samples = self.train_samples
        if self.experiment.data.paste and POINTS in samples[0].masks:
            raise InputError(
                f"data.paste={self.experiment.data.paste}",
                "pastes the labeled pixels of a class, which are only points here",
                "give data.paste=0, or full masks",
            )
        if self._are_scenes:  # a few polygons may be all labels of a large scene
            return
        share = sum(counts) / sizes_of(samples).prod(axis=1).sum()
        if share < 0.02 and POINTS not in samples[0].masks:
            folder = next(iter(samples[0].masks.values())).parent
            raise InputError(
                folder,
                f"only {share:.2%} of the pixels have a class",
                "if these are points, make them known as such: 'python tools/make_points.py -c "
                f"{self.experiment.config} --name NAME --points {folder} "
                f"data.root={self.experiment.root}', then data.train_labels=NAME",
            )

    def _unlabeled_samples(self, split: str) -> Sequence[Sample]:
        """Find the images of a split whose labels are not opened, and need not be there."""
        info, root = self.experiment.dataset, self.experiment.root
        info.check_one_kind(split, "data.unlabeled")
        if info.scenes(split):
            return find_ground_samples(info, root, split)
        info = info.relabeled(split, None)
        known = self._known(info)
        samples = find_samples(info, root, split, known)
        known.keep()
        return samples

    def _samples(
        self, info: DatasetInfo, split: str, share: float = 1.0
    ) -> tuple[Sequence[Sample], Labels, KnownFiles]:
        known = self._known(info)
        samples = find_samples(info, self.experiment.root, split, known)
        if share < 1:
            samples = drawn_share(samples, share, info, self.experiment.seed)
        if not samples[0].masks:
            raise InputError(f"{info.name} has no masks for the split '{split}'; use another split")
        labels = check_samples(samples, info, split, known)
        known.keep()
        return samples, labels, known

    def _known(self, info: DatasetInfo) -> KnownFiles:
        experiment = self.experiment
        return KnownFiles(info, experiment.root, experiment.data.workers)

    def _make_cache(
        self, trained: DatasetInfo, known: KnownFiles, known_val: KnownFiles | None
    ) -> PatchCache:
        """Open the cache of decoded patches: those of the training, then those of validation."""
        data = self.experiment.data
        if self._are_scenes:
            raise InputError(
                f"data.cache={data.cache}",
                "the cache is for folders of patches, not for scenes on Earth",
                "give data.cache=None; scenes are read in windows, of which GDAL keeps some",
            )
        if data.cache == "ram" and data.workers and get_start_method() != "fork":
            raise InputError(
                f"data.cache={data.cache}",
                "this system does not share the memory of a process with its workers",
                "give data.cache=disk, or data.workers=0",
            )
        files = [files_of(sample, known, training=True) for sample in self.train_samples]
        if known_val:
            files += [files_of(sample, known_val, training=False) for sample in self.val_samples]
        folder = None
        if data.cache == "disk":
            root = self.experiment.root
            folder = Path(data.cache_dir) if data.cache_dir else cache_folder(root)
        return PatchCache(files, trained, folder, data.cache_gb)

    def train_dataloader(self) -> DataLoader:
        experiment, data = self.experiment, self.experiment.data
        info, seed = experiment.dataset, experiment.seed
        is_sparse = POINTS in self.train_samples[0].masks
        transform = TrainTransform(data, info.ignore_index, sparse=is_sparse)
        samples, rare, paste = self.train_samples, data.rare_share, data.paste
        dataset: Dataset
        if self._are_scenes:
            dataset = SceneWindows(samples, info, transform, data.window, seed, rare, paste)
        else:
            counts = self._counts if rare or paste else None
            cache = self._cache.part(0) if self._cache else None
            dataset = SegmentationDataset(
                samples, info, transform, seed, rare, counts, paste, cache
            )
        if self.unlabeled:
            dataset = WithUnlabeled(dataset, self._unlabeled_crops(), info.ignore_index, seed)
        sampler = EpochSampler(self._train_count, experiment.seed, *self._processes())
        if self.trainer:
            # Workers begin to read before Lightning sets the epoch of a resumed sampler.
            sampler.set_epoch(epochs_done(self.trainer))
        return make_loader(
            dataset,
            batch_size=data.batch_size,
            sampler=sampler,
            drop_last=True,
            **self._worker_options(),
        )

    def _unlabeled_crops(self) -> Crops:
        """Make crops of the unlabeled images: as they are, and with all of their pixels."""
        info, data = self.experiment.dataset, self.experiment.data
        as_it_is = replace(data, brighten=0.0, sharpen=0.0, mosaic=0.0, label_share=1.0)
        plain = TrainTransform(as_it_is, info.ignore_index, varied=False)
        if self.unlabeled[0].scene is not None:
            return SceneWindows(self.unlabeled, info, plain, data.window)
        return ImageCrops(self.unlabeled, info, plain)

    def class_counts(self, counted: str) -> tuple[int, ...]:
        """Count the pixels of each class in the training masks.

        Args:
            counted: ``"labels"`` counts in the training masks; ``"dense"`` counts in the masks
                that their points were drawn from (if they are points).

        Raises:
            InputError: the source of the points is unknown, or has the counts of more images.
        """
        masks = [next(iter(sample.masks.values())) for sample in self.train_samples]
        if counted == "dense" and POINTS in self.train_samples[0].masks:
            share = self.experiment.data.image_share
            if share < 1:
                raise InputError(
                    f"data.image_share={share}",
                    "loss.counted=dense knows the pixels of all images only",
                    "give loss.counted=labels, or data.image_share=1",
                )
            return dense_counts(sorted({path.parent for path in masks}))
        return self._pixels

    def val_dataloader(self) -> DataLoader | list:
        if not self.val_samples:
            return []
        return evaluation_loader(
            self.experiment.dataset,
            self.val_samples,
            self.experiment.data.val_batch_size,
            *self._processes(),
            cache=self._cache.part(len(self.train_samples)) if self._cache else None,
            **self._worker_options(),
        )

    @property
    def train_digest(self) -> str:
        """The digest of the labels that are trained on."""
        return next(iter(self.train_digests.values()))

    @cached_property
    def checkpoint_settings(self) -> dict:
        """The settings and facts that each checkpoint stores; see :func:`training_settings`.

        They are found once, since this may read many images.
        """
        return training_settings(self.experiment, self.train_samples, self.train_digests)

    @property
    def _train_count(self) -> int:
        data, count = self.experiment.data, len(self.train_samples)
        if self._are_scenes:
            count = count_windows(self.train_samples, data.window)
        return count * data.repeat

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _worker_options(self) -> WorkerOptions:
        workers = self.experiment.data.workers
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": on_gpu}
