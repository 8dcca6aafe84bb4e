"""Compare ways to choose what to label next: rounds of training, mapping and labeling.

For the arguments, see ``tools/label_study.py``.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.table import Table

import network.models  # noqa: F401  repairs torchvision first where it must be
from network.commands.arguments import command_parser, execute
from network.config import load_experiment
from network.console import text_console
from network.errors import InputError
from network.extras import require_extra
from network.maps.search import WAYS
from network.writing import owned


def main(description: str) -> None:
    """Parse the command line and run the study."""
    execute(make_parser(description), run)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py; its data are scenes")
    add("-o", "--output", type=Path, help="default: fig_results/label_study/NAME")
    add("--size", type=float, required=True, metavar="METERS", help="side of the windows")
    add("--start", type=int, default=4, help="windows of the first round (default %(default)s)")
    add("--step", type=int, default=4, help="windows that each round adds (default %(default)s)")
    add("--rounds", dest="count", type=int, default=5, help="rounds (default %(default)s)")
    add(
        "--head-start",
        type=int,
        default=1,
        metavar="N",
        help="the first round has N times the epochs of the config (default %(default)s)",
    )
    add("--ways", nargs="+", choices=WAYS, default=["entropy", "disagreement", "random"])
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    add("--accelerator", default="auto", choices=["auto", "cpu", "gpu", "cuda", "mps"])
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    for name in ("ways", "seeds"):
        given = getattr(args, name)
        if len(set(given)) < len(given):
            raise InputError(f"--{name} {' '.join(map(str, given))}", "give each once")
    if min(args.seeds) < 0:
        raise InputError(f"--seeds {min(args.seeds)}", "must be at least 0")
    for word in args.overrides:
        if word.startswith(("name=", "seed=", "data.val=")):
            raise InputError(f"override '{word}'", "each run sets this itself")
    require_extra("vectors", "windows to label")
    from network.studies.next_labels import FIGURE, TABLE, Rounds, run_study, spread, write_curves

    base = load_experiment(args.config, args.overrides)
    rounds = Rounds(args.size, args.start, args.step, args.count, args.head_start)
    output = args.output or Path("fig_results/label_study") / base.name
    with owned(output):
        curves = run_study(base, rounds, args.ways, args.seeds, output, args.accelerator)
        write_curves(curves, rounds, output)
    table = Table(title=f"test mIoU, %, {len(args.seeds)} seeds", title_justify="left")
    table.add_column("windows")
    for number in range(1, args.count + 1):
        table.add_column(str(rounds.windows(number)), justify="right")
    for curve in curves:
        means, deviations = (100 * np.array(values) for values in spread(curve))
        cells = (f"{m:.1f} ± {d:.1f}" for m, d in zip(means, deviations, strict=True))
        table.add_row(curve.way, *cells)
    text_console(100).print(table)
    print(output / TABLE)
    print(output / FIGURE)
