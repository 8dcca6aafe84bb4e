"""The protocol stamp: what was measured, on every result."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from network.config import Experiment, settings
from network.datasets.info import DatasetInfo, Folder
from network.datasets.patches import read_provenance

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


def label_protocol(info: DatasetInfo, root: Path, split: str) -> dict:
    """How the labels of a split came about: padding policy and tiling.

    Written by the patch tools beside the masks. Masks cut by other tools have no such record,
    and their padding may be labeled as a class: ``unknown``.
    """
    folders: tuple[Folder, ...] = info.splits[split]
    records = [
        read_provenance(root / labels.folder) for folder in folders for labels in folder.labels
    ]
    record = next((record for record in records if record), None)
    if info.tiles is None:
        return {"padding_policy": "none, whole images", "tiling": "whole images"}
    if record is None:
        return {"padding_policy": "unknown", "tiling": "patches, unknown size"}
    return {
        "padding_policy": record["pad_policy"],
        "tiling": f"patches of {record['split_size']}, stride {record['stride']}",
    }


def is_trained_on(experiment: Experiment, split: str) -> bool:
    """Whether ``split`` shares a folder with the training split: no score of generalization."""
    folders = experiment.dataset.splits
    return bool(set(folders[split]) & set(folders[experiment.data.train]))


def stamp(
    experiment: Experiment,
    *,
    split: str,
    label_kinds: list[str],
    images: int,
    checkpoint: Path,
    tta: str,
    views: int,
    precision: str,
) -> dict:
    """Everything that a reader needs to know which numbers these can be compared with."""
    info = experiment.dataset
    return {
        "data_set": info.name,
        "split": split,
        "trained_on": is_trained_on(experiment, split),
        "images": images,
        "label_kinds": label_kinds,
        **label_protocol(info, experiment.root, split),
        "classes": list(info.classes),
        "classes_in_mean": [info.classes[label] for label in info.scored],
        "tta": tta,
        "views": views,
        "checkpoint": checkpoint.as_posix(),
        "checkpoint_sha256": file_hash(checkpoint),
        "config": experiment.config,
        "settings": settings(experiment),
        "seed": experiment.seed,
        "precision": precision,
        "software": {"python": platform.python_version()}
        | {package: version(package) for package in _PACKAGES},
    }
