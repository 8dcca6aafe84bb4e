"""Draw image, truth and prediction side by side, for some images of a split.

For the arguments, see ``tools/make_panel.py``.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from network.commands.arguments import command_parser, execute
from network.config import load_experiment
from network.datasets.segmentation import evenly_spread, find_samples
from network.errors import InputError
from network.evaluation.figures import write_panel
from network.evaluation.shown_windows import shown_by_windows


def main(description: str) -> None:
    """Parse the command line and write the figure."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py")
    add("-i", "--predictions", type=Path, required=True, help="folder that a test script wrote")
    add("-o", "--output", type=Path, required=True, help="PNG to write")
    add("--val", action="store_true", help="the val split, not the test split")
    add("--count", type=int, default=4, help="images, evenly spread over the split")
    execute(parser, run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.count < 1:
        raise InputError(f"--count {args.count}", "expected 1 or more")
    if args.output.suffix.lower() != ".png":
        raise InputError(args.output, "the figure is a PNG", "end the name in .png")

    experiment = load_experiment(args.config, args.overrides)
    split = "val" if args.val else experiment.data.test
    samples = find_samples(experiment.dataset, experiment.root, split)
    spread = evenly_spread(samples, args.count)
    title = f"{experiment.name}, {split}"
    info, data = experiment.dataset, experiment.data
    with TemporaryDirectory() as folder:
        shown = shown_by_windows(spread, args.predictions, info, data, Path(folder))
        write_panel(shown.samples, shown.predictions, shown.info, args.output, title)
    print(args.output)
