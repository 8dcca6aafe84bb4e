"""Split scenes on Earth into train, val and test, or into folds, so that no ground is in two.

For the arguments, see ``tools/split_scenes.py``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from network.commands.arguments import command_parser, execute
from network.config import load_experiment
from network.console import text_console
from network.datasets.checks.shares import print_shares
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.extras import require_extra

if TYPE_CHECKING:
    from network.datasets.on_earth.split import Division, Part

_SHARES = (70.0, 15.0, 15.0)


def main(description: str) -> None:
    """Parse the command line and split scenes."""
    execute(make_parser(description), run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.output.suffix.lower() != ".gpkg":
        raise InputError(args.output, "is no name of a GeoPackage", "give a name with .gpkg")
    if args.overrides and args.config is None:
        raise InputError(args.overrides[0], "is a setting of a config", "give one by -c")
    picture = args.output.with_suffix(".png")
    for path in (args.output, picture):
        if path.exists() and not args.overwrite:
            raise InputError(path, "exists already", "give --overwrite, or another -o")
    if args.folds is not None and args.shares is not None:
        raise InputError("--shares", "folds have equal shares", "leave it out, or --folds")
    require_extra("vectors", "a split of scenes")
    from network.datasets.on_earth import split
    from network.reporting.split_picture import write_split_picture

    info = None
    if args.config is not None:
        experiment = load_experiment(args.config, args.overrides)
        info = experiment.dataset
        scenes = split.all_scenes(info, experiment.root)
        # Without labels there are no classes to balance.
        info = info if scenes[0].labels else None
    else:
        scenes = split.unlabeled_scenes(args.images)
    options = {"block": args.block, "buffer": args.buffer, "seed": args.seed}
    if args.folds is not None:
        division = split.fold_scenes(scenes, folds=args.folds, **options)
    else:
        division = split.split_scenes(scenes, shares=args.shares or _SHARES, **options)
    split.write_division(division, args.output)
    title = (
        f"{info.name if info else args.output.stem}: blocks of {args.block:g} m, at least "
        f"{args.buffer:g} m between splits"
    )
    classes, palette = (info.classes, info.palette) if info else ((), ())
    write_split_picture(division, classes, palette, picture, title)
    print_division(division, info)
    print(args.output)
    print(picture)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        "-c", "--config", type=Path, help="config/.../x.py; the scenes of all its splits are used"
    )
    group.add_argument(
        "-i", "--images", type=Path, nargs="+", help="images without labels, all of which count"
    )
    add("-o", "--output", type=Path, required=True, help="the GeoPackage to write, e.g. areas.gpkg")
    add("--block", type=float, required=True, metavar="METERS", help="side of the blocks")
    add(
        "--buffer",
        type=float,
        required=True,
        metavar="METERS",
        help="smallest distance between pixels of two splits",
    )
    add(
        "--shares",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the labeled pixels (default 70 15 15)",
    )
    add("--folds", type=int, metavar="K", help="K folds for a cross-validation instead")
    add("--seed", type=int, default=0, help="another seed gives other splits (default 0)")
    add("--overwrite", action="store_true", help="replace an older file and its picture")
    return parser


def print_division(division: "Division", info: DatasetInfo | None) -> None:
    """Print blocks, area and shares of the classes of each split, and of all of them.

    Args:
        division: the splits, or folds.
        info: the classes; None if there are no labels.
    """
    from network.reporting.split_picture import square_kilometers

    parts = division.parts
    is_folds = len(division.layers) > 1
    cells = [(p.name, str(len(set(p.blocks))), square_kilometers(p.area)) for p in parts]
    blocks, area = len(division.blocks.ground), square_kilometers(sum(p.area for p in parts))
    cells.append(("all", str(blocks), area))
    # The guard bands take these labels from a split, or from all splits while a fold is held out.
    groups = division.layers.values() if is_folds else [[part] for part in parts]
    lost = [*map(_lost, groups), "" if is_folds else _lost(parts)]
    headings = ("fold" if is_folds else "split", "blocks", "km²", "guard band, %")
    rows = [(*row, share) for row, share in zip(cells, lost, strict=True)]
    if info is None:
        _print_areas(headings, rows)
        return
    everything = division.blocks.counts.sum(axis=0)
    counts = [*(part.counts.tolist() for part in parts), everything.tolist()]
    print_shares(info, headings, list(zip(rows, counts, strict=True)), ignored=False)


def _lost(parts: Sequence["Part"]) -> str:
    lost = sum(float(part.lost.sum()) for part in parts)
    left = sum(float(part.counts.sum()) for part in parts)
    return f"{100 * lost / (lost + left):.1f}"


def _print_areas(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    text_console().print(table)
