"""Facts that decide which results can be compared: the masks and the training of a checkpoint."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import PlainValidator

from network.config import Experiment, settings
from network.datasets.files import read_image, read_mask
from network.datasets.overlap import splits_overlap
from network.datasets.provenance import Provenance, read_provenance
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.datasets.windows import padding_margin
from network.differences import CLASSES_KEY
from network.errors import InputError

_READ = 2000
"""Number of patches that are searched for padding, if there are more."""

UNKNOWN = "unknown"
"""Value of an unknown fact; two unknown facts do not count as equal."""

DATA_SET_KEY, PADDING_KEY = "data.data_set", "data.padding"
LABELS_KEY, POINTS_KEY = "data.labels_sha256", "data.points"
"""Keys of a checkpoint's settings that describe the masks that it was trained on."""
IMAGES_KEY = "data.image_ending"
"""Key of the ending of the files that the patches were cut from, if it is known."""
PROCESSES_KEY = "processes"
"""Key of the number of processes, each of which had its own batch in each step."""
EXTENDED_KEY, INIT_KEY = "extended", "init_from"
"""Keys of the history of a run, if it has one.

The first holds (epochs done, epochs planned before, epochs planned now) for each time that the run
was made longer. The second holds path and sha256 of the weights that the run began with, and their
settings of ``SEEN_KEYS``.
"""
HISTORY = (EXTENDED_KEY, INIT_KEY)
"""Keys that a resumed run keeps from the run before."""

ALL_GROUND = ", all ground"
"""End of the name of a split that has all ground of another one, without labels."""

SEEN_KEYS = (DATA_SET_KEY, "data.train", "data.val", "data.unlabeled", INIT_KEY)
"""Keys of the settings that say which images a run has seen."""


# Joins the policies of several folders, also in files.
_AND = " and "


def is_known_policy(policy: str) -> bool:
    """Tell whether a padding policy is known; of several folders, whether all are known."""
    return UNKNOWN not in policy.split(_AND)


def _provenance(document: Any) -> Provenance | None:
    return None if document is None else Provenance.from_json(document)


@dataclass(frozen=True)
class TrainingRecord:
    """The training settings that a checkpoint holds, with a property for each important one.

    Attributes:
        settings: all settings of the run by key, and those that :func:`training_settings` adds;
            empty if the checkpoint has none.
    """

    settings: Mapping[str, Any]

    @property
    def data_set(self) -> str | None:
        """Name of the data set; None if unknown."""
        return self.settings.get(DATA_SET_KEY)

    @property
    def image_ending(self) -> str | None:
        """Ending of the files that the patches were cut from; None if unknown."""
        return self.settings.get(IMAGES_KEY)

    @property
    def padding(self) -> str:
        """Padding policy of the training masks."""
        return str(self.settings.get(PADDING_KEY, UNKNOWN))

    @property
    def knows_data(self) -> bool:
        """Whether the record names the split that the run was trained on."""
        return self.settings.get("data.train", UNKNOWN) != UNKNOWN

    @property
    def seed(self) -> int | None:
        """Seed of weights, augmentation and order; None if unknown."""
        return self.settings.get("seed")

    def has_seen(self, info: DatasetInfo, root: Path, used: str, split: str) -> bool | None:
        """Tell whether a split shares images with one that the run used; None if unknown.

        The runs whose weights it began with count, too.

        Args:
            info: description of the data set of the split.
            root: root folder of the data.
            used: key of the used split: ``"data.train"``; ``"data.val"``, by which the checkpoint
                is chosen; or ``"data.unlabeled"``.
            split: name of the tested split.
        """
        own = self._has_seen(info, root, used, split)
        begun = self.settings.get(INIT_KEY)
        if not isinstance(begun, Mapping) or own:
            return own
        known = begun.get("settings")  # which older code did not keep
        record = TrainingRecord(known if isinstance(known, Mapping) else {})
        before = record.has_seen(info, root, used, split)
        return before if before or own is not None else None

    def _has_seen(self, info: DatasetInfo, root: Path, used: str, split: str) -> bool | None:
        # Older code knew no images without labels.
        name = self.settings.get(used, None if used == "data.unlabeled" else UNKNOWN)
        if isinstance(name, str):
            name = name.removesuffix(ALL_GROUND)
        if name is None:  # no split was held out to choose the checkpoint
            return False
        if self.settings.get(DATA_SET_KEY, info.name) != info.name:
            return False
        if name not in info.splits:
            return None
        if split not in info.splits:  # frames of UAVid in a folder of any name
            return None
        return splits_overlap(info, root, split, name)

    def trained_on(self, data_set: str) -> str:
        """Describe the training data of the run in a few words.

        Args:
            data_set: name of the data set that the reader expects. The data set of the training is
                named only if it is another one.
        """
        known = self.settings
        split, labels = known.get("data.train", UNKNOWN), known.get("data.train_labels")
        if known.get(DATA_SET_KEY, data_set) != data_set:
            split = f"{known[DATA_SET_KEY]} {split}"
        if labels and LABELS_KEY in known:
            labels += f" {known[LABELS_KEY][:8]}"  # folders of the same name may hold other points
        share = known.get("data.label_share", 1.0)
        if share < 1:
            labels = f"{100 * share:g} % of {labels or 'them'}"
        share = known.get("data.image_share", 1.0)
        if share < 1:
            split = f"{100 * share:g} % of {split}"
        words = f"{split} (labels: {labels})" if labels else split
        if known.get("data.unlabeled"):
            words += f", and on {known['data.unlabeled']} without labels"
        if INIT_KEY in known:  # the run was not trained from scratch
            begun = known[INIT_KEY]
            words += f", begun with {Path(begun['path']).name} {begun['sha256'][:8]}"
        return words


