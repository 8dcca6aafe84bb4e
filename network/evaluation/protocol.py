"""The protocol stamp: what was measured, on every result."""

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from network.config import Experiment, default_settings, settings
from network.datasets.files import read_image, read_mask
from network.datasets.provenance import read_provenance
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.datasets.windows import padding_margin
from network.errors import InputError

_PACKAGES = (
    "torch",
    "timm",
    "pytorch-lightning",
    "torchmetrics",
    "ttach",
    "opencv-python-headless",
)


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


def is_unknown(value: str) -> bool:
    """Whether a field of :func:`comparability` says that nobody knows."""
    return UNKNOWN in value.split(" and ") or "(unknown if " in value


def training_settings(
    experiment: Experiment, samples: Sequence[Sample], digests: dict[str, str]
) -> dict:
    """What a checkpoint remembers of its run: the settings, and the masks that it saw.

    Args:
        samples: of the training.
        digests: of their labels, see :func:`check_samples`.
    """
    kind, digest = next(iter(digests.items()))
    padding = mask_protocol(experiment.dataset, samples)[kind]["padding_policy"]
    found = settings(experiment) | {PADDING_KEY: padding, LABELS_KEY: digest}
    found |= {
        DATA_SET_KEY: experiment.dataset.name,
        CLASSES_KEY: list(experiment.dataset.classes),
    }
    ending = _image_ending(samples)
    found |= {IMAGES_KEY: ending} if ending else {}
    provenance = read_provenance(samples[0].masks[kind].parent)
    points = provenance and provenance.points
    return found | ({POINTS_KEY: points.rule} if points else {})


def _image_ending(samples: Sequence[Sample]) -> str | None:
    provenance = read_provenance(samples[0].image.parent)
    return provenance and provenance.image_ending


def check_image_files(
    training: dict | None, info: DatasetInfo, samples: Sequence[Sample], checkpoint: Path
) -> None:
    """Raise an :class:`InputError` where a model of RGB images would be tested on infrared ones.

    Args:
        training: settings of the run that wrote the checkpoint, if they are known.
        samples: to test on.
    """
    trained, own = (training or {}).get(IMAGES_KEY), _image_ending(samples)
    is_same_set = (training or {}).get(DATA_SET_KEY) == info.name
    if is_same_set and trained and own and trained != own:
        raise InputError(
            f"{samples[0].image.parent}: cut from the images *{own}, but {checkpoint} was trained "
            f"on *{trained}; cut the same ones"
        )


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mask_protocol(
    info: DatasetInfo, samples: Sequence[Sample], is_whole: bool = False
) -> dict[str, dict]:
    """How the masks came about, by label kind: padding policy and tiling.

    The patch tools write it beside the masks. Masks cut by other tools have no such record: what
    their padding is labeled tells its policy.

    Args:
        is_whole: the samples are whole frames, though the data set is one of patches.
    """
    if is_whole or not info.patched:
        whole = {"padding_policy": "none", "tiling": "whole images"}
        return {kind: dict(whole) for kind in samples[0].masks}
    return {kind: _one_mask_protocol(info, samples, kind) for kind in samples[0].masks}


def _one_mask_protocol(info: DatasetInfo, samples: Sequence[Sample], kind: str) -> dict:
    folders: dict[Path, list[Sample]] = {}
    for sample in samples:
        folders.setdefault(sample.masks[kind].parent, []).append(sample)
    found = [_of_folder(info, inside, kind, folder) for folder, inside in folders.items()]
    both = {
        key: " and ".join(dict.fromkeys(one[key] for one in found))
        for key in ("padding_policy", "tiling")
    }
    return {**found[0], **both}


def _of_folder(info: DatasetInfo, samples: Sequence[Sample], kind: str, folder: Path) -> dict:
    record = read_provenance(folder)
    if record is None or record.split_size is None:
        sizes = sorted({f"{height} x {width}" for height, width in (s.size for s in samples)})
        return {
            "padding_policy": _policy_by_labels(info, samples, kind),
            "tiling": f"patches of {', '.join(sizes)}, cut elsewhere",
        }
    # The images may have been cut again, from others, together with masks of another kind.
    ending = _image_ending(samples)
    record = replace(record, image_ending=ending or record.image_ending)
    return {
        "padding_policy": record.pad_policy or UNKNOWN,
        "tiling": f"patches of {record.split_size}, stride {record.stride}",
        "patches": record.to_json(),
    }


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


def has_seen(info: DatasetInfo, training: dict | None, used: str, split: str) -> bool | None:
    """Whether ``split`` shares a folder with one that a run has used; None: unknown.

    Args:
        training: settings of the run that wrote the checkpoint.
        used: ``"data.train"``, or ``"data.val"``, by which the checkpoint is chosen.
    """
    name = (training or {}).get(used, UNKNOWN)
    if name is None:  # nothing was held out to choose by
        return False
    if (training or {}).get(DATA_SET_KEY, info.name) != info.name:
        return False
    if name not in info.splits:
        return None
    if split not in info.splits:  # frames of UAVid in a folder of any name
        return None
    return bool(set(info.splits[split]) & set(info.splits[name]))


