"""Make synthetic tiles with and without a building, to try the chain from image-level labels on.

Run      python tools/weak/make_demo_scenes.py
Makes    <output>/{train,test}/{images,masks}/*.png     every other tile shows a building
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from network.datasets.building_scenes import make_building_scenes
from network.datasets.folder_jobs import check_manifest, replacing_folders, write_manifest
from network.errors import InputError, run_command

MANIFEST = "made_by_make_demo_scenes.txt"


def main() -> None:
    """Make what the command line asks for."""
    args = parse_args()
    output, counts = args.output.resolve(), {"train": args.train, "test": args.test}
    check_manifest(output, MANIFEST)
    with replacing_folders(output) as (folder,):
        files = make_building_scenes(folder, counts, args.side, args.seed)
        write_manifest(folder, MANIFEST, files)
    print(f"{args.output}: {args.train} tiles to train, {args.test} to test on")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=Path("data/demo/buildings"), help="default: %(default)s")
    add("--train", type=int, default=96, help="default: %(default)s")
    add("--test", type=int, default=24, help="default: %(default)s")
    add("--side", type=int, default=96, help="of a tile, pixels (default: %(default)s)")
    add("--seed", type=int, default=0, help="another seed makes other scenes")
    args = parser.parse_args()
    for key, least in (("train", 2), ("test", 2), ("side", 32), ("seed", 0)):
        if getattr(args, key) < least:
            raise InputError(f"--{key} {getattr(args, key)}: expected {least} or more")
    return args


if __name__ == "__main__":
    run_command(main)
