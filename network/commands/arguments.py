"""Arguments that several command lines have in common."""

import argparse
from pathlib import Path

from network.config import PRECISIONS, Experiment
from network.evaluation.tta import TTA_NAMES
from network.training.runs import find_checkpoint


def command_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help shows the docstring of its script as it was written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def chosen_checkpoint(experiment: Experiment, given: Path | None) -> Path:
    """The one given, or the newest run's best; without a held-out split there is no best one."""
    names = ("best.ckpt", "last.ckpt") if experiment.data.val else ("last.ckpt",)
    checkpoint = given or find_checkpoint(experiment, names)
    print(f"checkpoint {checkpoint}")
    return checkpoint


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """What all that predict have in common."""
    add = parser.add_argument
    add("-t", "--tta", choices=TTA_NAMES, default="none", help="test-time augmentation")
    add("--checkpoint", type=Path, help="weights; the newest run's best by default")
    add("--overwrite", action="store_true", help="delete the masks of another run in -o")
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default auto)")
    add_compute_flags(parser)


def add_compute_flags(parser: argparse.ArgumentParser) -> None:
    """The flags for ``compute.*``; without one the config counts."""
    parser.add_argument("--precision", choices=PRECISIONS, help="bf16-mixed suits recent GPUs")
    parser.add_argument("--channels-last", action="store_true", help="faster convolutions on GPUs")
    parser.add_argument("--compile", action="store_true", help="torch.compile; slow first steps")


def compute_overrides(args: argparse.Namespace) -> list[str]:
    """What the flags of :func:`add_compute_flags` change, as overrides of a config."""
    overrides = [f"compute.precision={args.precision}"] if args.precision else []
    switches = {"channels_last": args.channels_last, "compile": args.compile}
    return overrides + [f"compute.{key}=True" for key, given in switches.items() if given]
