"""Score a map on Earth, estimate the areas of its classes, or draw a sample for that.

For the arguments, see ``tools/score_map.py``.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from network.commands.arguments import command_parser, execute
from network.config import load_experiment
from network.console import text_console
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.open_labels import is_raster
from network.errors import InputError
from network.evaluation.evaluate import BOUNDARY_TOLERANCE
from network.evaluation.on_earth.open_map import MapFile
from network.evaluation.on_earth.score_map import Maker, score_map
from network.evaluation.protocol import UNKNOWN
from network.extras import require_extra
from network.maps.records import MapRecords

_MODES = {
    "truth": (
        *("attribute", "values", "layer", "truth_values", "all_are", "background"),
        *("boundary_tolerance", "name"),
    ),
    "sample": ("attribute", "values", "layer", "stratum"),
    "draw_sample": ("min_per_class", "seed"),
}
"""The tasks by their flag, and the other flags that only make sense with each task."""


def main(description: str) -> None:
    """Parse the command line and score a map."""
    # Words such as forest=Tree are no settings here.
    execute(make_parser(description), run, overrides=False)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("map", type=Path, help="the map: a raster of classes")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--truth", type=Path, metavar="FILE", help="raster of labels, or polygons")
    task.add_argument("--sample", type=Path, metavar="FILE", help="points or CSV: estimate areas")
    task.add_argument("--draw-sample", type=int, metavar="N", help="draw N points into -o")
    add("-o", "--output", type=Path, required=True, help="folder; for --draw-sample a file")
    add("-c", "--config", type=Path, help="of the classes; by default the map names them")
    pairs: dict[str, Any] = {"action": "append", "metavar": "VALUE=CLASS,..."}
    add("--map-values", **pairs, help="classes of the map's values")
    add("--truth-values", **pairs, help="classes of the values of a raster of labels")
    add("--attribute", help="attribute of the polygons or points that has the class")
    add("--values", **pairs, help="classes of the values of --attribute")
    add("--layer", help="layer of the polygons or points, if there are several")
    add("--all-are", metavar="CLASS", help="class of all polygons, instead of --attribute")
    add("--background", metavar="CLASS", help="class in --aoi where there is no polygon")
    add("--aoi", type=Path, metavar="FILE", help="polygons of the areas that count")
    add("--aoi-name", metavar="ATTRIBUTE", help="attribute with the names of the areas")
    add("--aoi-layer", metavar="LAYER", help="layer of the areas, if there are several")
    add("--stratum", metavar="ATTRIBUTE", help="class in which a point was drawn (default: map's)")
    add("--min-per-class", type=int, metavar="N", help="fewest points to draw (default 50)")
    add("--seed", type=int, help="of the drawn points (default 0)")
    add("--name", help="name of the model in tables (default: name of the -o folder)")
    add(
        "--boundary-tolerance",
        type=int,
        help=f"pixels, of boundary F1 (default {BOUNDARY_TOLERANCE})",
    )
    add("--overwrite", action="store_true", help="replace other results in -o")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    mode = next(name for name in _MODES if getattr(args, name) is not None)
    _check_flags(args, mode)
    map_file = _map_file(args)
    areas = None
    if args.aoi is not None:
        areas = AreaFile(path=args.aoi, attribute=args.aoi_name, layer=args.aoi_layer)
    {"truth": _score, "sample": _estimate, "draw_sample": _draw}[mode](args, map_file, areas)


def _check_flags(args: argparse.Namespace, mode: str) -> None:
    """Refuse flags that would have no effect."""
    for name in dict.fromkeys(name for names in _MODES.values() for name in names):
        if getattr(args, name) is not None and name not in _MODES[mode]:
            users = [f"--{m.replace('_', '-')}" for m, names in _MODES.items() if name in names]
            raise InputError(
                f"--{name.replace('_', '-')}", f"is for {' and '.join(users)}", "leave it out"
            )
    for name in ("aoi_name", "aoi_layer"):
        if getattr(args, name) is not None and args.aoi is None:
            raise InputError(f"--{name.replace('_', '-')}", "needs --aoi FILE")
    if args.boundary_tolerance is not None and args.boundary_tolerance < 0:
        raise InputError(f"--boundary-tolerance {args.boundary_tolerance}", "must be at least 0")


def _map_file(args: argparse.Namespace) -> MapFile:
    info = load_experiment(args.config, []).dataset if args.config else None
    return MapFile(path=args.map, info=info, values=_pairs("--map-values", args.map_values))


def _score(args: argparse.Namespace, map_file: MapFile, areas: AreaFile | None) -> None:
    is_truth_raster = is_raster(args.truth)
    truth = LabelFile(
        path=args.truth,
        values=_pairs("--truth-values", args.truth_values) or _pairs("--values", args.values),
        attribute=args.attribute,
        layer=args.layer,
        all_are=args.all_are,
        background=args.background,
        option="truth_values" if is_truth_raster else "values",
    )
    is_wrong = args.values if is_truth_raster else args.truth_values
    if args.truth.exists() and is_wrong:
        flags = ("--values", "--truth-values")
        wrong, right = flags if is_truth_raster else flags[::-1]
        kind = "a raster" if is_truth_raster else "no raster"
        raise InputError(wrong, f"{args.truth} is {kind}", f"give {right} VALUE=CLASS,...")
    tolerance = args.boundary_tolerance
    score_map(
        map_file,
        truth,
        args.output,
        _maker(args),
        areas_file=areas,
        boundary_tolerance=BOUNDARY_TOLERANCE if tolerance is None else tolerance,
        overwrite=args.overwrite,
    )
    print(f"scores in {args.output}")


def _maker(args: argparse.Namespace) -> Maker:
    """Find out how the map was made, by the records that ``predict.py`` has left beside it."""
    name = args.name or args.output.resolve().name
    config = args.config.as_posix() if args.config else ""
    record = MapRecords(args.map.parent).find(args.map)
    made = (record and record.identity) or {}
    return Maker(
        name=name,
        tta=str(made.get("tta", UNKNOWN)),
        precision=str(made.get("precision", UNKNOWN)),
        config=config,
        settings={key: value for key, value in made.items() if "." in key},
    )


def _estimate(args: argparse.Namespace, map_file: MapFile, areas: AreaFile | None) -> None:
    require_extra("vectors", "area estimates")
    from network.evaluation.on_earth.estimate import estimate_map_areas
    from network.evaluation.on_earth.sample_points import SampleFile

    if args.attribute is None:
        raise InputError("--sample", "needs --attribute NAME, which has the reference class")
    sample = SampleFile(
        path=args.sample,
        attribute=args.attribute,
        values=_pairs("--values", args.values),
        stratum=args.stratum,
        layer=args.layer,
    )
    estimate_map_areas(map_file, sample, args.output, areas_file=areas, overwrite=args.overwrite)
    print(f"area estimates in {args.output}")


def _draw(args: argparse.Namespace, map_file: MapFile, areas: AreaFile | None) -> None:
    require_extra("vectors", "a drawn sample")
    from network.evaluation.on_earth.estimate import FEWEST_A_CLASS, draw_map_sample
    from network.evaluation.on_earth.point_files import check_points_file

    check_points_file(args.output)
    minimum = args.min_per_class
    drawn = draw_map_sample(
        map_file,
        args.output,
        args.draw_sample,
        minimum=FEWEST_A_CLASS if minimum is None else minimum,
        seed=args.seed or 0,
        areas_file=areas,
        overwrite=args.overwrite,
    )
    table = Table("class of the map")
    table.add_column("points", justify="right")
    for name, count in drawn.items():
        table.add_row(name, str(count))
    text_console().print(table)
    print(
        f"{sum(drawn.values())} points in {args.output}; write the class of each into its 'class'"
    )


def _pairs(flag: str, words: Sequence[str] | None) -> dict[str, str]:
    """Turn ``1=building,2=tree`` into a dictionary; quotes may hide a comma."""
    found: dict[str, str] = {}
    for pair in (pair for word in words or () for pair in next(csv.reader([word]), [])):
        value, equals, name = (part.strip() for part in pair.rpartition("="))
        if not equals or not name:
            raise InputError(f"{flag} {pair}", "must be like VALUE=CLASS,VALUE=CLASS")
        if found.setdefault(value, name) != name:
            raise InputError(f"{flag} {pair}", f"'{value}' is {found[value]} already")
    return found
