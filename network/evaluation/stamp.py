"""The protocol stamp: what was measured, on every result."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from typing import Any

from network.config import Experiment, settings
from network.datasets.segmentation import Sample
from network.evaluation.json_forms import checked
from network.evaluation.protocol import (
    UNKNOWN,
    MaskProtocol,
    TrainingRecord,
    is_known_policy,
    mask_protocol,
)

_PACKAGES = (
    "torch",
    "timm",
    "pytorch-lightning",
    "torchmetrics",
    "ttach",
    "opencv-python-headless",
)


@dataclass(frozen=True)
class Fact:
    """One thing that two results must share to stand in one table.

    Attributes:
        words: what is known of it; equal words are the same thing.
        is_known: else nobody knows whether it is the same, even where the words are.
    """

    words: str
    is_known: bool = True


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Everything that a reader needs to know which numbers a result can be compared with.

    Attributes:
        data_set: its name.
        split: that was tested on.
        trained_on, chosen_on: whether the run has trained on images of this split, or chosen its
            checkpoint by them; None: unknown.
        images: how many there are.
        label_kinds: what they were scored on; nothing where a server holds the labels.
        masks: how these masks came about, by label kind.
        labels_sha256: of all labels of a kind.
        classes: names, by label.
        classes_in_mean: names of those that the means are over.
        tta: name of the test-time augmentation.
        views: how many it has; None where that is not known.
        boundary_tolerance: of boundary scores, pixels.
        checkpoint: its path, or where else the predictions come from.
        checkpoint_sha256: of the checkpoint, or of these predictions.
        config: file of the experiment.
        settings: of the experiment, by key.
        training: what the checkpoint remembers of its run, see :attr:`trained`; None: nothing.
        seed: of that run.
        precision: that was computed with; None in results of versions that had one only.
        software: versions of packages.
        predictions: folder of the masks, where other code has predicted them.
        frames: folder of the frames, where these were predicted instead of the data set.
    """

    data_set: str
    split: str
    trained_on: bool | None
    chosen_on: bool | None
    images: int
    label_kinds: tuple[str, ...]
    masks: dict[str, MaskProtocol]
    labels_sha256: dict[str, str]
    classes: tuple[str, ...]
    classes_in_mean: tuple[str, ...]
    tta: str
    views: int | None
    boundary_tolerance: int
    checkpoint: str
    checkpoint_sha256: str
    config: str
    settings: dict[str, Any]
    training: dict[str, Any] | None
    seed: int | None
    precision: str | None = None
    software: dict[str, str]
    predictions: str | None = None
    frames: str | None = None

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.settings["name"]

    @property
    def trained(self) -> TrainingRecord:
        """What the checkpoint remembers of its run, by name."""
        return TrainingRecord(self.training or {})

    @property
    def unit(self) -> str:
        """What bootstrap intervals are over: ``"tiles"`` that were cut, or ``"images"``."""
        return "tiles" if any(masks.is_cut for masks in self.masks.values()) else "images"

    def predicted_in(self, height: int, width: int) -> "Stamp":
        """The stamp of a test that has predicted its images in patches of this size."""
        note = f", predicted in patches of {height} x {width}"
        masks = {kind: replace(m, tiling=m.tiling + note) for kind, m in self.masks.items()}
        return replace(self, masks=masks)

    def comparability(self, kind: str) -> dict[str, Fact]:
        """What two results must share to stand in one table, by its name.

        Args:
            kind: of the labels.

        Raises:
            KeyError: nothing was tested on this kind.
            TypeError, ValueError, AttributeError: what is said of the training is damaged.
        """
        masks, training = self.masks[kind], self.trained
        views, split = self.views, self.split
        used = ((self.trained_on, "TRAINED ON"), (self.chosen_on, "CHECKPOINT CHOSEN ON"))
        for is_used, words in used:
            unknown = f" (unknown if {words.lower()})"
            split += {True: f" ({words})", False: "", None: unknown}[is_used]
        return {
            "data set": Fact(self.data_set),
            "split": Fact(split, None not in (self.trained_on, self.chosen_on)),
            "images": Fact(str(self.images)),
            "masks": Fact(kind),
            "labels": Fact(self.labels_sha256[kind][:12]),
            "padding": Fact(masks.padding_policy, is_known_policy(masks.padding_policy)),
            "tiling": Fact(masks.tiling),
            "image files": Fact(masks.image_files),
            "TTA": Fact(
                self.tta + (f" ({views} view{'s' * (views != 1)})" if views else ""),
                self.tta != UNKNOWN,
            ),
            "classes": Fact(", ".join(self.classes)),
            "mean over": Fact(", ".join(self.classes_in_mean)),
            "trained on": Fact(training.trained_on(self.data_set), training.knows_data),
            "padding in training": Fact(training.padding, is_known_policy(training.padding)),
            "boundary tolerance": Fact(f"{self.boundary_tolerance} pixels"),
        }

    def to_json(self) -> dict[str, Any]:
        """What files of results say of it."""
        facts = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("precision", "predictions", "frames"):
            if facts[name] is None:
                del facts[name]
        facts["masks"] = {kind: masks.to_json() for kind, masks in self.masks.items()}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in facts.items()}

    @classmethod
    def from_json(cls, document: Any, where: str = "") -> "Stamp":
        """What :meth:`to_json` has written; facts beside it are left out.

        Args:
            document: of a file of results.
            where: what to call the document in an error.

        Raises:
            ValueError: it is no complete stamp; it says what is missing or wrong.
        """
        stamp = checked(cls, document, where)
        if not isinstance(stamp.settings.get("name"), str):
            raise ValueError(f"{where and f'{where}.'}settings.name: Field required")
        # The files say it in these words alone.
        masks = {
            kind: replace(masks, is_cut=masks.tiling.startswith("patches"))
            for kind, masks in stamp.masks.items()
        }
        return replace(stamp, masks=masks)


