"""Put the results of several test runs into one table, if they were measured in the same way.

For the arguments, see ``tools/compare_runs.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.errors import InputError, nearest
from network.evaluation.scores import class_scores
from network.reporting.comparison import common_kinds, compare, paired_differences, read_models
from network.reporting.comparison_tables import (
    difference_lines,
    print_comparison,
    to_csv,
    to_latex,
    to_markdown,
)
from network.writing import replacing

TEXT_FORMATS = {".md": to_markdown, ".tex": to_latex}
SUFFIXES = (*TEXT_FORMATS, ".csv")


def main(description: str) -> None:
    """Parse the command line and compare runs."""
    execute(make_parser(description), run, overrides=False)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    for path in args.output:
        if path.suffix not in SUFFIXES:
            raise InputError(f"-o {path}", f"end the name in {', '.join(SUFFIXES)}")
    models = read_models(args.runs)
    kinds = common_kinds(models)
    if args.labels:
        if args.labels not in kinds:
            raise InputError(
                f"--labels {args.labels}", f"not in all runs{nearest(args.labels, kinds)}"
            )
        kinds = [args.labels]
    if args.paired and len(models) < 2:
        raise InputError(
            "--paired", f"all runs are named '{models[0].name}'", "name two models, e.g. A=FOLDER"
        )
    comparisons = [compare(models, kind, args.per_class, args.mixed) for kind in kinds]
    differences = [paired_differences(models, kind) if args.paired else [] for kind in kinds]
    notes = [difference_lines(found) for found in differences]
    for comparison, lines in zip(comparisons, notes, strict=True):
        print_comparison(comparison)
        print("\n".join(lines), end="\n" * bool(lines))
    for path in args.output:
        if path.suffix == ".csv":
            text = to_csv(comparisons, differences)
        else:
            write = TEXT_FORMATS[path.suffix]
            text = "\n".join(map(write, comparisons, notes))
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
        print(path)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    choices = [score.name for score in class_scores()]
    parser = command_parser(description)
    add = parser.add_argument
    add("runs", nargs="+", metavar="[NAME=]FOLDER", help="folder that a test script has scored")
    add(
        *("-o", "--output"),
        type=Path,
        action="append",
        default=[],
        help="file to write (.md, .tex, .csv); may be given several times",
    )
    add("--labels", help="one kind of masks: full, eroded (default: all that the runs share)")
    add("--per-class", choices=choices, help="also a column for each class")
    add("--paired", action="store_true", help="paired bootstrap against the first model")
    add(
        "--mix-protocols",
        dest="mixed",
        action="store_true",
        help="compare results of different protocols too; the table warns of it",
    )
    return parser
