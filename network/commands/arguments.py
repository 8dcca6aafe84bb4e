"""Arguments that several command lines share, and the run of a command line."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from network.cluster import Cluster, Workers
from network.config import Experiment, load_experiment
from network.datasets.workers import available_cores
from network.errors import InputError
from network.exported.choice import Backend
from network.exported.load import is_exported
from network.exported.programs import PROGRAMS
from network.settings import PRECISIONS
from network.tta import TTA_NAMES

if TYPE_CHECKING:
    from network.evaluation.stamp import Stamp

_OVERRIDE = re.compile(r"[a-z]\w*(\.\w+)*=")
# Arguments in an error, without and with a value. Settings such as optim.lr=1 have a dot, and paths
# have a slash, so they do not match.
_ANOTHER = re.compile(r"another (output|work|name)( folder)?\b")
_OVERWRITE = re.compile(r",? or ([a-z]+ )*overwrite=True[^;,]*")
_ARGUMENT = re.compile(r"(?<![\w./])([a-z]\w*)=([^\s;:,?()]+)")


def command_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser whose help shows the docstring of its script as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def execute(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], None],
    *,
    overrides: bool = True,
    example: str = "data.root=PATH",
) -> None:
    """Parse the command line and run a command.

    Args:
        parser: parser of the command.
        run: runs the command with the parsed arguments.
        overrides: whether the command takes ``key=value`` words.
        example: an example of such a word, for the help.

    Raises:
        InputError: the input cannot be used. The error names flags where the library's error names
            arguments.
    """
    args = parse_with_overrides(parser, example=example) if overrides else parser.parse_args()
    try:
        run(args)
    except InputError as error:
        raise in_flags(error, parser) from error


def in_flags(error: InputError, parser: argparse.ArgumentParser) -> InputError:
    """Rewrite an error of the library so that it names flags instead of arguments.

    ``device=cuda`` becomes ``--device cuda``, and ``overwrite=True`` becomes ``--overwrite``. A
    command without this flag does not advise it.

    Args:
        error: the error of the library.
        parser: parser of the command, which knows the flags.
    """
    flags = {action.dest: action for action in parser._actions if action.option_strings}

    def as_flag(match: re.Match[str]) -> str:
        action = flags.get(match[1])
        if action is None:
            return match[0]
        # If there are two flags, people type the shorter one.
        flag = min(action.option_strings, key=len)
        return flag if action.nargs == 0 else f"{flag} {match[2]}"

    def another(match: re.Match[str]) -> str:
        action = flags.get(match[1])
        return match[0] if action is None else f"another {min(action.option_strings, key=len)}"

    # A file may have any name, such as seed=3.png.
    where = error.where if error.is_file else _ARGUMENT.sub(as_flag, error.where)
    remedy = error.remedy if "overwrite" in flags else _OVERWRITE.sub("", error.remedy)
    problem = _ARGUMENT.sub(as_flag, error.problem)
    if "DatasetInfo" not in remedy:  # its fields are no flags, though some have the same names
        remedy = _ARGUMENT.sub(as_flag, remedy)
    return type(error)(where, problem, _ANOTHER.sub(another, remedy))


def parse_with_overrides(
    parser: argparse.ArgumentParser,
    words: Sequence[str] | None = None,
    example: str = "data.root=PATH",
) -> argparse.Namespace:
    """Parse a command line; its ``key=value`` words may stand anywhere and become ``overrides``.

    Args:
        parser: parser of the command.
        words: the words of the command line; by default those of this process.
        example: an example of a ``key=value`` word, for the help.
    """
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"e.g. {example}")
    words = sys.argv[1:] if words is None else words
    # These come out first, since an option with several values would take them too.
    overrides = [word for word in words if _OVERRIDE.match(word)]
    args = parser.parse_intermixed_args([word for word in words if word not in overrides])
    args.overrides = overrides + args.overrides
    return args


def tested_experiment(folder: Path, protocol: "Stamp", overrides: Sequence[str]) -> Experiment:
    """Load the experiment of a finished test, with the settings that it was tested with.

    Args:
        folder: folder of the test.
        protocol: its protocol stamp.
        overrides: ``key=value`` words of the command line, which count more.

    Raises:
        InputError: the config is gone, or does not know these settings any more.
    """
    recorded = [f"{key}={value}" for key, value in protocol.settings.items()]
    try:
        return load_experiment(protocol.config, [*recorded, *overrides])
    except InputError as error:  # say where the settings come from, as the user did not type them
        raise InputError(f"{folder}, with the settings it was tested with: {error}") from error


def chosen_checkpoint(experiment: Experiment, given: Path | None) -> Path:
    """Choose the given checkpoint, or one of the newest run.

    Of a run, this is ``best.ckpt``; it is ``last.ckpt`` if the config has no val split, or if there
    is no ``best.ckpt``.

    Args:
        experiment: the experiment whose runs are searched.
        given: the checkpoint of the command line; None to search.
    """
    from network.training.runs import find_checkpoint  # this room needs torch

    names = ("best.ckpt", "last.ckpt") if experiment.data.val else ("last.ckpt",)
    checkpoint = given or find_checkpoint(experiment, names)
    print(f"checkpoint {checkpoint}")
    return checkpoint


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of all commands that predict masks."""
    add = parser.add_argument
    add("-t", "--tta", choices=TTA_NAMES, default="none", help="test-time augmentation")
    add(
        "--checkpoint",
        type=Path,
        help="weights, or an exported file .onnx, .xml or .pt2 (default: best.ckpt of the newest "
        "run, or last.ckpt if it has none)",
    )
    add("--backend", choices=PROGRAMS, help="program that runs an exported file")
    add("--overwrite", action="store_true", help="delete the masks of another run in -o")
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default auto)")
    add_compute_flags(parser)