# What a resumed run may change: neither its weights nor its choice of the best depend on it.
_FREE = {
    "name",
    "data.root",
    "data.test",
    "data.workers",
    "data.val_batch_size",
    "model.weights",
    "model.checkpoint_encoder",
    "model.checkpoint_decoder",
}
# What of the model a test does not depend on.
_TRAINING_ONLY = _FREE | {"model.drop_path", "model.learn_alpha", "model.aux"}


def changes_training(key: str) -> bool:
    """Whether a resumed run depends on the setting ``key``."""
    return key not in _FREE and not key.startswith("compute.")


def defines_training(key: str) -> bool:
    """Whether runs that differ in the setting ``key`` are runs of different models.

    Where the data lies is left to the digest of its labels.
    """
    return changes_training(key) or key == "model.weights"


def changes_predictions(key: str) -> bool:
    """Whether a trained model predicts otherwise with another setting ``key``."""
    is_model = key.startswith("model.") and key not in _TRAINING_ONLY
    return is_model or key in ("data.mean", "data.std")


def check_same_settings(
    training: dict, experiment: Experiment, checkpoint: Path, matters: Callable[[str], bool]
) -> None:
    """Compare the settings that a checkpoint was trained with to those of ``experiment``.

    Args:
        matters: which of them are compared, by key.

    Raises:
        InputError: one differs.
    """
    training = default_settings(experiment) | training
    for key, value in settings(experiment).items():
        if matters(key) and key in training and training[key] != value:
            raise InputError(
                f"{checkpoint}: was trained with {key}={training[key]}, not {value}; "
                f"give {key}={training[key]}, or train anew"
            )


def stamp(
    experiment: Experiment,
    *,
    split: str,
    samples: Sequence[Sample],
    digests: dict[str, str],
    checkpoint: str,
    sha256: str,
    training: dict | None,
    tta: str,
    views: int | None,
    boundary_tolerance: int,
    is_whole: bool = False,
) -> dict:
    """Everything that a reader needs to know which numbers these can be compared with.

    Args:
        samples: of the split.
        digests: of their labels, see :func:`check_samples`.
        checkpoint: its path, or where else the predictions come from.
        sha256: of the checkpoint, or of these predictions.
        training: settings of the run that wrote the checkpoint; None where it does not say.
        views: of the test-time augmentation; None where that is not known.
        is_whole: see :func:`mask_protocol`.
    """
    info = experiment.dataset
    return {
        "data_set": info.name,
        "split": split,
        "trained_on": has_seen(info, training, "data.train", split),
        "chosen_on": has_seen(info, training, "data.val", split),
        "images": len(samples),
        "label_kinds": list(digests),
        "masks": mask_protocol(info, samples, is_whole) if digests else {},
        "labels_sha256": digests,
        "classes": list(info.classes),
        "classes_in_mean": [info.classes[label] for label in info.scored],
        "tta": tta,
        "views": views,
        "boundary_tolerance": boundary_tolerance,
        "checkpoint": checkpoint,
        "checkpoint_sha256": sha256,
        "config": experiment.config,
        "settings": settings(experiment),
        "training": training,
        "seed": (training or {}).get("seed"),
        "precision": experiment.compute.precision,
        "software": {"python": platform.python_version()}
        | {package: version(package) for package in _PACKAGES},
    }


def comparability(protocol: dict, kind: str) -> dict[str, str]:
    """What two results must share to stand in one table, by its name.

    Args:
        protocol: a stamp.
        kind: of the labels.

    Raises:
        KeyError: the stamp is not of :func:`stamp`.
    """
    masks, training = protocol["masks"][kind], protocol["training"] or {}
    split, views = protocol["split"], protocol["views"]
    for key, seen in (("trained_on", "TRAINED ON"), ("chosen_on", "CHECKPOINT CHOSEN ON")):
        unknown = f" (unknown if {seen.lower()})"
        split += {True: f" ({seen})", False: "", None: unknown}[protocol[key]]
    trained_on, labels = training.get("data.train", UNKNOWN), training.get("data.train_labels")
    if training.get(DATA_SET_KEY, protocol["data_set"]) != protocol["data_set"]:
        trained_on = f"{training[DATA_SET_KEY]} {trained_on}"
    if labels and LABELS_KEY in training:
        labels += f" {training[LABELS_KEY][:8]}"  # folders of one name may hold other points
    share = training.get("data.label_share", 1.0)
    if share < 1:
        labels = f"{100 * share:g} % of {labels or 'them'}"
    trained_on = f"{trained_on} (labels: {labels})" if labels else trained_on
    if INIT_KEY in training:  # no result of a training from scratch
        begun = training[INIT_KEY]
        trained_on += f", begun with {Path(begun['path']).name} {begun['sha256'][:8]}"
    return {
        "data set": protocol["data_set"],
        "split": split,
        "images": str(protocol["images"]),
        "masks": kind,
        "labels": protocol["labels_sha256"][kind][:12],
        "padding": masks["padding_policy"],
        "tiling": masks["tiling"],
        "image files": masks.get("patches", {}).get("image_ending", "as stored"),
        "TTA": protocol["tta"] + (f" ({views} view{'s' * (views != 1)})" if views else ""),
        "classes": ", ".join(protocol["classes"]),
        "mean over": ", ".join(protocol["classes_in_mean"]),
        "trained on": trained_on,
        "padding in training": training.get(PADDING_KEY, UNKNOWN),
        "boundary tolerance": f"{protocol['boundary_tolerance']} pixels",
    }