@dataclass(frozen=True)
class MaskProtocol:
    """A description of how the masks of one kind were made.

    Attributes:
        padding_policy: labels of the padding: ``"ignore"``, ``"geoseg"`` (the first class),
            ``"none"`` (there is no padding), or unknown.
        tiling: text for people that says how patches were cut, or that images are whole.
        patches: record of the tool that cut the patches; None for whole images and other tools.
        is_cut: whether the images are patches.
    """

    padding_policy: str
    tiling: str
    patches: Annotated[Provenance | None, PlainValidator(_provenance)] = None
    is_cut: bool = False

    @property
    def image_files(self) -> str:
        """Ending of the files that patches were cut from; it differs for images of other bands."""
        return (self.patches and self.patches.image_ending) or "as stored"

    def to_json(self) -> dict[str, Any]:
        """Convert to the form that a stamp has in a JSON file."""
        patches = {"patches": self.patches.to_json()} if self.patches else {}
        return {"padding_policy": self.padding_policy, "tiling": self.tiling} | patches


def training_settings(
    experiment: Experiment, samples: Sequence[Sample], digests: dict[str, str]
) -> dict:
    """Collect what a checkpoint stores about its run: the settings and the training masks.

    Args:
        experiment: the experiment.
        samples: the training samples.
        digests: digests of their labels, see :func:`check_samples`.
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
    """Raise an :class:`InputError` if the patches were cut from other image files than in training.

    An example is a model that was trained on RGB images, with patches of IRRG images for the test.

    Args:
        training: settings of the run that wrote the checkpoint, if they are known.
        info: description of the data set.
        samples: the samples to test on.
        checkpoint: the checkpoint file, for the error.
    """
    record, own = TrainingRecord(training or {}), _image_ending(samples)
    trained = record.image_ending
    if record.data_set == info.name and trained and own and trained != own:
        raise InputError(
            f"{samples[0].image.parent}",
            f"cut from the images *{own}, but {checkpoint} was trained on *{trained}",
            f"cut the patches from *{trained} again",
        )


def mask_protocol(
    info: DatasetInfo, samples: Sequence[Sample], is_whole: bool = False
) -> dict[str, MaskProtocol]:
    """Find out how masks were made, by label kind: padding policy and tiling.

    The patch tools write a record beside the masks. Masks that other tools have cut have no such
    record, so the labels of their padding tell the policy.

    Args:
        info: description of the data set.
        samples: the samples of one split.
        is_whole: whether the samples are whole frames, although the data set consists of patches.
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
        # Only sets of whole tiles are cut into padded patches.
        is_exact = info.patch_names and not info.tiles
        return MaskProtocol(
            padding_policy="none" if is_exact else _policy_by_labels(info, samples, kind),
            tiling=f"patches of {', '.join(sizes)}, cut elsewhere",
            is_cut=True,
        )
    # The images may have been cut again, from other files, together with masks of another kind.
    ending = _image_ending(samples)
    record = replace(record, image_ending=ending or record.image_ending)
    return MaskProtocol(
        padding_policy=record.pad_policy or UNKNOWN,
        tiling=f"patches of {record.split_size}, stride {record.stride}",
        patches=record,
        is_cut=True,
    )


def _policy_by_labels(info: DatasetInfo, samples: Sequence[Sample], kind: str) -> str:
    """Find out the padding policy by the labels of the first patch with a black margin.

    Of very many patches, only some are read. They are drawn, since patches with a margin follow at
    equal distances. If one patch in 300 has a margin, none of them is drawn once in 800 times.
    """
    drawn = random.Random(0).sample(range(len(samples)), min(_READ, len(samples)))
    for number in sorted(drawn):
        sample = samples[number]
        top, left = padding_margin(read_image(sample.image, info))
        if top or left:
            labels = read_mask(sample.masks[kind], info)
            margin = np.concatenate([labels[:top].ravel(), labels[:, :left].ravel()])
            if (margin == info.ignore_index).all():
                return "ignore"
            return "geoseg" if (margin == 0).all() else UNKNOWN
    return "none"
