"""Make a small synthetic data set with ISPRS Vaihingen's file names, for trying out the project.

For arguments see ``tools/make_demo_data.py``.
"""

import argparse
from functools import partial
from itertools import chain
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.datasets.folder_jobs import check_manifest, replacing_folders, write_manifest
from network.datasets.schema import SPLITS
from network.datasets.synthetic.town import MIN_SIZE
from network.datasets.synthetic.town_files import SceneTile, write_scene
from network.datasets.workers import available_cores, map_parallel
from network.errors import InputError

# Names what this tool made, so that a rerun never replaces real data of the same names.
MANIFEST = "made_by_make_demo_data.txt"
# More scenes than a split can have: no seed of one split, or of another --seed, comes twice.
SEEDS_PER_SPLIT = 1_000_000


def make_parser(description: str) -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser(description)
    parser.add_argument(
        "--output", type=Path, default=Path("data/demo/tiles"), help="folder to make"
    )
    parser.add_argument("--scenes-train", type=int, default=12)
    parser.add_argument("--scenes-val", type=int, default=2)
    parser.add_argument("--scenes-test", type=int, default=3)
    parser.add_argument(
        "--size", type=int, nargs=2, default=(768, 640), metavar=("HEIGHT", "WIDTH")
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other scenes")
    return parser


def check_args(args: argparse.Namespace) -> None:
    """Raise an :class:`InputError` that names the first option with a bad value."""
    for split in SPLITS:
        count = getattr(args, f"scenes_{split}")
        if not 1 <= count <= SEEDS_PER_SPLIT:
            raise InputError(
                f"--scenes-{split} {count}", f"expected a number from 1 to {SEEDS_PER_SPLIT}"
            )
    if min(args.size) < MIN_SIZE:
        height, width = args.size
        raise InputError(f"--size {height} {width}", f"expected at least {MIN_SIZE} pixels a side")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}", "expected 0 or more")


def plan(args: argparse.Namespace) -> list[SceneTile]:
    """All scenes; area numbers run on over the splits, seeds depend on split and position."""
    tasks: list[SceneTile] = []
    for index, split in enumerate(SPLITS):
        first_seed = (args.seed * len(SPLITS) + index) * SEEDS_PER_SPLIT
        for i in range(getattr(args, f"scenes_{split}")):
            tasks.append(SceneTile(split, len(tasks) + 1, first_seed + i, *args.size))
    return tasks


def main(description: str) -> None:
    """Make the scenes that the command line asks for."""
    execute(make_parser(description), run, overrides=False)


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    check_args(args)
    output = args.output.resolve()
    check_manifest(output, MANIFEST)
    tasks = plan(args)
    with replacing_folders(output) as (folder,):
        make = partial(write_scene, folder)
        made = map_parallel(make, tasks, workers=available_cores(), unit="scene")
        write_manifest(folder, MANIFEST, chain.from_iterable(made))
    print(f"{output}: {len(tasks)} scenes")
