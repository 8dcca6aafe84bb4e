"""Make point labels for a split, by a fixed rule from its masks or from a file.

For the arguments, see ``tools/make_points.py``.
"""

import argparse
from pathlib import Path

from rich.table import Table

from network.commands.arguments import (
    add_workers_flags,
    chosen_workers,
    command_parser,
    execute,
)
from network.config import load_experiment
from network.console import text_console
from network.datasets.schema import DatasetInfo
from network.errors import InputError, nearest
from network.evaluation.figures import write_points
from network.points.labels import PointCounts, make_point_labels
from network.points.rules import MODES, PointRule


def main(description: str) -> None:
    """Parse the command line and make point labels."""
    execute(make_parser(description), run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.points:
        for key in ("mode", "budget", "share", "seed"):
            if getattr(args, key) is not None:
                raise InputError(
                    "--points", "all points of the file are taken", f"leave --{key} out"
                )
        if not args.points.exists():
            raise InputError(args.points, "no such file or folder")
        args.source = args.points
    else:
        args.source = PointRule(
            mode=args.mode or "uniform", budget=args.budget, share=args.share, seed=args.seed or 0
        )
    experiment = load_experiment(args.config, args.overrides)
    info, split = experiment.dataset, args.split or experiment.data.train
    if split not in info.splits:
        raise InputError(f"--split {split}", f"no such split{nearest(split, info.splits)}")
    if args.figure and args.figure.suffix.lower() != ".png":
        raise InputError(args.figure, "the figure is a PNG", "end the name in .png")
    counts = make_point_labels(
        info,
        experiment.root,
        split,
        args.name,
        args.source,
        radius=args.radius,
        workers=chosen_workers(args),
    )
    print_counts(info, counts, f"{info.name}, {split}: {args.name}")
    if counts.empty:
        number = f"{len(counts.empty)} of {counts.images} images"
        print(f"{number} have no point, such as {counts.empty[0]}")
    if args.figure:
        write_points(info, experiment.root, split, args.name, counts, args.figure)
        print(args.figure)
    print(f"train on them with data.train={split} data.train_labels={args.name}")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py")
    add("--name", required=True, help="name of the folder to make")
    add("--split", help="default: the config's training split")
    add("--mode", help=f"{', '.join(MODES)} (default uniform)")
    add(
        "--budget",
        type=int,
        help="number of points of an image (per_class: of each class; grid: number of cells)",
    )
    add("--share", type=float, help="percentage of the pixels, instead of --budget")
    add("--radius", type=int, default=0, help="radius of discs in pixels (default %(default)s)")
    add("--seed", type=int, help="default 0")
    add("--points", type=Path, metavar="FILE", help="CSV, GeoJSON or folder: no mask is opened")
    add("--figure", type=Path, metavar="PNG", help="also draw points and their numbers by class")
    add_workers_flags(parser)
    return parser


def print_counts(info: DatasetInfo, counts: PointCounts, title: str) -> None:
    """Print a table with the points and labeled pixels of each class."""
    table = Table(title=title)
    table.add_column("class")
    headings = ["points", "labeled pixels", "in the masks", "labeled, %"]
    for heading in headings if counts.dense else headings[:2]:
        table.add_column(heading, justify="right")

    def add(name: str, points: int, pixels: int, dense: int) -> None:
        of_dense = [str(dense), f"{100 * pixels / max(1, dense):.3g}"] if counts.dense else []
        table.add_row(name, str(points), str(pixels), *of_dense)

    dense = counts.dense or (0,) * info.num_classes
    for row in zip(info.classes, counts.points, counts.pixels, dense, strict=True):
        add(*row)
    add("all", sum(counts.points), sum(counts.pixels), sum(dense))
    text_console().print(table)
