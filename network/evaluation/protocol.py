"""What decides which results may stand side by side: masks, and the training of a checkpoint."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import PlainValidator

from network.config import Experiment, settings
from network.datasets.files import read_image, read_mask
from network.datasets.provenance import Provenance, read_provenance
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.datasets.windows import padding_margin
from network.errors import InputError

UNKNOWN = "unknown"
"""What nobody can tell of a result; it equals nothing, not even itself."""

DATA_SET_KEY, PADDING_KEY = "data.data_set", "data.padding"
LABELS_KEY, POINTS_KEY = "data.labels_sha256", "data.points"
"""Among the settings in a checkpoint: of the masks that it was trained on."""
IMAGES_KEY = "data.image_ending"
"""Among them, if it is known: the ending of the files that the patches were cut from."""
PROCESSES_KEY = "processes"
"""Among them too: how many processes had a batch of their own in each step."""
CLASSES_KEY = "data.classes"
"""Among them: the names of the classes, by label."""
EXTENDED_KEY, INIT_KEY = "extended", "init_from"
"""Among them, if that was so: each time that the run was made longer, as (epochs done, epochs
planned before, epochs planned since); path and sha256 of the weights that it began with."""
HISTORY = (EXTENDED_KEY, INIT_KEY)
"""What a run that goes on keeps of the run before."""


# Between the policies of several folders, also in files.
_AND = " and "


def is_known_policy(policy: str) -> bool:
    """Whether a padding policy, or each of several folders, is known."""
    return UNKNOWN not in policy.split(_AND)


def _provenance(document: Any) -> Provenance | None:
    return None if document is None else Provenance.from_json(document)


@dataclass(frozen=True)
class TrainingRecord:
    """What a checkpoint remembers of its training, read by name.

    Attributes:
        settings: all of the run by key, and what :func:`training_settings` adds; empty where the
            checkpoint does not say.
    """

    settings: Mapping[str, Any]

    @property
    def data_set(self) -> str | None:
        """Name of the data set."""
        return self.settings.get(DATA_SET_KEY)

    @property
    def image_ending(self) -> str | None:
        """Ending of the files that the patches were cut from."""
        return self.settings.get(IMAGES_KEY)

    @property
    def padding(self) -> str:
        """How padding was labeled."""
        return str(self.settings.get(PADDING_KEY, UNKNOWN))

    @property
    def knows_data(self) -> bool:
        """Whether it says what the run was trained on."""
        return self.settings.get("data.train", UNKNOWN) != UNKNOWN

    @property
    def seed(self) -> int | None:
        """Of weights, augmentation and order."""
        return self.settings.get("seed")

    def has_seen(self, info: DatasetInfo, used: str, split: str) -> bool | None:
        """Whether a split shares a folder with one that the run has used; None: unknown.

        Args:
            info: facts of the data set that the split is of.
            used: ``"data.train"``, or ``"data.val"``, by which the checkpoint is chosen.
            split: to test on.
        """
        name = self.settings.get(used, UNKNOWN)
        if name is None:  # nothing was held out to choose by
            return False
        if self.settings.get(DATA_SET_KEY, info.name) != info.name:
            return False
        if name not in info.splits:
            return None
        if split not in info.splits:  # frames of UAVid in a folder of any name
            return None
        return bool(set(info.splits[split]) & set(info.splits[name]))

    def trained_on(self, data_set: str) -> str:
        """The data that the run was trained on, in a few words.

        Args:
            data_set: that the reader expects; another one is named.
        """
        known = self.settings
        split, labels = known.get("data.train", UNKNOWN), known.get("data.train_labels")
        if known.get(DATA_SET_KEY, data_set) != data_set:
            split = f"{known[DATA_SET_KEY]} {split}"
        if labels and LABELS_KEY in known:
            labels += f" {known[LABELS_KEY][:8]}"  # folders of one name may hold other points
        share = known.get("data.label_share", 1.0)
        if share < 1:
            labels = f"{100 * share:g} % of {labels or 'them'}"
        words = f"{split} (labels: {labels})" if labels else split
        if INIT_KEY in known:  # no result of a training from scratch
            begun = known[INIT_KEY]
            words += f", begun with {Path(begun['path']).name} {begun['sha256'][:8]}"
        return words


@dataclass(frozen=True)
class MaskProtocol:
    """How the masks of one kind came about.

    Attributes:
        padding_policy: how padding is labeled: ``"ignore"``, ``"geoseg"`` (as the first class),
            ``"none"`` (there is none), or unknown.
        tiling: whole images, or how patches were cut; for people.
        patches: what the tool that cut them says; None of whole images and of other tools.
        is_cut: the images are patches.
    """

    padding_policy: str
    tiling: str
    patches: Annotated[Provenance | None, PlainValidator(_provenance)] = None
    is_cut: bool = False

    @property
    def image_files(self) -> str:
        """What tells images of other bands apart: the ending of the files they were cut from."""
        return (self.patches and self.patches.image_ending) or "as stored"

    def to_json(self) -> dict[str, Any]:
        """What a stamp in a file says of them."""
        patches = {"patches": self.patches.to_json()} if self.patches else {}
        return {"padding_policy": self.padding_policy, "tiling": self.tiling} | patches


def training_settings(
    experiment: Experiment, samples: Sequence[Sample], digests: dict[str, str]
) -> dict:
    """What a checkpoint remembers of its run: the settings, and the masks that it saw.

    Args:
        samples: of the training.
        digests: of their labels, see :func:`check_samples`.
    """
    kind, digest = next(iter(digests.items()))
    padding = mask_protocol(experiment.dataset, samples)[kind].padding_policy
    found = settings(experiment) | {PADDING_KEY: padding, LABELS_KEY: digest}
    found |= {
        DATA_SET_KEY: experiment.dataset.name,
        CLASSES_KEY: list(experiment.dataset.classes),
    }
    ending = _image_ending(samples)
    found |= {IMAGES_KEY: ending} if ending else {}
    provenance = read_provenance(samples[0].masks[kind].parent)
    points = provenance.points if provenance else None
    return found | ({POINTS_KEY: points.rule} if points else {})


def _image_ending(samples: Sequence[Sample]) -> str | None:
    provenance = read_provenance(samples[0].image.parent)
    return provenance.image_ending if provenance else None


def check_image_files(
    training: dict | None, info: DatasetInfo, samples: Sequence[Sample], checkpoint: Path
) -> None:
    """Raise an :class:`InputError` where a model of RGB images would be tested on infrared ones.

    Args:
        training: settings of the run that wrote the checkpoint, if they are known.
        samples: to test on.
    """
    record, own = TrainingRecord(training or {}), _image_ending(samples)
    trained = record.image_ending
    if record.data_set == info.name and trained and own and trained != own:
        raise InputError(
            f"{samples[0].image.parent}",
            f"cut from the images *{own}, but {checkpoint} was trained on *{trained}",
            "cut the same ones",
        )


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mask_protocol(
    info: DatasetInfo, samples: Sequence[Sample], is_whole: bool = False
) -> dict[str, MaskProtocol]:
    """How the masks came about, by label kind: padding policy and tiling.

    The patch tools write it beside the masks. Masks cut by other tools have no such record: what
    their padding is labeled tells its policy.

    Args:
        info: facts of the data set.
        samples: of one split.
        is_whole: the samples are whole frames, though the data set is one of patches.
    """
    if is_whole or not info.patched:
        return dict.fromkeys(samples[0].masks, MaskProtocol("none", "whole images"))
    return {kind: _one_mask_protocol(info, samples, kind) for kind in samples[0].masks}


def _one_mask_protocol(info: DatasetInfo, samples: Sequence[Sample], kind: str) -> MaskProtocol:
    folders: dict[Path, list[Sample]] = {}
    for sample in samples:
        folders.setdefault(sample.masks[kind].parent, []).append(sample)
    found = [_of_folder(info, inside, kind, folder) for folder, inside in folders.items()]
    return replace(
        found[0],
        padding_policy=_AND.join(dict.fromkeys(one.padding_policy for one in found)),
        tiling=_AND.join(dict.fromkeys(one.tiling for one in found)),
    )


def _of_folder(
    info: DatasetInfo, samples: Sequence[Sample], kind: str, folder: Path
) -> MaskProtocol:
    record = read_provenance(folder)
    if record is None or record.split_size is None:
        sizes = sorted({f"{height} x {width}" for height, width in (s.size for s in samples)})
        return MaskProtocol(
            padding_policy=_policy_by_labels(info, samples, kind),
            tiling=f"patches of {', '.join(sizes)}, cut elsewhere",
            is_cut=True,
        )
    # The images may have been cut again, from others, together with masks of another kind.
    ending = _image_ending(samples)
    record = replace(record, image_ending=ending or record.image_ending)
    return MaskProtocol(
        padding_policy=record.pad_policy or UNKNOWN,
        tiling=f"patches of {record.split_size}, stride {record.stride}",
        patches=record,
        is_cut=True,
    )


def _policy_by_labels(info: DatasetInfo, samples: Sequence[Sample], kind: str) -> str:
    """By the first patch with a black margin."""
    for sample in samples:
        top, left = padding_margin(read_image(sample.image, info))
        if top or left:
            labels = read_mask(sample.masks[kind], info)
            margin = np.concatenate([labels[:top].ravel(), labels[:, :left].ravel()])
            if (margin == info.ignore_index).all():
                return "ignore"
            return "geoseg" if (margin == 0).all() else UNKNOWN
    return "none"
