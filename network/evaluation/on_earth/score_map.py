"""Scores of a map on Earth against truth on Earth, with the same counts and stamp as a test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from network.datasets.on_earth.areas import Area, Areas, open_areas
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.open_labels import OpenedLabels, compare_resolution, open_labels
from network.errors import InputError, listed, warn
from network.evaluation.evaluate import BOUNDARY_TOLERANCE
from network.evaluation.on_earth.area_scores import area_table, print_area_scores, score_areas
from network.evaluation.on_earth.counts import KIND, MapCounts, count_map
from network.evaluation.on_earth.open_map import MapFile, OpenMap
from network.evaluation.output_folder import check_no_test, write_scores
from network.evaluation.protocol import UNKNOWN, MaskProtocol
from network.evaluation.results import AREA_SCORES, print_results, write_figures
from network.evaluation.stamp import MapTruth, Stamp, software_versions
from network.evaluation.summary import Summary, summarize
from network.rasters.earth_grid import name_of
from network.rasters.source import content_hash


@dataclass(frozen=True, kw_only=True)
class Maker:
    """The known facts about how a map was made.

    Attributes:
        name: name of the model in tables.
        tta: test-time augmentation.
        precision: precision of the computation.
        config: file of the config whose classes the map has; empty if there is none.
        settings: settings of the network, by key.
    """

    name: str
    tta: str = UNKNOWN
    precision: str = UNKNOWN
    config: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


def score_map(
    map_file: MapFile,
    truth_file: LabelFile,
    output: Path,
    maker: Maker,
    *,
    areas_file: AreaFile | None = None,
    boundary_tolerance: int = BOUNDARY_TOLERANCE,
    overwrite: bool = False,
) -> Summary:
    """Score a map against truth on Earth, area by area.

    The truth is brought onto the grid of the map. Pixels without truth, pixels where the map has no
    data, and all that lies outside the areas do not count. Without areas, the part of the map that
    the truth covers is the only one.

    Args:
        map_file: the map.
        truth_file: its truth.
        output: folder of the scores.
        maker: what is known about how the map was made.
        areas_file: the areas of interest; None if there are none.
        boundary_tolerance: largest distance of boundaries that boundary F1 takes as matched, in
            pixels of the map.
        overwrite: whether to delete the scores of another map or truth in ``output``; otherwise
            they raise an error.

    Returns:
        The measured scores.

    Raises:
        InputError: a file cannot be read or has values that are no class; map, truth and areas have
            no place in common; ``output`` holds other results.
    """
    check_no_test(output)
    if truth_file.background is not None and areas_file is None:
        raise InputError(
            f"background={truth_file.background}",
            "needs areas of interest: only there, a pixel in no polygon is known to have no other "
            "class",
            "give the areas that were looked through by aoi=FILE",
        )
    with OpenMap(map_file, with_confidence=True) as map_:
        truth = open_labels(truth_file, map_.grid, map_.info)
        try:
            compare_resolution(truth_file.path, truth, map_.grid, "the map")
            areas = Areas([Area(map_file.path.stem, truth.window)])
            if areas_file is not None:
                areas = open_areas(areas_file, map_.grid)
            counts = count_map(map_, truth.labels, areas, boundary_tolerance)
        finally:
            truth.labels.close()
    _check(counts, map_file, truth_file)
    on_earth = _on_earth(map_, map_file, truth, truth_file, areas, areas_file, counts)
    protocol = _stamp(map_, maker, counts, on_earth, boundary_tolerance)
    summaries = {KIND: summarize(counts.records, KIND, map_.info)}
    by_area = score_areas(counts.records, map_.info)
    tables = {AREA_SCORES: area_table(by_area, map_.info)}
    write_scores(
        output, protocol, counts.records, summaries, "maps", tables=tables, overwrite=overwrite
    )
    write_figures(output, protocol, summaries)
    print_results(protocol, summaries)
    print_area_scores(by_area)
    _print_shares(counts)
    return summaries[KIND]


def _check(counts: MapCounts, map_file: MapFile, truth_file: LabelFile) -> None:
    if not counts.records:
        raise InputError(
            truth_file.path,
            f"no pixel of {map_file.path} has both a class and truth",
            "look at both in a GIS; areas of interest may leave out all of them",
        )
    if counts.empty:
        warn(f"areas without any truth are left out: {listed(counts.empty)}")


def _on_earth(
    map_: OpenMap,
    map_file: MapFile,
    truth: OpenedLabels,
    truth_file: LabelFile,
    areas: Areas,
    areas_file: AreaFile | None,
    counts: MapCounts,
) -> MapTruth:
    return MapTruth(
        map=map_file.path.as_posix(),
        map_values=dict(map_file.values),
        map_crs=name_of(map_.grid.crs),
        pixel_meters=map_.grid.resolution,
        truth=truth_file.path.as_posix(),
        truth_sha256=content_hash(truth_file.path),
        truth_crs=truth.crs,
        truth_values=dict(truth_file.values),
        resampling=truth.how,
        layer=truth.layer,
        attribute=truth_file.attribute,
        all_are=truth_file.all_are,
        background=truth_file.background,
        areas=None if areas_file is None else areas_file.path.as_posix(),
        areas_sha256=None if areas_file is None else content_hash(areas_file.path),
        areas_layer=areas.layer,
        areas_attribute=None if areas_file is None else areas_file.attribute,
        confidence=map_.confidence_path.as_posix() if map_.confidence_path else None,
        pixels=counts.counted,
        ignored=counts.shares,
    )


def _stamp(
    map_: OpenMap, maker: Maker, counts: MapCounts, on_earth: MapTruth, tolerance: int
) -> Stamp:
    info = map_.info
    return Stamp(
        data_set=info.name,
        split=Path(on_earth.truth).name,
        trained_on=None,
        chosen_on=None,
        images=len(counts.records),
        label_kinds=(KIND,),
        masks={KIND: MaskProtocol("none", "areas of a map")},
        labels_sha256={KIND: counts.digest},
        classes=info.classes,
        classes_in_mean=tuple(info.classes[label] for label in info.scored),
        tta=maker.tta,
        views=None,
        boundary_tolerance=tolerance,
        checkpoint=f"map {on_earth.map}",
        checkpoint_sha256=content_hash(map_.path),
        config=maker.config,
        settings={**maker.settings, "name": maker.name},
        training=None,
        seed=None,
        precision=maker.precision,
        software=software_versions(),
        on_earth=on_earth,
    )


def _print_shares(counts: MapCounts) -> None:
    shares = counts.shares
    print(
        f"{counts.counted} pixels count; of the areas, {100 * shares['no truth']:.2f} % have no "
        f"truth, and in {100 * shares['no map']:.2f} % the map has no data"
    )
