"""Make, from the official archives, the folders that the configs read; one command is enough.

For the arguments, see ``tools/prepare_data.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import (
    add_workers_flags,
    chosen_workers,
    command_parser,
    execute,
)
from network.datasets.checks.shares import print_shares
from network.datasets.info import LOVEDA, POTSDAM, VAIHINGEN
from network.datasets.preparation.official import Preparation, SplitSummary, prepare
from network.datasets.preparation.patches import PAD_POLICIES, UNKNOWN_COLORS
from network.datasets.schema import DatasetInfo
from network.errors import InputError

DATA_SETS = {info.name: info for info in (VAIHINGEN, POTSDAM, LOVEDA)}


def main(description: str) -> None:
    """Parse the command line and prepare a data set."""
    execute(make_parser(description), run, overrides=False)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    info = DATA_SETS[args.dataset]
    if args.infrared and (info.tiles is None or info.tiles.infrared_image is None):
        raise InputError("--infrared", f"{info.name} has one kind of images", "leave it out")
    preparation = Preparation(
        info=info,
        archives=args.archives,
        output=args.output or Path(info.root),
        infrared=args.infrared,
        pad_policy=args.pad_policy,
        unknown_color=args.unknown_color,
        partial=args.partial,
        workers=chosen_workers(args),
    )
    print_summaries(info, prepare(preparation))


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("dataset", choices=DATA_SETS)
    add("--archives", type=Path, required=True, help="folder of the zip files, or of their content")
    add("--output", type=Path, help="folder to make (default: the one that the configs read)")
    add("--infrared", action="store_true", help="Potsdam's IRRG images instead of the RGB ones")
    add("--pad-policy", choices=PAD_POLICIES, default="ignore", help="see the patch tools")
    add("--unknown-color", choices=UNKNOWN_COLORS, default="error", help="see the patch tools")
    add("--partial", action="store_true", help="go on if tiles or images are missing")
    add_workers_flags(parser)
    return parser


def print_summaries(info: DatasetInfo, summaries: list[SplitSummary]) -> None:
    """Print a table with the images and pixels of each split."""
    rows = []
    for summary in summaries:
        megapixels = f"{sum(summary.pixels) / 1e6:.1f}" if any(summary.pixels) else "no masks"
        counts = str(summary.sources), str(summary.images)
        rows.append(((summary.split, *counts, megapixels), summary.pixels))
    kind = "tiles" if info.tiles else "official"
    print_shares(info, ("split", kind, "images", "megapixels"), rows)
