"""Check of a data set, which examines every file of every split and reports all findings at once.

Training and testing stop at the first file that they cannot use. This check goes on. It also finds
faults that they cannot see: images that two splits share, tiles in the wrong split, color tables
that contradict the classes, and classes without pixels.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network.cluster import Workers
from network.datasets.checks.findings import Examined, Finding, finding_of
from network.datasets.checks.ground import Distance, compare_ground
from network.datasets.checks.images import Examination, Job
from network.datasets.checks.scenes import examine_scenes
from network.datasets.files import list_used
from network.datasets.provenance import (
    CHECKSUMS_FILE,
    changed_files,
    recorded_kind,
    tile_of_patch,
)
from network.datasets.schema import SPLITS, DatasetInfo, Folder
from network.datasets.workers import map_parallel
from network.errors import InputError


@dataclass(frozen=True)
class Diagnosis:
    """Result of the examination of a whole data set.

    Attributes:
        info: description of the data set.
        root: root folder of the data.
        images: all images that were examined.
        findings: all faults, also those of the images.
        distances: how far splits are from each other on Earth, where that is known.
    """

    info: DatasetInfo
    root: Path
    images: tuple[Examined, ...]
    findings: tuple[Finding, ...] = ()
    distances: tuple[Distance, ...] = ()

    def of_split(self, split: str) -> list[Examined]:
        return [image for image in self.images if image.split == split]

    def pixels(self, split: str) -> np.ndarray:
        """Count the pixels of each label in a split; the ignored ones come last."""
        counts = [image.pixels for image in self.of_split(split) if image.pixels]
        return np.sum(counts, axis=0) if counts else np.zeros(self.info.num_classes + 1, int)

    def no_data_share(self, split: str) -> float:
        """Compute the share (0 to 1) of the pixels of a split that have no data."""
        images = [image for image in self.of_split(split) if image.size]
        total = sum(math.prod(image.size) for image in images if image.size)
        return sum(image.no_data for image in images) / total if total else 0.0


def examine(
    info: DatasetInfo, root: Path, splits: Sequence[str] = SPLITS, *, workers: Workers = 1
) -> Diagnosis:
    """Examine every image and mask of a data set.

    Args:
        info: description of the data set.
        root: root folder of the data.
        splits: names of the splits to examine.
        workers: number of processes, or a cluster.

    Raises:
        InputError: the folder of the data set does not exist.
    """
    if not root.is_dir():
        raise InputError(root, "no such folder", "give data.root=PATH")
    findings: list[Finding] = []
    jobs = [
        job
        for split in splits
        for folder in _folders(info, split)
        for job in _jobs(root, split, folder, findings)
    ]
    images = map_parallel(Examination(info), jobs, workers=workers, unit="image") if jobs else []
    images += examine_scenes(info, root, splits, findings, workers=workers)
    for image in images:
        findings += image.findings
    findings += _checksum_findings(info, root, splits, {f.where for f in findings}, workers)
    findings += _shared_images(images)
    overlaps, distances = compare_ground(root, splits, images)
    findings += overlaps
    for split in splits:
        names = [image.image.stem for image in images if image.split == split]
        findings += _tile_findings(info, split, names) if info.tile_splits else []
        findings += _count_findings(info, split, names)
    diagnosis = Diagnosis(info, root, tuple(images))
    findings += _class_findings(diagnosis, splits)
    return Diagnosis(info, root, tuple(images), tuple(findings), tuple(distances))


def _folders(info: DatasetInfo, split: str) -> list[Folder]:
    return [part for part in info.splits[split] if isinstance(part, Folder)]


def _jobs(root: Path, split: str, folder: Folder, findings: list[Finding]) -> list[Job]:
    """List the images of one folder with their masks; add files without a partner as findings."""
    try:
        images = list_used(root / folder.images, folder)
    except InputError as error:
        findings.append(finding_of(error))
        return []
    masks: dict[str, dict[str, Path]] = {}
    for mask_folder in folder.masks:
        path = root / mask_folder.folder
        if mask_folder.optional and not path.is_dir():
            continue
        try:
            kind = recorded_kind(path, mask_folder.kind)
            masks[kind] = list_used(path, folder)
        except InputError as error:
            findings.append(finding_of(error))
            continue
        for name in sorted(images.keys() - masks[kind].keys()):
            findings.append(
                Finding(
                    str(images[name]),
                    f"no mask of this name in {path}",
                    "add it, or remove this file",
                )
            )
        for name in sorted(masks[kind].keys() - images.keys()):
            where = str(masks[kind][name])
            problem = f"no image of this name in {root / folder.images}"
            findings.append(Finding(where, problem, "add it, or remove this file"))
    return [
        Job(split, path, {kind: paths[name] for kind, paths in masks.items() if name in paths})
        for name, path in images.items()
    ]


def _checksum_findings(
    info: DatasetInfo, root: Path, splits: Sequence[str], known: set[str], workers: Workers
) -> list[Finding]:
    """Find files that do not match the checksums of the patch tools, even if they can be decoded.

    Args:
        info: description of the data set.
        root: root folder of the data.
        splits: names of the splits to examine.
        known: files that have a finding already.
        workers: number of processes, or a cluster.
    """
    of_splits = [folder for split in splits for folder in _folders(info, split)]
    named = [(f.images, *(masks.folder for masks in f.masks)) for f in of_splits]
    folders = sorted({root / name for names in named for name in names if (root / name).is_dir()})
    found = map_parallel(_changed, folders, workers=workers, unit="folder") if folders else []
    return [finding for some in found for finding in some if finding.where not in known]


def _changed(folder: Path) -> list[Finding]:
    """Check the checksums of one folder; this runs in a worker."""
    try:
        paths = changed_files(folder)
    except InputError as error:
        return [finding_of(error)]
    problem, remedy = f"does not match its checksum in {CHECKSUMS_FILE}", "make the folder again"
    return [
        Finding(str(path), problem if path.exists() else "is missing", remedy) for path in paths
    ]


def _shared_images(images: Sequence[Examined]) -> list[Finding]:
    """Find images with the same pixels: leakage between splits, or copies.

    A scene may be in several splits, which have areas of their own in it.
    """
    by_content: dict[str, dict[tuple[Path, int], Examined]] = defaultdict(dict)
    for number, image in enumerate(images):
        if image.content:
            key = (image.image, -1 if image.scenes else number)
            by_content[image.content].setdefault(key, image)
    findings = []
    for same in map(list, map(dict.values, by_content.values())):
        for other in same[1:]:
            first = same[0]
            leak = first.split != other.split
            where = f"the {first.split} image {first.image}"
            problem = f"the same pixels as {where}" + (" (leakage)" if leak else "")
            remedy = "remove it from one of the splits" if leak else "remove one of them"
            findings.append(Finding(str(other.image), problem, remedy))
    return findings


def _tile_findings(info: DatasetInfo, split: str, names: Sequence[str]) -> list[Finding]:
    """Find patches of tiles that are officially in another split or in none, and missing tiles."""
    official = {tile: name for name, tiles in info.tile_splits.items() for tile in tiles}
    tiles = {tile for name in names if (tile := tile_of_patch(name)) is not None}
    findings = []
    for tile in sorted(tiles):
        if tile in info.left_out:
            problem = f"in the {split} split, but mislabeled and in no official split"
            findings.append(Finding(tile, problem, "leave this tile out"))
        elif tile not in official:
            problem = f"in the {split} split, but in no official split"
            findings.append(Finding(tile, problem, "move its patches out of this folder"))
        elif official[tile] != split:
            problem = f"in the {split} split, officially a {official[tile]} tile"
            findings.append(Finding(tile, problem, f"move it to {official[tile]}"))
    missing = [tile for tile in info.tile_splits[split] if tile not in tiles] if names else []
    if missing:
        problem = f"{len(missing)} of {len(info.tile_splits[split])} official tiles have no patch"
        findings.append(
            Finding(f"{split} split", f"{problem}, the first is {missing[0]}", "add them")
        )
    return findings


def _count_findings(info: DatasetInfo, split: str, names: Sequence[str]) -> list[Finding]:
    expected = info.image_counts.get(split)
    if expected is None or not names or len(names) == expected:
        return []
    problem = f"{len(names)} images, officially {expected}"
    return [
        Finding(f"{split} split", problem, "add what is missing, or remove what does not belong")
    ]


def _class_findings(diagnosis: Diagnosis, splits: Sequence[str]) -> list[Finding]:
    info, findings = diagnosis.info, []
    for split in splits:
        counts = diagnosis.pixels(split)
        if not any(image.pixels for image in diagnosis.of_split(split)):
            continue
        absent = [name for name, n in zip(info.classes, counts, strict=False) if n == 0]
        if absent:
            problem = f"no pixel of {', '.join(absent)}"
            remedy = "nothing can be learned of it" if split == "train" else "it gets no score"
            findings.append(Finding(f"{split} split", problem, remedy))
    return findings
