"""Train the experiment of a config.

For the arguments, see ``train.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import (
    add_compute_flags,
    command_parser,
    compute_overrides,
    execute,
)
from network.config import load_experiment
from network.errors import InputError
from network.training.train import LATEST, STRATEGIES, train


def main(description: str) -> None:
    """Parse the command line and train."""
    execute(make_parser(description), run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.resume and args.init_from:
        raise InputError(
            f"--init-from {args.init_from}",
            "a resumed run has its own weights",
            "leave out --resume",
        )
    experiment = load_experiment(args.config, [*args.overrides, *flag_overrides(args)])
    train(
        experiment,
        resume=args.resume,
        init_from=args.init_from,
        devices=args.devices,
        num_nodes=args.num_nodes,
        strategy=args.strategy,
        accelerator=args.accelerator,
        fast_dev_run=args.fast_dev_run,
    )


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line, on which overrides may stand anywhere."""
    parser = command_parser(description)
    parser.add_argument("-c", "--config", type=Path, required=True, help="config/.../x.py")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=LATEST,
        metavar="CKPT",
        help="continue from a last.ckpt, by default that of the newest run",
    )
    parser.add_argument(
        "--init-from",
        type=Path,
        metavar="CKPT",
        help="start from all fitting weights of a checkpoint (of this project, the released code "
        "or others)",
    )
    parser.add_argument("--devices", default="auto", help="a count, a list such as 0,1, or auto")
    parser.add_argument("--num-nodes", type=int, default=1)
    parser.add_argument("--strategy", default="auto", choices=STRATEGIES)
    parser.add_argument(
        "--accelerator", default="auto", choices=["auto", "cpu", "gpu", "cuda", "mps"]
    )
    add_compute_flags(parser)
    parser.add_argument("--accumulate", type=int, help="batches whose gradients make one step")
    parser.add_argument("--seed", type=int, help="seed of weights, augmentation and order")
    parser.add_argument(
        "--fast-dev-run",
        action="store_true",
        help="one batch of each kind; neither weights nor logs are written",
    )
    return parser


def flag_overrides(args: argparse.Namespace) -> list[str]:
    """Turn flags into overrides of the config, which win over ``key=value`` of the same setting."""
    given = {"optim.accumulate": args.accumulate, "seed": args.seed}
    plain = [f"{key}={value}" for key, value in given.items() if value is not None]
    return plain + compute_overrides(args)
