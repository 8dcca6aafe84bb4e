"""Folders of runs: <experiment>/version_<n>/ in one folder for checkpoints and one for logs."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from network.config import Experiment
from network.errors import InputError, is_first_process
from network.writing import owned, remove_leftovers, writing

WEIGHTS_DIR = Path("model_weights")
LOGS_DIR = Path("lightning_logs")


def runs(experiment: Experiment) -> list[Path]:
    """List the checkpoint folders of an experiment, oldest first."""
    folder = WEIGHTS_DIR / experiment.name
    found = [path for path in folder.glob("version_*") if path.name[8:].isdecimal()]
    return sorted(found, key=_number)


def new_run(experiment: Experiment) -> Path:
    """Find a folder name that neither checkpoints nor logs have used, without making the folder."""
    logs = [p for p in (LOGS_DIR / experiment.name).glob("version_*") if p.name[8:].isdecimal()]
    used = [_number(path) for path in runs(experiment) + logs]
    return WEIGHTS_DIR / experiment.name / f"version_{max(used, default=-1) + 1}"


@contextmanager
def reserved_run(experiment: Experiment) -> Iterator[Path]:
    """Make the folder of a new run; runs that start at the same time get different folders.

    The folder belongs to this process, see :func:`owned`, and is removed again if nothing was
    written into it. Only the first of several processes makes a folder; the others get its name
    when they are connected.
    """
    if not is_first_process():
        yield new_run(experiment)
        return
    while True:
        run = new_run(experiment)
        with writing(run), suppress(FileExistsError):  # another run was faster
            run.mkdir(parents=True)
            break
    try:
        with owned(run):
            yield run
    finally:
        with suppress(OSError):  # the folder is not empty
            for folder in (run, *run.parents):
                folder.rmdir()


@contextmanager
def resumed_run(run: Path) -> Iterator[Path]:
    """Lock the folder of a resumed run for the first process.

    Files that dead processes have left in the logs are removed too.
    """
    with owned(run) if is_first_process() else nullcontext():
        for logs in log_folders(run):
            remove_leftovers(logs)
        yield run


def free_logs(experiment: Experiment, run: Path) -> str:
    """Find a free name for the log folder of a run; a resumed run gets another beside the first."""
    folder, number = run.name, 0
    while (LOGS_DIR / experiment.name / folder).exists():
        number += 1
        folder = f"{run.name}_resumed_{number}"
    return folder


def find_checkpoint(experiment: Experiment, names: tuple[str, ...]) -> Path:
    """Find a checkpoint in the newest run that has one.

    Args:
        experiment: the experiment.
        names: names of the files; the first one that exists is taken.

    Raises:
        InputError: no run has such a file.
    """
    for run in reversed(runs(experiment)):
        for name in names:
            if (run / name).is_file():
                return run / name
    raise InputError(
        f"{WEIGHTS_DIR / experiment.name}",
        f"no {' or '.join(names)} of this experiment",
        f"train it first (python train.py -c {experiment.config}), or name a checkpoint",
    )


def log_folders(run: Path) -> list[Path]:
    """List the log folders of a run, oldest first; each time it is resumed, it gets another one.

    A run outside ``model_weights`` has none.
    """
    run, weights = run.resolve(), WEIGHTS_DIR.resolve()
    if not run.is_relative_to(weights):
        return []
    logs = LOGS_DIR / run.relative_to(weights)
    numbers = {
        path: path.name.rpartition("_")[2] for path in logs.parent.glob(f"{logs.name}_resumed_*")
    }
    # Copies made by hand may have other endings.
    ours = [path for path, number in numbers.items() if number.isdecimal()]
    return [logs, *sorted(ours, key=lambda path: int(numbers[path]))]


def read_curves(checkpoint: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the logged curves of a checkpoint's run: (epoch, value) by name; empty without logs.

    A resumed run has several log folders. If it trained an epoch again, the later values count.

    Raises:
        InputError: the logs are damaged.
    """
    values: dict[str, dict[int, float]] = {}
    for logs in log_folders(checkpoint.parent):
        path = logs / "metrics.csv"
        if not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    epoch = row.pop("epoch", None)
                    for name, value in row.items():
                        if epoch and value and name != "step":
                            values.setdefault(name, {})[int(epoch)] = float(value)
        except (ValueError, TypeError, csv.Error) as error:  # a full disk leaves such files
            raise InputError(
                path, f"damaged ({error})", "delete its broken lines, or the file"
            ) from error
    return {name: sorted(points.items()) for name, points in values.items()}


def _number(run: Path) -> int:
    return int(run.name.removeprefix("version_"))
