"""Look inside a trained network: heatmaps, pooled pixels, class embeddings, errors at borders.

For the arguments, see ``tools/explain.py``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from network.commands.arguments import command_parser, execute, tested_experiment
from network.config import Experiment, load_experiment
from network.datasets.segmentation import Sample, find_samples
from network.errors import InputError, nearest
from network.evaluation.results import (
    FIGURES,
    PROTOCOL_FILE,
    SCORES_FILE,
    read_protocol,
    tested_samples,
)
from network.explanation.explain import BORDER, COUNT, IMAGES, explain
from network.explanation.results import FOLDER, check_folder, write_explanation
from network.writing import file_hash


def main(description: str) -> None:
    """Parse the command line and look inside the network."""
    parser = command_parser(description)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a test script, run, or checkpoint")
    add("-c", "--config", type=Path, help="config/.../x.py, for a run or a checkpoint")
    add("-o", "--output", type=Path, help=f"folder to write (default: RUN/{FIGURES}/{FOLDER})")
    add("--split", help="split of the data (default: the tested one)")
    add(
        "--images",
        nargs="+",
        default=[str(IMAGES)],
        metavar="IMAGE",
        help=f"names of the images to draw, or how many (default {IMAGES})",
    )
    add(
        "--count",
        type=int,
        default=COUNT,
        help="images that embeddings and errors are taken from, evenly spread over the split "
        "(default %(default)s)",
    )
    add(
        "--border",
        type=int,
        default=BORDER,
        metavar="PIXELS",
        help="how far from a border an error is an error at the border (default %(default)s)",
    )
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default auto)")
    execute(parser, run)


@dataclass(frozen=True)
class _Run:
    """The test, the run or the checkpoint that the first argument of the command line names."""

    experiment: Experiment
    checkpoint: Path
    samples: Sequence[Sample]
    split: str
    output: Path


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    names = [path / name for path in [args.run] for name in (PROTOCOL_FILE, SCORES_FILE)]
    found = _of_test(args) if any(name.is_file() for name in names) else _of_checkpoint(args)
    check_folder(found.output)
    findings = explain(
        found.experiment,
        found.samples,
        checkpoint=found.checkpoint,
        split=found.split,
        images=args.images,
        count=args.count,
        border=args.border,
        device=args.device,
    )
    record = write_explanation(findings, found.output)
    for line in record.left_out:
        print(f"left out: {line}")
    for layer, ratio in record.ratios.items():
        print(f"{layer}: scatter within / between classes {ratio:.4g}, over {record.over}")
    if record.wrong:
        share = 100 * (record.wrong_near or 0) / record.wrong
        print(f"{share:.0f} % of the errors are within {record.border} pixels of a border")
    for name in record.figures:
        print(found.output / name)


def _of_test(args: argparse.Namespace) -> _Run:
    """Take config, checkpoint and split from a finished test."""
    if args.config is not None:
        raise InputError("-c", f"{args.run} is a test, which knows its config", "leave -c out")
    protocol = read_protocol(args.run)
    if protocol.on_earth or protocol.predictions:
        raise InputError(
            args.run, "has scores of masks, without their network", "give a checkpoint and -c"
        )
    experiment = tested_experiment(args.run, protocol, args.overrides)
    checkpoint = Path(protocol.checkpoint)
    if not checkpoint.is_file() or file_hash(checkpoint) != protocol.checkpoint_sha256:
        raise InputError(
            checkpoint,
            "is missing, or is not the checkpoint that was tested",
            "test again, or give a checkpoint and -c",
        )
    split = args.split or protocol.split
    samples = _samples(experiment, split) if args.split else tested_samples(experiment, protocol)
    return _Run(experiment, checkpoint, samples, split, args.output or args.run / FIGURES / FOLDER)


def _of_checkpoint(args: argparse.Namespace) -> _Run:
    """Take a checkpoint, or that of a run."""
    checkpoint = args.run
    if checkpoint.is_dir():
        names = [checkpoint / name for name in ("best.ckpt", "last.ckpt")]
        checkpoint = next((path for path in names if path.is_file()), checkpoint)
    if not checkpoint.is_file():
        raise InputError(
            args.run,
            "is no folder of a test or of a run, and no checkpoint",
            "give fig_results/..., model_weights/.../version_0 or best.ckpt",
        )
    for flag, value in (("-c", args.config), ("-o", args.output)):
        if value is None:
            raise InputError(flag, f"is needed, since {args.run} is not the folder of a test")
    experiment = load_experiment(args.config, args.overrides)
    split = args.split or experiment.data.test
    return _Run(experiment, checkpoint, _samples(experiment, split), split, args.output)


def _samples(experiment: Experiment, split: str) -> Sequence[Sample]:
    info = experiment.dataset
    if split not in info.splits:
        problem = f"{info.name} has no such split{nearest(split, info.splits)}"
        raise InputError(f"--split {split}", problem)
    return find_samples(info, experiment.root, split)
