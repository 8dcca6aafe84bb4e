"""Make a small synthetic data set with ISPRS Vaihingen's file names, to try out the project.

For the arguments, see ``tools/make_demo_data.py``.
"""

import argparse
from functools import partial
from itertools import chain
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.datasets.folder_jobs import check_manifest, replacing_folders, write_manifest
from network.datasets.on_earth.find import CACHE
from network.datasets.schema import SPLITS
from network.datasets.synthetic.town import MIN_SIZE
from network.datasets.synthetic.town_files import SceneTile, write_scene
from network.datasets.workers import available_cores, map_parallel
from network.errors import InputError
from network.extras import require_extra

# Lists the files of this tool, so a second run never replaces real data of the same names.
MANIFEST = "made_by_make_demo_data.txt"
# No split can have more scenes, so no two splits and no two --seed values share a scene's seed.
SEEDS_PER_SPLIT = 1_000_000


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    parser.add_argument(
        "--output",
        type=Path,
        help="folder to make, by default data/demo/tiles, or data/demo_scenes if they lie on Earth",
    )
    parser.add_argument(
        "--georeferenced",
        action="store_true",
        help="scenes on Earth, GeoTIFF, with their labels as polygons in a GeoPackage",
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
        # Scenes on Earth may be divided later, so only some of them are needed.
        least = 0 if args.georeferenced and split != "train" else 1
        if not least <= count <= SEEDS_PER_SPLIT:
            raise InputError(
                f"--scenes-{split} {count}", f"expected a number from {least} to {SEEDS_PER_SPLIT}"
            )
    if min(args.size) < MIN_SIZE:
        height, width = args.size
        raise InputError(f"--size {height} {width}", f"expected at least {MIN_SIZE} pixels a side")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}", "expected 0 or more")


def plan(args: argparse.Namespace) -> list[SceneTile]:
    """List all scenes; their numbers run over all splits, and each has its own seed."""
    tasks: list[SceneTile] = []
    for index, split in enumerate(SPLITS):
        first_seed = (args.seed * len(SPLITS) + index) * SEEDS_PER_SPLIT
        for i in range(getattr(args, f"scenes_{split}")):
            tasks.append(SceneTile(split, len(tasks) + 1, first_seed + i, *args.size))
    return tasks


def main(description: str) -> None:
    """Parse the command line and make the scenes."""
    execute(make_parser(description), run, overrides=False)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    check_args(args)
    if args.georeferenced:
        require_extra("vectors", "--georeferenced")
    usual = Path("data/demo_scenes" if args.georeferenced else "data/demo/tiles")
    output = (args.output or usual).resolve()
    check_manifest(output, MANIFEST, made_anew=(CACHE,))
    tasks = plan(args)
    with replacing_folders(output) as (folder,):
        write = write_scene
        if args.georeferenced:
            from network.datasets.synthetic.town_on_earth import write_polygons, write_scene_image

            write = write_scene_image
        make = partial(write, folder)
        made = map_parallel(make, tasks, workers=available_cores(), unit="scene")
        names = list(chain.from_iterable(made))
        if args.georeferenced:
            names += write_polygons(folder, tasks)
        write_manifest(folder, MANIFEST, names)
    print(f"{output}: {len(tasks)} scenes")
