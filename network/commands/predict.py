"""Predict the masks of a folder of images.

For the arguments, see ``predict.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import (
    add_model_flags,
    chosen_checkpoint,
    command_parser,
    compute_overrides,
    execute,
)
from network.config import load_experiment
from network.errors import InputError
from network.evaluation.evaluate import predict_folder


def main(description: str) -> None:
    """Parse the command line and predict a folder of images."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py")
    add("-i", "--input", type=Path, required=True, help="folder of images")
    add("-o", "--output", type=Path, required=True, help="folder for the masks, NAME.png")
    add("--labels", action="store_true", help="write labels, not RGB colors")
    add("-p", "--patch", type=int, default=1024, help="side of the patches (default %(default)s)")
    add("--overlap", type=int, default=128, help="pixels that patches share (default %(default)s)")
    add("-b", "--batch-size", type=int, default=1, help="patches a step (default %(default)s)")
    add_model_flags(parser)
    execute(parser, run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    for flag, value in (("-p", args.patch), ("-b", args.batch_size)):
        if value < 1:
            raise InputError(f"{flag} {value}", "must be at least 1")
    if not 0 <= args.overlap < args.patch:
        raise InputError(f"--overlap {args.overlap}", "must be at least 0 and less than a patch")
    experiment = load_experiment(args.config, [*args.overrides, *compute_overrides(args)])
    count = predict_folder(
        experiment,
        checkpoint=chosen_checkpoint(experiment, args.checkpoint),
        images=args.input,
        output=args.output,
        tta=args.tta,
        rgb=not args.labels,
        batch_size=args.batch_size,
        device=args.device,
        overwrite=args.overwrite,
        patch=(args.patch, args.patch),
        overlap=args.overlap,
    )
    print(f"{count} masks in {args.output}")