def make_stamp(
    experiment: Experiment,
    *,
    split: str,
    samples: Sequence[Sample],
    digests: dict[str, str],
    checkpoint: str,
    sha256: str,
    training: dict[str, Any] | None,
    tta: str,
    views: int | None,
    boundary_tolerance: int,
    frames: str | None = None,
) -> Stamp:
    """The stamp of a test.

    Args:
        experiment: that is tested.
        split: to test on.
        samples: of the split.
        digests: of their labels, see :func:`check_samples`.
        checkpoint: its path, or where else the predictions come from.
        sha256: of the checkpoint, or of these predictions.
        training: settings of the run that wrote the checkpoint; None where it does not say.
        tta: name of the test-time augmentation.
        views: of the test-time augmentation; None where that is not known.
        boundary_tolerance: of boundary scores, pixels.
        frames: folder of the samples, where they are whole frames from elsewhere.
    """
    info, record = experiment.dataset, TrainingRecord(training or {})
    is_whole = frames is not None
    return Stamp(
        data_set=info.name,
        split=split,
        trained_on=record.has_seen(info, "data.train", split),
        chosen_on=record.has_seen(info, "data.val", split),
        images=len(samples),
        label_kinds=tuple(digests),
        masks=mask_protocol(info, samples, is_whole) if digests else {},
        labels_sha256=digests,
        classes=info.classes,
        classes_in_mean=tuple(info.classes[label] for label in info.scored),
        tta=tta,
        views=views,
        boundary_tolerance=boundary_tolerance,
        checkpoint=checkpoint,
        checkpoint_sha256=sha256,
        config=experiment.config,
        settings=settings(experiment),
        training=training,
        seed=record.seed,
        precision=experiment.compute.precision,
        software={"python": platform.python_version()}
        | {package: version(package) for package in _PACKAGES},
        frames=frames,
    )
