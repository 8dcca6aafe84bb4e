"""Measure how the padding of ISPRS tiles changes scores, with two policies in training and test.

For the arguments, see ``tools/padding_study.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.studies.padding import geometry_table, results_table, run_study, write_study

CONFIG = Path(__file__).resolve().parents[2] / "config/padding_study/bicor.py"


def main(description: str) -> None:
    """Parse the command line and run the study."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("fig_results/padding_study"))
    add("--work", type=Path, default=Path("data/padding_study"), help="folder for tiles, patches")
    add(
        "--real",
        type=Path,
        help="folder with real crops, to test on in addition to the synthetic tiles",
    )
    execute(parser, run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    print(geometry_table())
    rows = run_study(args.work, CONFIG, args.real, args.overrides)
    write_study(rows, args.output)
    print(results_table(rows))
    print(args.output / "padding_study.md")
    print(args.output / "padding_study.png")
