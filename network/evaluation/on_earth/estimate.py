"""Area estimates of a map from a sample of points, and the draw of such a sample."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from network.datasets.on_earth.areas import open_areas
from network.datasets.on_earth.files import AreaFile
from network.errors import InputError, listed, warn
from network.evaluation.area_estimates import (
    FEWEST,
    AreaEstimates,
    estimate_areas,
    few_points,
)
from network.evaluation.on_earth.area_results import AreaReport, print_areas, write_areas
from network.evaluation.on_earth.open_map import MapFile, OpenMap
from network.evaluation.on_earth.point_files import write_points
from network.evaluation.on_earth.sample_points import (
    UNLABELED,
    SampleFile,
    SamplePoints,
    read_sample,
)
from network.evaluation.on_earth.strata import (
    NOWHERE,
    Strata,
    allocate,
    count_strata,
    draw_places,
)
from network.evaluation.output_folder import check_no_test
from network.rasters.earth_grid import name_of
from network.rasters.source import content_hash

HECTARE = 10_000.0
"""Square meters of a hectare."""

FEWEST_A_CLASS = 50
"""Default of the smallest number of points that are drawn in each class, as in Olofsson et al."""


@dataclass(frozen=True)
class _Used:
    """The points that count.

    Attributes:
        counts: (k, k) number of points; rows = class on the map, columns = reference.
        left_out: number of points that do not count, by the reason.
    """

    counts: np.ndarray
    left_out: dict[str, int]


def estimate_map_areas(
    map_file: MapFile,
    sample: SampleFile,
    output: Path,
    *,
    areas_file: AreaFile | None = None,
    overwrite: bool = False,
) -> AreaEstimates:
    """Estimate the area of each class of a map, in hectares, and write the results.

    Args:
        map_file: the map.
        sample: points that were drawn at random in each class of the map.
        output: folder of the results.
        areas_file: areas of interest, outside of which nothing counts; None for the whole map.
        overwrite: whether to delete the estimates of another sample or map in ``output``; otherwise
            they raise an error.

    Raises:
        InputError: a file cannot be read, a class of the map has fewer than two points, or
            ``output`` holds other estimates.
    """
    check_no_test(output)
    with OpenMap(map_file) as map_:
        info = map_.info
        areas = None if areas_file is None else open_areas(areas_file, map_.grid)
        points = read_sample(sample, map_.grid, info)
        strata = count_strata(map_, areas, points.places)
    used = _use(sample, points, strata, info.num_classes, info.ignore_index)
    _tell(sample, used, len(points.places))
    mapped = strata.areas / HECTARE
    short = few_points(used.counts, mapped)
    if short:
        points_of = used.counts.sum(1)
        shown = [f"{info.classes[label]} ({points_of[label]})" for label in short]
        raise InputError(
            sample.path,
            f"classes of the map with fewer than {FEWEST} points: {listed(shown)}",
            "label more points in them; without them, areas have no standard error",
        )
    found = estimate_areas(used.counts, mapped)
    report = AreaReport(
        estimates=found,
        classes=info.classes,
        palette=info.palette,
        pixels=strata.pixels,
        left_out=used.left_out,
        facts=_facts(map_, map_file, sample, areas_file),
    )
    write_areas(output, report, overwrite=overwrite)
    print_areas(report)
    return found


def _use(sample: SampleFile, points: SamplePoints, strata: Strata, k: int, ignored: int) -> _Used:
    """Count the points by stratum and reference class, and those that do not count."""
    on_map, reference = strata.at_places, points.reference
    is_nowhere = on_map == NOWHERE
    is_unlabeled = ~is_nowhere & (reference == UNLABELED)
    is_ignored = ~is_nowhere & (reference == ignored)
    used = ~(is_nowhere | is_unlabeled | is_ignored)
    rows, is_outside = on_map, np.zeros_like(used)
    if points.strata is not None:
        rows = points.strata
        differ = int((used & (rows != on_map)).sum())
        if differ:
            warn(
                f"{sample.path}: {differ} points lie on another class of the map than their "
                "stratum; if they were drawn from another map, the estimates are wrong"
            )
        is_outside = used & (rows >= k)
        used &= rows < k
        empty = np.flatnonzero((strata.pixels == 0) & (np.bincount(rows[used], minlength=k) > 0))
        if len(empty):
            raise InputError(
                sample.path,
                f"has points in strata that the map lacks (labels {listed(map(str, empty))})",
                "give the map that the sample was drawn from",
            )
    counts = np.zeros((k, k), np.int64)
    np.add.at(counts, (rows[used], reference[used]), 1)
    left_out = {
        "outside the map or where it has no data": int(is_nowhere.sum()),
        "without a reference class": int(is_unlabeled.sum()),
        "with a value that is to be ignored": int(is_ignored.sum()),
        "with a stratum that is to be ignored": int(is_outside.sum()),
    }
    return _Used(counts, {reason: count for reason, count in left_out.items() if count})


def _tell(sample: SampleFile, used: _Used, count: int) -> None:
    """Warn of the points that do not count."""
    for reason, number in used.left_out.items():
        warn(f"{sample.path}: {number} of {count} points are left out, {reason}")
    if not used.counts.any():
        raise InputError(
            sample.path, "no point counts", "check its reference system and its attribute"
        )
    if "without a reference class" in used.left_out:
        warn("if points were left without a class because they are hard, the estimates are biased")


def _facts(
    map_: OpenMap, map_file: MapFile, sample: SampleFile, areas_file: AreaFile | None
) -> dict[str, Any]:
    """Collect what the estimates depend on."""
    facts: dict[str, Any] = {
        "map": map_file.path.as_posix(),
        "map_sha256": content_hash(map_file.path),
        "map_crs": name_of(map_.grid.crs),
        "sample": sample.path.as_posix(),
        "sample_sha256": content_hash(sample.path),
        "attribute": sample.attribute,
        "values": dict(sample.values),
        "stratum": sample.stratum,
        "classes": list(map_.info.classes),
    }
    if areas_file is not None:
        facts["areas"] = areas_file.path.as_posix()
        facts["areas_sha256"] = content_hash(areas_file.path)
    return facts


def draw_map_sample(
    map_file: MapFile,
    output: Path,
    points: int,
    *,
    minimum: int = FEWEST_A_CLASS,
    seed: int = 0,
    areas_file: AreaFile | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Draw a stratified random sample of a map into a file of points, for a person to label.

    The points are in random order, and the file does not say which class the map has there, so that
    it cannot influence who labels them.

    Args:
        map_file: the map.
        output: file of the points, see :func:`write_points`.
        points: number of points.
        minimum: smallest number of points of each class.
        seed: seed of the draw.
        areas_file: areas of interest to which the sample is confined; None for the whole map.
        overwrite: whether to replace a file that is there.

    Returns:
        The number of points in each class of the map, by name.

    Raises:
        InputError: the map cannot be read, the number of points does not fit, or there is a file
            already.
    """
    if points < 1:
        raise InputError(f"draw_sample={points}", "must be at least 1")
    if minimum < FEWEST:
        raise InputError(
            f"min_per_class={minimum}", f"must be at least {FEWEST}, for a standard error"
        )
    if seed < 0:
        raise InputError(f"seed={seed}", "must be at least 0")
    if output.exists() and not overwrite:
        raise InputError(
            output,
            "is there already, and may hold labels",
            "choose another output, or replace it by overwrite=True",
        )
    with OpenMap(map_file) as map_:
        areas = None if areas_file is None else open_areas(areas_file, map_.grid)
        strata = count_strata(map_, areas)
        if not strata.pixels.any():
            raise InputError(map_file.path, "no pixel has a class, so no point can be drawn")
        counts = allocate(strata.areas, strata.pixels, points, minimum, map_.info.classes)
        places, _ = draw_places(map_, areas, strata, counts, seed)
        write_points(output, places, map_.grid)
    return dict(zip(map_.info.classes, counts.tolist(), strict=True))
