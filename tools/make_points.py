"""Point labels of a split: drawn from its masks by a fixed rule, or read from a file.

python tools/make_points.py -c config/vaihingen/bicor.py --name points_200 --budget 200
python tools/make_points.py -c config/vaihingen/bicor.py --name dots --mode component --radius 1
python tools/make_points.py -c config/drone/bicor.py --name mine --points annotated.csv

They become sparse masks in a folder of this name beside that of the masks; data.train_labels=NAME
trains on them. The rules: uniform, over all labeled pixels; per_class, so many of each class of an
image; component, the innermost pixel of each connected component; grid, one in each cell. An image
is a file of the split: of mirrored or overlapping patches each gets points of its own.

A CSV has the columns image,row,column,class, where rows and columns count from 0 at the top left. A
GeoJSON has Points with the properties class and image, and column, row as coordinates; or without
image in map coordinates, which are looked up in georeferenced images. A folder holds sparse masks.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from network.config import load_experiment, parse_with_overrides
from network.datasets.folder_jobs import available_cores
from network.datasets.info import DatasetInfo
from network.engine.figures import write_points
from network.errors import InputError, nearest, run_command
from network.weak.point_labels import PointCounts, make_point_labels
from network.weak.points import MODES, PointRule


def main() -> None:
    """Make what the command line asks for."""
    args = parse_args()
    experiment = load_experiment(args.config, args.overrides)
    info, split = experiment.dataset, args.split or experiment.data.train
    if split not in info.splits:
        raise InputError(f"--split {split}: no such split{nearest(split, info.splits)}")
    if args.figure and args.figure.suffix.lower() != ".png":
        raise InputError(f"{args.figure}: the figure is a PNG; end the name in .png")
    counts = make_point_labels(
        info,
        experiment.root,
        split,
        args.name,
        args.source,
        radius=args.radius,
        workers=args.workers,
    )
    print_counts(info, counts, f"{info.name}, {split}: {args.name}")
    if counts.empty:
        print(f"{len(counts.empty)} of {counts.images} images have no point, as {counts.empty[0]}")
    if args.figure:
        write_points(info, experiment.root, split, args.name, counts, args.figure)
        print(args.figure)
    print(f"train on them with data.train={split} data.train_labels={args.name}")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py")
    add("--name", required=True, help="of the folder to make")
    add("--split", help="default: the config's training split")
    add("--mode", help=f"{', '.join(MODES)} (default uniform)")
    add("--budget", type=int, help="points of an image, of each of its classes, or cells")
    add("--share", type=float, help="percent of the pixels instead")
    add("--radius", type=int, default=0, help="of discs, pixels (default %(default)s: one pixel)")
    add("--seed", type=int, help="default 0")
    add("--points", type=Path, metavar="FILE", help="CSV, GeoJSON or folder: no mask is opened")
    add("--figure", type=Path, metavar="PNG", help="also draw points and their numbers by class")
    add("--workers", type=int, default=available_cores(), help="processes (default: all cores)")
    args = parse_with_overrides(parser)
    if args.points:
        for key in ("mode", "budget", "share", "seed"):
            if getattr(args, key) is not None:
                raise InputError(f"--points: all points of the file are taken; leave --{key} out")
        if not args.points.exists():
            raise InputError(f"{args.points}: no such file or folder")
        args.source = args.points
    else:
        args.source = PointRule(
            mode=args.mode or "uniform", budget=args.budget, share=args.share, seed=args.seed or 0
        )
    return args


def print_counts(info: DatasetInfo, counts: PointCounts, title: str) -> None:
    """Points and labeled pixels of each class."""
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
    Console().print(table)


if __name__ == "__main__":
    run_command(main)
