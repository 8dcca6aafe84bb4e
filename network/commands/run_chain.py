"""Run the chain from image-level labels to building masks.

For the arguments, see ``tools/weak/run_chain.py``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from network.buildings.record import Step, is_current, run_step
from network.buildings.settings import load_chain
from network.buildings.steps import (
    STEPS,
    TRAIN_CLASSIFIER,
    TRAIN_FINAL,
    TRAIN_FULL,
    TRAIN_REFINER,
    final_experiment,
)
from network.buildings.work import Work
from network.commands.arguments import command_parser, execute
from network.compute import find_device
from network.errors import InputError, nearest
from network.models.encoder import DenseEncoder
from network.writing import is_unused, owned


def main(description: str) -> None:
    """Parse the command line and run its steps, by default all of them."""
    parser = _parser(description)
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--only", metavar="STEP", help="the only step to run")
    some.add_argument("--until", metavar="STEP", help="the last step to run")
    parser.add_argument(
        "--no-full", action="store_true", help="leave out the training on the truth"
    )
    execute(parser, run, example="root=PATH")


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    work = _open(args)
    chosen = _chosen(args, work)
    _check_networks(work, chosen)
    with owned(work.folder):
        for step in chosen:
            run_step(step, work)


def _chosen(args: argparse.Namespace, work: Work) -> Sequence[Step]:
    names = [step.name for step in STEPS]
    for flag, name in (("--only", args.only), ("--until", args.until)):
        if name and name not in names:
            raise InputError(f"{flag} {name}", f"no such step{nearest(name, names)}")
    if args.only:
        return [STEPS[names.index(args.only)]]
    chosen = STEPS[: names.index(args.until) + 1] if args.until else STEPS
    # The upper bound needs true masks of the training tiles, and tiles to test on.
    is_full = not args.no_full and not work.chain.labels and work.chain.test
    return [step for step in chosen if is_full or step is not TRAIN_FULL]


def _check_networks(work: Work, steps: Sequence[Step]) -> None:
    """Build all networks once, so missing weights and other errors show now, not hours later."""
    chain, todo = work.chain, [step for step in steps if not is_current(step, work)]
    for step, section in ((TRAIN_CLASSIFIER, chain.classifier), (TRAIN_REFINER, chain.refiner)):
        if step in todo:
            DenseEncoder(section.encoder, section.weights)
    if TRAIN_FINAL in todo or TRAIN_FULL in todo:
        final_experiment(work, True, "").build_model()


def _parser(description: str) -> argparse.ArgumentParser:
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/weak/x.py")
    add("--work", type=Path, required=True, help="folder of all that the chain makes")
    add("--device", default="auto", help="cpu, cuda, cuda:1 (default: the GPU if there is one)")
    add("--oracle", action="store_true", help="choose epoch and threshold by training truth")
    return parser


def _open(args: argparse.Namespace) -> Work:
    chain = load_chain(args.config, args.overrides)
    if args.oracle:
        chain = replace(
            chain,
            refiner=replace(chain.refiner, oracle=True),
            pseudo=replace(chain.pseudo, oracle=chain.pseudo.crf == "none"),
        )
    if args.work.exists() and not args.work.is_dir():
        raise InputError(f"--work {args.work}", "is a file", "give a folder")
    if not is_unused(args.work) and not (args.work / "steps").is_dir():
        raise InputError(f"--work {args.work}", "holds other files", "give a folder of its own")
    return Work(chain, args.work, find_device(args.device))
