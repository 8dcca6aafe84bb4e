"""Score masks that other code has predicted, under the protocol of this project.

For the arguments, see ``tools/score_masks.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.config import load_experiment
from network.errors import InputError
from network.evaluation.evaluate import BOUNDARY_TOLERANCE
from network.evaluation.protocol import UNKNOWN
from network.evaluation.score_masks import score_masks


def main(description: str) -> None:
    """Parse the command line and score masks."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="any config of the data set")
    add("-i", "--masks", type=Path, required=True, help="folder of the masks")
    add("-o", "--output", type=Path, required=True, help="folder for the scores")
    add("--name", help="name of the model in tables (default: name of the -o folder)")
    add("--tta", default=UNKNOWN, help="test-time augmentation (default %(default)s)")
    add(
        "--trained-on",
        default=UNKNOWN,
        metavar="SPLIT",
        help="split of the training: train, train_val, ... (default %(default)s)",
    )
    add(
        "--chosen-on",
        default=UNKNOWN,
        metavar="SPLIT",
        help="split that chose the checkpoint, or 'none' for that of the last epoch "
        "(default %(default)s)",
    )
    add(
        "--trained-padding",
        default=UNKNOWN,
        help="padding in training: ignore or geoseg, or 'none' if images were not cut into "
        "patches (default %(default)s)",
    )
    add("--val", action="store_true", help="the val split, not the test split")
    add(
        "--boundary-tolerance",
        type=int,
        default=BOUNDARY_TOLERANCE,
        help="largest distance in pixels of boundaries that boundary F1 counts as matched",
    )
    add("--overwrite", action="store_true", help="delete the scores of other masks in -o")
    execute(parser, run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.boundary_tolerance < 0:
        raise InputError(f"--boundary-tolerance {args.boundary_tolerance}", "must be at least 0")
    name = f"name={args.name or args.output.resolve().name}"
    experiment = load_experiment(args.config, [*args.overrides, name])
    score_masks(
        experiment,
        args.masks,
        args.output,
        split="val" if args.val else experiment.data.test,
        tta=args.tta,
        trained_on=args.trained_on,
        chosen_on=args.chosen_on,
        trained_padding=args.trained_padding,
        boundary_tolerance=args.boundary_tolerance,
        overwrite=args.overwrite,
    )
    print(f"scores in {args.output}")
