"""Comparison of the ground that splits cover: where they overlap, and how far apart they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from network.datasets.checks.findings import Examined, Finding
from network.datasets.on_earth.files import AreaFile
from network.errors import InputError, warn
from network.extras import require_extra

if TYPE_CHECKING:
    from network.datasets.on_earth.footprints import Footprints


@dataclass(frozen=True)
class Distance:
    """How far two splits are from each other on Earth.

    Attributes:
        one: name of the first split.
        other: name of the second split.
        meters: smallest distance between their images, or areas in them; 0 if they overlap.
    """

    one: str
    other: str
    meters: float


def compare_ground(
    root: Path, splits: Sequence[str], images: Sequence[Examined]
) -> tuple[list[Finding], list[Distance]]:
    """Compare the ground that the images of splits cover, as far as they lie on Earth.

    Of a scene, only the part in the areas of the split counts.

    Args:
        root: root folder of the data.
        splits: names of the splits.
        images: the examined images.

    Returns:
        A finding for each two splits that overlap; and the distances of all splits.
    """
    placed = [image for image in images if image.grid]
    if len({image.split for image in placed}) < 2:
        return [], []
    try:
        require_extra("vectors", "the comparison of splits on Earth")
    except InputError as error:
        warn(f"{error}; so nobody knows whether they overlap")
        return [], []
    from network.datasets.on_earth.footprints import Cover, footprints

    covers = []
    for image in placed:
        assert image.grid is not None
        covers.append(Cover(image.split, image.image, image.grid, _areas_of(root, image)))
    try:
        found = footprints(covers)
    except InputError as error:
        return [Finding(error.where, error.problem, error.remedy)], []
    if found is None:
        return [], []
    findings, distances = [], []
    for one, other in combinations(splits, 2):
        nearest = found.nearest(one, other)
        if nearest is None:
            continue
        finding = _overlap(found, one, other)
        findings += [finding] if finding else []
        distances.append(Distance(one, other, 0.0 if finding else nearest.meters))
    return findings, distances


def _areas_of(root: Path, image: Examined) -> AreaFile | None:
    areas = image.scenes and image.scenes.areas
    return replace(areas, path=root / areas.path) if areas else None


def _overlap(found: "Footprints", one: str, other: str) -> Finding | None:
    overlaps = found.overlaps(one, other)
    if not overlaps:
        return None
    total, share = found.shared_area(overlaps, other)
    largest = overlaps[0]
    longitude, latitude = found.degrees(largest.shape)
    names = [found.path(one, largest.one), found.path(other, largest.other)]
    where = " and ".join(dict.fromkeys(str(name) for name in names))
    problem = (
        f"the same ground in both: {_area(total)}, which is {_percent(share)} % of {other}, in "
        f"{len(overlaps)} pair{'s' * (len(overlaps) > 1)} of images; most "
        f"({_area(largest.area)}) in {where}, at longitude {longitude:.6f}, latitude "
        f"{latitude:.6f} (leakage)"
    )
    remedy = "divide the ground anew (tools/split_scenes.py), or remove images from one of them"
    return Finding(f"{one} and {other} splits", problem, remedy)


def _percent(share: float) -> str:
    return f"{share:.0f}" if share >= 10 else f"{share:.2g}"


def _area(square_meters: float) -> str:
    if square_meters >= 1e5:
        return f"{square_meters / 1e6:.3g} km²"
    digits = max(0, 2 - int(np.floor(np.log10(square_meters))))
    return f"{square_meters:,.{digits}f} m²"
