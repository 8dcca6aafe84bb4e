"""Check of scenes on Earth: their pixels, and the labels that count in each split."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from network.cluster import Workers
from network.datasets.checks.findings import Examined, Finding, finding_of
from network.datasets.checks.values import Values
from network.datasets.on_earth.find import SceneFiles, find_scene, list_files
from network.datasets.on_earth.scenes import Scenes
from network.datasets.open_image import open_image
from network.datasets.schema import DatasetInfo
from network.datasets.workers import map_parallel
from network.errors import InputError
from network.rasters.pixels import finite_pixels

_SIDE = 2048
"""Side of the windows in which pixels are read."""


@dataclass(frozen=True)
class _Pixels:
    """The facts and faults of an image that do not depend on its split."""

    findings: tuple[Finding, ...]
    content: str = ""
    no_data: int = 0


@dataclass(frozen=True)
class _Job:
    """An image whose labels in a split are examined."""

    split: str
    image: Path
    scenes: Scenes
    files: SceneFiles


def examine_scenes(
    info: DatasetInfo,
    root: Path,
    splits: Sequence[str],
    findings: list[Finding],
    *,
    workers: Workers,
) -> list[Examined]:
    """Examine all scenes of some splits. Each image is read once, even if it is in several splits.

    Args:
        info: description of the data set.
        root: root folder of the data.
        splits: names of the splits.
        findings: takes the faults that are not those of one image.
        workers: number of processes, or a cluster.

    Returns:
        The images that labels and areas of a split touch, and those that cannot be read.
    """
    jobs: list[_Job] = []
    for split in splits:
        for scenes in info.scenes(split):
            try:
                files = list_files(info, root, scenes)
            except InputError as error:
                findings.append(finding_of(error))
                continue
            jobs += [_Job(split, image, scenes, files) for image in files.images]
    if not jobs:
        return []
    # Labels come first: they are drawn here, one image after the other, as in training.
    labeled = [_labels_of(job, info, root) for job in jobs]
    used = [one for one in labeled if one is not None]
    for split in splits:
        own = [job for job in jobs if job.split == split]
        if own and not any(one.split == split for one in used):
            problem = f"no label and no area touches any of its {len(own)} images"
            remedy = "look at them in a GIS, and check their reference systems"
            findings.append(Finding(f"{split} split", problem, remedy))
    images = list(dict.fromkeys((one.image, _bands(one)) for one in used if one.size))
    read = map_parallel(_Reading(info), images, workers=workers, unit="image") if images else []
    found = dict(zip(images, read, strict=True))
    examined, told = [], set()
    for one in used:
        pixels = found.get((one.image, _bands(one)), _Pixels(()))
        # A fault of an image or of a file of labels is reported once, not for each split.
        new = [f for f in (*one.findings, *pixels.findings) if f not in told]
        told.update(new)
        examined.append(
            replace(one, findings=tuple(new), content=pixels.content, no_data=pixels.no_data)
        )
    return examined


def _bands(one: Examined) -> tuple[int, ...]:
    assert one.scenes is not None
    return one.scenes.bands


def _labels_of(job: _Job, info: DatasetInfo, root: Path) -> Examined | None:
    """Count the labels of an image in a split; None if no label and no area touches it."""
    try:
        scene = find_scene(job.image, job.files, info, root, job.scenes)
    except InputError as error:
        return Examined(job.split, job.image, {}, (finding_of(error),), scenes=job.scenes)
    if scene is None:
        return None
    pixels: tuple[int, ...] = ()
    masks = {}
    if scene.labels is not None:
        masks = {"eroded" if job.scenes.border else "full": scene.labels.path}
        counts = scene.labels.pixels.tolist()
        pixels = (*counts, scene.size[0] * scene.size[1] - sum(counts))
    return Examined(
        job.split,
        job.image,
        masks,
        (),
        size=scene.size,
        pixels=pixels,
        grid=scene.grid,
        scenes=job.scenes,
    )


@dataclass(frozen=True)
class _Reading:
    """A function that reads all pixels of an image, window by window; it runs in a worker."""

    info: DatasetInfo

    def __call__(self, item: tuple[Path, tuple[int, ...]]) -> _Pixels:
        image, bands = item
        try:
            with open_image(image, self.info, bands or None) as source:
                height, width = source.size
                digest, no_data = hashlib.sha256(f"{source.size}".encode()), 0
                values = Values()
                for top in range(0, height, _SIDE):
                    for left in range(0, width, _SIDE):
                        rows = slice(top, min(top + _SIDE, height))
                        columns = slice(left, min(left + _SIDE, width))
                        raster = source.read_raster(rows, columns)
                        digest.update(raster.values.tobytes())
                        values.add(raster)
                        valid = finite_pixels(raster.values, raster.valid)
                        no_data += 0 if valid is None else int(np.count_nonzero(~valid))
        except InputError as error:
            return _Pixels((finding_of(error),))
        findings = [Finding(str(image), *fault) for fault in values.faults()]
        if no_data == height * width:
            findings.append(Finding(str(image), "none of its pixels has data", "remove it"))
        return _Pixels(tuple(findings), digest.hexdigest(), no_data)
