"""Train on all folds of ground but one, test on that one, for each fold; print means.

For the arguments, see ``tools/cross_validate.py``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

import network.models  # noqa: F401  repairs torchvision first where it must be
from network.commands.arguments import command_parser, execute
from network.config import load_experiment
from network.console import text_console
from network.errors import InputError
from network.evaluation.scores import MAIN, Value
from network.studies.ablation import run_variant
from network.studies.cross_validation import (
    RESULT,
    STUDY_FILE,
    TABLE,
    CrossValidation,
    claim_output,
    collect_folds,
    count_folds,
    fold_experiment,
    fold_folder,
    values_of,
    write_folds,
)
from network.writing import owned


def main(description: str) -> None:
    """Parse the command line and cross-validate."""
    execute(make_parser(description), run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    for word in args.overrides:
        if word.startswith(("name=", "data.train=", "data.val=", "data.test=")):
            raise InputError(f"override '{word}'", "each fold sets this itself")
    base = load_experiment(args.config, args.overrides)
    folds = count_folds(args.areas)
    experiments = [fold_experiment(base, args.areas, fold) for fold in range(folds)]
    output = args.output or Path("fig_results/folds") / base.name
    with owned(output):
        is_new = not (output / STUDY_FILE).exists()
        claim_output(output, base, args.areas)
        for fold, experiment in enumerate(experiments):
            print(f"fold {fold} of {folds}")
            options = {"devices": "1", "accelerator": args.accelerator}
            try:
                run_variant(experiment, fold_folder(output, fold), "test", **options)
            except InputError:
                if is_new and not fold_folder(output, 0).exists():
                    # A command with other settings may follow, and nothing is there yet.
                    (output / STUDY_FILE).unlink(missing_ok=True)
                raise
        found = collect_folds(output, folds, base.dataset)
        write_folds(found, output, args.areas)
    for one in found:
        print_folds(one)
    print(output / RESULT)
    print(output / TABLE)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py; its data are scenes")
    add("-a", "--areas", type=Path, required=True, help="the folds of tools/split_scenes.py")
    add("-o", "--output", type=Path, help="default: fig_results/folds/NAME")
    add("--accelerator", default="auto", choices=["auto", "cpu", "gpu", "cuda", "mps"])
    return parser


def print_folds(found: CrossValidation) -> None:
    """Print the scores of each fold, their mean and deviation, and the pooled ones."""
    keys = [*MAIN, *(key for key in values_of(found.pooled) if key.startswith("IoU "))]
    table = Table(title=f"{found.kind} masks, {len(found.folds)} folds, %", title_justify="left")
    for heading in ("fold", *keys):
        table.add_column(heading, justify="right")
    rows: list[tuple[str, Sequence[Value]]] = [
        (str(number), [values_of(scores)[key] for key in keys])
        for number, scores in enumerate(found.folds)
    ]
    for name, values in rows:
        table.add_row(name, *map(_percent, values))
    table.add_section()
    spread = [found.spread(key) for key in keys]
    table.add_row("mean", *(_percent(mean) for mean, _ in spread))
    table.add_row("std", *(_percent(deviation) for _, deviation in spread))
    table.add_row("pooled", *(_percent(values_of(found.pooled)[key]) for key in keys))
    text_console(140).print(table)


def _percent(value: Value) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
