"""Arguments that several command lines have in common."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from network.config import Experiment
from network.settings import PRECISIONS
from network.training.runs import find_checkpoint
from network.tta import TTA_NAMES

_OVERRIDE = re.compile(r"[a-z]\w*(\.\w+)*=")


def command_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help shows the docstring of its script as it was written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def parse_with_overrides(
    parser: argparse.ArgumentParser,
    words: Sequence[str] | None = None,
    example: str = "data.root=PATH",
) -> argparse.Namespace:
    """Parse a command line; its ``key=value`` words may stand anywhere, and become ``overrides``.

    Args:
        words: of the command line; by default the process's own.
        example: of such a word, for the help.
    """
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"e.g. {example}")
    words = sys.argv[1:] if words is None else words
    # Taken out first: an option with several values would swallow what follows it.
    overrides = [word for word in words if _OVERRIDE.match(word)]
    args = parser.parse_intermixed_args([word for word in words if word not in overrides])
    args.overrides = overrides + args.overrides
    return args


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
