"""The protocol stamp: what was measured, on every result."""

import hashlib
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from network.config import Experiment, settings
from network.datasets.info import DatasetInfo
from network.datasets.patches import read_provenance
from network.errors import InputError

_PACKAGES = (
    "torch",
    "timm",
    "pytorch-lightning",
    "torchmetrics",
    "ttach",
    "opencv-python-headless",
)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mask_protocol(info: DatasetInfo, root: Path, split: str) -> dict[str, dict]:
    """How the masks of a split came about, by label kind: padding policy and tiling.

    The patch tools write it beside the masks. Masks cut by other tools have no such record,
    and their padding may be labeled as a class: ``unknown``.
    """
    protocols: dict[str, dict] = {}
    for folder in info.splits[split]:
        for masks in folder.masks:
            record = read_provenance(root / masks.folder)
            kind = (record or {}).get("label_kind", masks.kind)
            protocols.setdefault(kind, _one_mask_protocol(info, record))
    return protocols


def _one_mask_protocol(info: DatasetInfo, record: dict | None) -> dict:
    if info.tiles is None:
        return {"padding_policy": "none", "tiling": "whole images"}
    if record is None:
        return {"padding_policy": "unknown", "tiling": "patches, unknown"}
    size, stride = record.get("split_size"), record.get("stride")
    return {
        "padding_policy": record.get("pad_policy", "unknown"),
        "tiling": f"patches of {size}, stride {stride}",
        "patches": record,
    }


def has_seen(info: DatasetInfo, training: dict | None, used: str, split: str) -> bool | None:
    """Whether ``split`` shares a folder with one that a run has used; None: unknown.

    Args:
        training: settings of the run that wrote the checkpoint.
        used: ``"data.train"``, or ``"data.val"``, by which the checkpoint is chosen.
    """
    name = (training or {}).get(used, "unknown")
    if name is None:  # nothing was held out to choose by
        return False
    if name not in info.splits:
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
    label_kinds: list[str],
    images: int,
    checkpoint: str,
    sha256: str,
    training: dict | None,
    tta: str,
    views: int | None,
    boundary_tolerance: int,
) -> dict:
    """Everything that a reader needs to know which numbers these can be compared with.

    Args:
        checkpoint: its path, or where else the predictions come from.
        sha256: of the checkpoint, or of these predictions.
        training: settings of the run that wrote the checkpoint; None where it does not say.
        views: of the test-time augmentation; None where that is not known.
    """
    info = experiment.dataset
    masks = mask_protocol(info, experiment.root, split)
    return {
        "data_set": info.name,
        "split": split,
        "trained_on": has_seen(info, training, "data.train", split),
        "chosen_on": has_seen(info, training, "data.val", split),
        "images": images,
        "label_kinds": label_kinds,
        "masks": {kind: masks[kind] for kind in label_kinds},
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
        "seed": training["seed"] if training else None,
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
    masks = protocol["masks"][kind]
    split, views = protocol["split"], protocol["views"]
    for key, seen in (("trained_on", "TRAINED ON"), ("chosen_on", "CHECKPOINT CHOSEN ON")):
        unknown = f" (unknown if {seen.lower()})"
        split += {True: f" ({seen})", False: "", None: unknown}[protocol[key]]
    return {
        "data set": protocol["data_set"],
        "split": split,
        "images": str(protocol["images"]),
        "masks": kind,
        "padding": masks["padding_policy"],
        "tiling": masks["tiling"],
        "image files": masks.get("patches", {}).get("image_ending", "as stored"),
        "TTA": protocol["tta"] + (f" ({views} view{'s' * (views != 1)})" if views else ""),
        "classes": ", ".join(protocol["classes"]),
        "mean over": ", ".join(protocol["classes_in_mean"]),
        "trained on": (protocol["training"] or {}).get("data.train", "unknown"),
        "boundary tolerance": f"{protocol['boundary_tolerance']} pixels",
    }
