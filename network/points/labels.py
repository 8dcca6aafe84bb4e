"""Folders of sparse masks, which are drawn from dense masks or made from files of points."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from network.cluster import Workers
from network.datasets.files import read_mask
from network.datasets.folder_jobs import check_folders, check_replaceable, replacing_folders
from network.datasets.provenance import (
    PointRecord,
    Provenance,
    is_provenance,
    read_provenance,
    recorded_kind,
    write_hashed,
    write_provenance,
)
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, check_samples, find_samples
from network.datasets.workers import map_parallel
from network.errors import InputError
from network.points.files import Points, read_points
from network.points.rules import PointRule, draw_points, paint_points
from network.rasters.pixels import count_labels

POINTS = "points"
"""Label kind of masks that have labels only at points."""


@dataclass(frozen=True)
class PointCounts:
    """Numbers of the points that were made for one split.

    Attributes:
        points: number of points of each class.
        pixels: number of labeled pixels of each class, which is larger if discs were painted.
        dense: number of labeled pixels of each class in the dense masks; None if the points were
            not drawn from masks.
        images: number of images.
        empty: names of the images without points.
    """

    points: tuple[int, ...]
    pixels: tuple[int, ...]
    dense: tuple[int, ...] | None
    images: int
    empty: tuple[str, ...]


def make_point_labels(
    info: DatasetInfo,
    root: Path,
    split: str,
    name: str,
    source: PointRule | Path,
    *,
    radius: int = 0,
    workers: Workers = 1,
) -> PointCounts:
    """Write a folder of sparse masks beside each mask folder of a split.

    An older folder of the same name is replaced as a whole.

    Args:
        info: description of the data set.
        root: root folder of the data.
        split: name of the split.
        name: name of the new folders.
        source: a rule to draw points from the masks, or a file of points (see
            :func:`network.points.files.read_points`). For a file, no mask is opened.
        radius: radius in pixels of the discs that are painted. If points are drawn from masks, a
            disc ends where another class begins.
        workers: number of processes, or a cluster.

    Raises:
        InputError: data, points or folders cannot be used. Nothing is changed then.
    """
    if radius < 0:
        raise InputError(f"radius={radius}", "expected 0 or more")
    if not info.folders(split)[0].masks:
        raise InputError(info.name, f"has no masks of '{split}'", "take another split")
    relabeled = info.relabeled(split, _checked_name(name))
    outputs = [root / folder.masks[0].folder for folder in relabeled.folders(split)]
    inputs = [
        root / path
        for folder in info.folders(split)
        for path in (folder.images, *(mask.folder for mask in folder.masks))
    ]
    inputs += [source] if isinstance(source, Path) else []
    check_folders(inputs, outputs)
    is_drawn = isinstance(source, PointRule)
    rule: dict = {"radius": radius}
    if isinstance(source, PointRule):
        samples = find_samples(info, root, split)
        given: dict[str, Points] = {}
        rule |= asdict(source) | {"masks_sha256": masks_digest(samples, info, split)}
    else:
        samples = find_samples(info.relabeled(split, None), root, split)
        given = read_points(source, samples, info)
        rule |= {"file": source.name}
    names = {sample.image.stem for sample in samples}
    for output in outputs:
        _check_ours(output, names)
    with replacing_folders(*outputs) as partials:
        by_folder = {
            root / folder.images: partial
            for folder, partial in zip(info.folders(split), partials, strict=True)
        }
        jobs = [
            _Job(s, by_folder[s.image.parent] / f"{s.image.stem}.png", given.get(s.name))
            for s in samples
        ]
        write = _Writer(info, source if isinstance(source, PointRule) else None, radius)
        written = map_parallel(write, jobs, workers=workers, unit="image")
        results = [result for result, _ in written]
        counts = _total(jobs, results, is_drawn)
        if not any(counts.points):
            raise InputError(
                root,
                f"no pixel of '{split}' gets a point",
                "check the rule or the file of points",
            )
        for folder, partial in zip(info.folders(split), partials, strict=True):
            own = [n for n, job in enumerate(jobs) if job.path.parent == partial]
            of_folder = _total([jobs[n] for n in own], [results[n] for n in own], is_drawn)
            checksums = {jobs[n].path.name: written[n][1] for n in own}
            record = _record(root / folder.masks[0].folder, rule, of_folder)
            write_provenance(partial, record, checksums)
    return counts


def masks_digest(samples: Sequence[Sample], info: DatasetInfo, split: str) -> str:
    """Compute the SHA-256 of the masks from which points are drawn, the first kind of each image.

    Raises:
        InputError: a mask cannot be read or has a wrong label, or no pixel of the split has a
            class.
    """
    return next(iter(check_samples(samples, info, split).digests.values()))


def is_drawn_by(folder: Path, rule: PointRule, digest: str) -> bool:
    """Tell whether a folder holds the points that a rule draws from certain masks.

    Args:
        folder: the folder of sparse masks, with points of one pixel.
        rule: the rule.
        digest: SHA-256 of the masks, see :func:`masks_digest`.
    """
    record = _recorded_points(folder)
    return record.rule == {"radius": 0, **asdict(rule), "masks_sha256": digest}


def _recorded_points(folder: Path) -> PointRecord:
    """Read the record of the points in a folder; an empty one if there is none."""
    provenance = read_provenance(folder)
    return (provenance and provenance.points) or PointRecord()


def _total(jobs: Sequence["_Job"], results: Sequence["_Counts"], is_drawn: bool) -> PointCounts:
    points, pixels, dense = (np.sum(counts, axis=0) for counts in zip(*results, strict=True))
    return PointCounts(
        points=tuple(points.tolist()),
        pixels=tuple(pixels.tolist()),
        dense=tuple(dense.tolist()) if is_drawn else None,
        images=len(jobs),
        empty=tuple(
            job.sample.name for job, r in zip(jobs, results, strict=True) if not r[0].any()
        ),
    )


_Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Numbers of points, labeled pixels and labeled pixels of the dense mask, by class."""


