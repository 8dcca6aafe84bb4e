"""Command lines of the test scripts, for images and for video frames in sequences."""

import argparse
from functools import partial
from pathlib import Path

from network.commands.arguments import (
    add_model_flags,
    check_exported_flags,
    chosen_backend,
    chosen_checkpoint,
    command_parser,
    compute_overrides,
    execute,
)
from network.config import Experiment, load_experiment
from network.datasets.info import LOVEDA, POTSDAM, UAVID, VAIHINGEN
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.evaluation.evaluate import BOUNDARY_TOLERANCE, evaluate
from network.evaluation.results import REPORT_FILE
from network.maps.evaluate import evaluate_scenes
from network.reporting.page import write_report

DATA_SETS = {info.name: info for info in (VAIHINGEN, POTSDAM, LOVEDA, UAVID)}
"""Data sets that have their own test script, by name."""


def run_test(description: str, name: str | None = None) -> None:
    """Parse the command line and evaluate a model on images.

    Args:
        description: docstring of the script, for the help.
        name: name of the data set whose classes and tiles the config must have; None for any.
    """
    execute(_parser(description), partial(_test, DATA_SETS[name] if name else None))


def _test(dataset: DatasetInfo | None, args: argparse.Namespace) -> None:
    check_exported_flags(args)
    experiment = load_experiment(args.config, [*args.overrides, *compute_overrides(args)])
    ours = experiment.dataset
    if dataset and (ours.classes, ours.tiles) != (dataset.classes, dataset.tiles):
        raise InputError(
            args.config,
            f"is for {ours.name}, not for {dataset.name}",
            "use the test script of that data set, or test_custom.py",
        )
    if args.batch_size < 1:
        raise InputError(f"--batch-size {args.batch_size}", "must be at least 1")
    if args.boundary_tolerance < 0:
        raise InputError(f"--boundary-tolerance {args.boundary_tolerance}", "must be at least 0")
    split = "val" if args.val else experiment.data.test
    if split not in experiment.dataset.splits:
        raise InputError("--val", f"{experiment.dataset.name} has no split 'val'")
    if experiment.dataset.scenes(split):
        _test_scenes(experiment, split, args)
        return
    summaries = evaluate(
        experiment,
        checkpoint=chosen_checkpoint(experiment, args.checkpoint),
        output=args.output,
        split=split,
        tta=args.tta,
        rgb=args.rgb,
        batch_size=args.batch_size,
        device=args.device,
        backend=chosen_backend(args),
        overwrite=args.overwrite,
        boundary_tolerance=args.boundary_tolerance,
    )
    _end(experiment, args, f"masks{' and scores' if summaries else ''} in {args.output}")


def _test_scenes(experiment: Experiment, split: str, args: argparse.Namespace) -> None:
    if args.rgb:
        remedy = "leave it out, since maps have a color table"
        raise InputError("--rgb", "is not for scenes on Earth", remedy)
    summaries = evaluate_scenes(
        experiment,
        checkpoint=chosen_checkpoint(experiment, args.checkpoint),
        output=args.output,
        split=split,
        tta=args.tta,
        batch_size=args.batch_size,
        device=args.device,
        backend=chosen_backend(args),
        overwrite=args.overwrite,
        boundary_tolerance=args.boundary_tolerance,
    )
    if args.report and not summaries:
        print(f"maps in {args.output}; without labels there is nothing to report")
        return
    _end(experiment, args, f"maps{' and scores' if summaries else ''} in {args.output}")


def run_frames_test(description: str, name: str) -> None:
    """Parse the command line and evaluate a model on whole frames, in patches.

    Args:
        description: docstring of the script, for the help.
        name: name of the data set of the frames.
    """
    execute(_frames_parser(description, name), partial(_test_frames, DATA_SETS[name]))


def _test_frames(dataset: DatasetInfo, args: argparse.Namespace) -> None:
    check_exported_flags(args)
    if args.dataset != dataset.name:
        raise InputError(f"-d {args.dataset}", f"this script is for {dataset.name}")
    experiment = load_experiment(args.config, [*args.overrides, *compute_overrides(args)])
    if experiment.dataset.classes != dataset.classes:
        raise InputError(
            args.config,
            f"is for {experiment.dataset.name}, not for {dataset.name}",
            "use the test script of that data set, or test_custom.py",
        )
    for flag, value in (("-ph", args.patch_height), ("-pw", args.patch_width), ("-b", args.batch)):
        if value < 1:
            raise InputError(f"{flag} {value}", "must be at least 1")
    # The official folders are uavid_train, uavid_val and uavid_test.
    split = args.input.resolve().name.removeprefix(f"{dataset.name}_")
    evaluate(
        experiment,
        checkpoint=chosen_checkpoint(experiment, args.checkpoint),
        output=args.output,
        split=split,
        tta=args.tta,
        rgb=True,
        batch_size=args.batch,
        device=args.device,
        backend=chosen_backend(args),
        overwrite=args.overwrite,
        frames=args.input,
        patch=(args.patch_height, args.patch_width),
    )
    _end(experiment, args, f"masks in {args.output}/seqN/Labels")


def _end(experiment: Experiment, args: argparse.Namespace, done: str) -> None:
    print(done)
    if args.report:
        page = args.output / REPORT_FILE
        write_report(experiment, args.output, page, device=args.device)
        print(page)


def _frames_parser(description: str, name: str) -> argparse.ArgumentParser:
    parser = command_parser(description)
    add = parser.add_argument
    add("-i", "--input", type=Path, required=True, help="folder of the sequences seqN/Images")
    add("-c", "--config", type=Path, required=True, help="config/.../x.py")
    add("-o", "--output", type=Path, required=True, help="folder for seqN/Labels/*.png")
    add("-ph", "--patch-height", type=int, default=1152, help="pixels (default %(default)s)")
    add("-pw", "--patch-width", type=int, default=1024, help="pixels (default %(default)s)")
    add(
        "-b",
        "--batch",
        "--batch-size",
        type=int,
        default=2,
        help="patches that are predicted at once (default %(default)s)",
    )
    add("-d", "--dataset", default=name, help="only %(default)s; commands for GeoSeg give it")
    add("--report", action="store_true", help=f"also write {REPORT_FILE}")
    add_model_flags(parser)
    return parser


def _parser(description: str) -> argparse.ArgumentParser:
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py")
    add("-o", "--output", type=Path, required=True, help="folder for the masks")
    add("--rgb", action="store_true", help="write RGB masks, not labels")
    add("--val", action="store_true", help="the val split, not the test split")
    add(
        *("-b", "--batch-size"),
        type=int,
        default=1,
        help="images that are predicted at once (default 1); with -t, as many views as fit into "
        "their pixels, and at least one",
    )
    add(
        "--boundary-tolerance",
        type=int,
        default=BOUNDARY_TOLERANCE,
        help="largest distance in pixels of boundaries that boundary F1 counts as matched "
        "(default %(default)s)",
    )
    add("--report", action="store_true", help=f"also write {REPORT_FILE}; see tools/make_report.py")
    add_model_flags(parser)
    return parser