def add_workers_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of commands that share their work among processes."""
    group = parser.add_mutually_exclusive_group()
    add_cluster_flags(group, "processes (default: all cores)", default=available_cores())


def chosen_workers(args: argparse.Namespace) -> Workers:
    """Return the cluster or the number of processes of :func:`add_workers_flags`."""
    return Cluster(args.scheduler) if args.scheduler else args.workers


def add_cluster_flags(
    parser: argparse._ActionsContainer, workers: str, default: int | None = None
) -> None:
    """Add the flags that choose worker processes or a Dask cluster.

    Args:
        parser: parser of the command, or a group of it.
        workers: help of ``--workers``.
        default: default of ``--workers``.
    """
    parser.add_argument("--workers", type=int, default=default, help=workers)
    parser.add_argument(
        "--scheduler", help="address of a Dask scheduler, e.g. tcp://host:8786, or its file"
    )


def add_compute_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for ``compute.*``; without a flag, the config's value counts."""
    parser.add_argument("--precision", choices=PRECISIONS, help="bf16-mixed suits recent GPUs")
    parser.add_argument("--channels-last", action="store_true", help="faster convolutions on GPUs")
    parser.add_argument("--compile", action="store_true", help="torch.compile; slow first steps")


def check_exported_flags(args: argparse.Namespace) -> None:
    """Raise an :class:`InputError` for flags that an exported file has no use for."""
    if args.checkpoint is None or not is_exported(args.checkpoint):
        return
    for flag, given in (("--channels-last", args.channels_last), ("--compile", args.compile)):
        if given:
            raise InputError(flag, "is for checkpoints, not for exported files", "leave it out")


def check_exported(args: argparse.Namespace) -> None:
    """Raise an :class:`InputError` for flags that an exported file leaves no choice of."""
    check_exported_flags(args)
    for name, given in (("--config", args.config), ("key=value", args.overrides)):
        if given:
            problem = f"changes nothing, since {args.checkpoint.name} says itself how it is used"
            raise InputError(name, problem, "leave it out")


def chosen_backend(args: argparse.Namespace) -> Backend:
    """Return how an exported file is run, as :func:`add_model_flags` tells."""
    return Backend(args.backend, args.precision)


def compute_overrides(args: argparse.Namespace) -> list[str]:
    """Turn the flags of :func:`add_compute_flags` into overrides of a config."""
    overrides = [f"compute.precision={args.precision}"] if args.precision else []
    switches = {"channels_last": args.channels_last, "compile": args.compile}
    return overrides + [f"compute.{key}=True" for key, given in switches.items() if given]