@dataclass(frozen=True)
class _Job:
    """One mask to write."""

    sample: Sample
    path: Path
    points: Points | None


@dataclass(frozen=True)
class _Writer:
    """A function that writes one mask; it runs in a worker."""

    info: DatasetInfo
    rule: PointRule | None
    radius: int

    def __call__(self, job: _Job) -> tuple[_Counts, str]:
        """Write the mask; return its numbers and the checksum of the file."""
        info, k = self.info, self.info.num_classes
        truth, dense = None, np.zeros(k, int)
        points = job.points or Points(np.zeros((0, 2), int), np.zeros(0, int))
        if self.rule:
            truth = read_mask(next(iter(job.sample.masks.values())), info)
            places = draw_points(job.sample.name, truth, k, self.rule)
            points = Points(places, truth[tuple(places.T)])
            dense = count_labels(truth)[:k]
        mask = paint_points(
            points.places, points.labels, job.sample.size, info.ignore_index, self.radius, truth
        )
        counts = (
            np.bincount(points.labels, minlength=k),
            count_labels(mask)[:k],
            dense,
        )
        return counts, write_hashed(job.path, mask)


def _checked_name(name: str) -> str:
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(f"name={name}", "expected a folder's name, such as points_200")
    return name


def _check_ours(folder: Path, names: set[str]) -> None:
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if recorded_kind(folder, "") != POINTS:
        raise InputError(folder, "holds other files than points", "choose another name")
    check_replaceable(
        folder,
        lambda path: is_provenance(path) or (path.stem in names and path.suffix == ".png"),
    )


def _record(dense: Path, rule: dict, counts: PointCounts) -> Provenance:
    """Make the record, which keeps how the patches of the dense masks were cut and padded."""
    inherited = (read_provenance(dense) if dense.is_dir() else None) or Provenance()
    return replace(inherited, label_kind=POINTS, points=PointRecord(rule=rule, **asdict(counts)))


def dense_counts(folders: Sequence[Path]) -> tuple[int, ...]:
    """Count the pixels of each class in the dense masks from which points were drawn.

    Args:
        folders: folders of sparse masks, whose records have the numbers.

    Raises:
        InputError: a folder has no record, or its points were not drawn from masks.
    """
    found = []
    for folder in folders:
        counts = _recorded_points(folder).dense
        if not counts:
            raise InputError(
                folder,
                "not drawn from dense masks, but loss.counted=dense needs their counts",
                "give loss.counted=labels",
            )
        found.append(counts)
    return tuple(np.sum(found, axis=0).tolist())
