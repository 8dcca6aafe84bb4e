"""Examine every image and mask of a config's splits, and list what is wrong.

For the arguments, see ``tools/check_data.py``.
"""

import argparse
import sys
from pathlib import Path

from network.commands.arguments import (
    add_workers_flags,
    chosen_workers,
    command_parser,
    execute,
)
from network.config import load_experiment
from network.datasets.checks.contact_sheet import write_contact_sheet
from network.datasets.checks.doctor import Diagnosis, examine
from network.datasets.checks.shares import print_shares
from network.datasets.schema import SPLITS
from network.errors import InputError, nearest
from network.rasters.place import length_text


def main(description: str) -> None:
    """Parse the command line and examine a data set."""
    execute(make_parser(description), run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    experiment = load_experiment(args.config, args.overrides)
    info, data = experiment.dataset, experiment.data
    if data.train_labels:
        info = info.relabeled(data.train, data.train_labels)
    args.splits = args.splits or [split for split in SPLITS if split in info.splits]
    for split in args.splits:
        if split not in info.splits:
            raise InputError(f"--splits {split}", f"no such split{nearest(split, info.splits)}")
    diagnosis = examine(info, experiment.root, args.splits, workers=chosen_workers(args))
    print_splits(diagnosis, args.splits)
    for apart in diagnosis.distances:
        words = f"{length_text(apart.meters)} apart" if apart.meters else "touch or overlap"
        print(f"{apart.one} and {apart.other}: {words} on Earth")
    for finding in diagnosis.findings:
        print(finding)
    print(f"{len(diagnosis.findings)} findings in {len(diagnosis.images)} images")
    if args.html:
        write_contact_sheet(diagnosis, args.splits, args.html)
        print(args.html)
    if diagnosis.findings:
        sys.exit(1)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py")
    add("--splits", nargs="+", default=[], help="default: those of train val test that exist")
    add("--html", type=Path, metavar="FILE", help="also write a page with a contact sheet")
    add_workers_flags(parser)
    return parser


def print_splits(diagnosis: Diagnosis, splits: list[str]) -> None:
    """Print number of images, sizes and shares of the classes of each split."""
    rows = []
    for split in splits:
        images = diagnosis.of_split(split)
        sizes = sorted({image.size for image in images if image.size})
        ends = sizes if len(sizes) < 2 else (sizes[0], sizes[-1])
        text = " to ".join(f"{height} x {width}" for height, width in ends)
        without = f"{100 * diagnosis.no_data_share(split):.2f}"
        cells = (split, str(len(images)), text or "-", without)
        rows.append((cells, diagnosis.pixels(split).tolist()))
    print_shares(diagnosis.info, ("split", "images", "sizes", "no data, of all"), rows)
