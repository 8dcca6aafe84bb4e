"""Make synthetic tiles with and without a building, to try the chain from image-level labels.

For the arguments, see ``tools/weak/make_demo_scenes.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.datasets.folder_jobs import check_manifest, replacing_folders, write_manifest
from network.datasets.synthetic.buildings import make_building_scenes
from network.errors import InputError

MANIFEST = "made_by_make_demo_scenes.txt"


def main(description: str) -> None:
    """Parse the command line and make the tiles."""
    execute(make_parser(description), run, overrides=False)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    for key, least in (("train", 2), ("test", 2), ("side", 32), ("seed", 0)):
        if getattr(args, key) < least:
            raise InputError(f"--{key} {getattr(args, key)}", f"expected {least} or more")
    output, counts = args.output.resolve(), {"train": args.train, "test": args.test}
    check_manifest(output, MANIFEST)
    with replacing_folders(output) as (folder,):
        files = make_building_scenes(folder, counts, args.side, args.seed)
        write_manifest(folder, MANIFEST, files)
    print(f"{args.output}: {args.train} tiles to train, {args.test} to test on")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("--output", type=Path, default=Path("data/demo/buildings"), help="default: %(default)s")
    add("--train", type=int, default=96, help="default: %(default)s")
    add("--test", type=int, default=24, help="default: %(default)s")
    add("--side", type=int, default=96, help="side of a tile in pixels (default: %(default)s)")
    add("--seed", type=int, default=0, help="another seed makes other scenes")
    return parser
