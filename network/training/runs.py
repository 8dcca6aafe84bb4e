"""Where runs leave checkpoints and logs: <experiment>/version_<n>/ in a folder for each."""

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
    """Checkpoint folders of the experiment, oldest first."""
    folder = WEIGHTS_DIR / experiment.name
    found = [path for path in folder.glob("version_*") if path.name[8:].isdigit()]
    return sorted(found, key=_number)


def new_run(experiment: Experiment) -> Path:
    """A folder name that neither checkpoints nor logs have used; it is not made yet."""
    logs = [p for p in (LOGS_DIR / experiment.name).glob("version_*") if p.name[8:].isdigit()]
    used = [_number(path) for path in runs(experiment) + logs]
    return WEIGHTS_DIR / experiment.name / f"version_{max(used, default=-1) + 1}"


@contextmanager
def reserved_run(experiment: Experiment) -> Iterator[Path]:
    """The folder of a new run, made at once: runs that start together get one each.

    It belongs to this process, see :func:`owned`, and is removed again if nothing was written
    into it. Only the first of several processes makes one; the others are told its name when they
    are connected.
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
        with suppress(OSError):  # something was written
            for folder in (run, *run.parents):
                folder.rmdir()


@contextmanager
def resumed_run(run: Path) -> Iterator[Path]:
    """The folder of a run that goes on, of which the first process is the only writer.

    What its dead processes have left in the logs is removed too.
    """
    with owned(run) if is_first_process() else nullcontext():
        for logs in log_folders(run):
            remove_leftovers(logs)
        yield run


def free_logs(experiment: Experiment, run: Path) -> str:
    """The name of a log folder for a run; of a resumed one another one beside the first."""
    folder, number = run.name, 0
    while (LOGS_DIR / experiment.name / folder).exists():
        number += 1
        folder = f"{run.name}_resumed_{number}"
    return folder


def find_checkpoint(experiment: Experiment, names: tuple[str, ...]) -> Path:
    """The first of the files ``names`` in the newest run that has one.

    Raises:
        InputError: no run has one.
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
    """The log folders that a run has, oldest first: each time that it is resumed it gets another.

    A run that lies elsewhere than in ``model_weights`` has none.
    """
    run, weights = run.resolve(), WEIGHTS_DIR.resolve()
    if not run.is_relative_to(weights):
        return []
    logs = LOGS_DIR / run.relative_to(weights)
    numbers = {
        path: path.name.rpartition("_")[2] for path in logs.parent.glob(f"{logs.name}_resumed_*")
    }
    ours = [path for path, number in numbers.items() if number.isdecimal()]  # no copy by hand
    return [logs, *sorted(ours, key=lambda path: int(numbers[path]))]


def read_curves(checkpoint: Path) -> dict[str, list[tuple[int, float]]]:
    """What the run of a checkpoint has logged: (epoch, value) by name; empty without its logs.

    A resumed run goes on in a folder of its own; what it trained again counts.

    Raises:
        InputError: the logs are damaged.
    """
    values: dict[str, dict[int, float]] = {}
    for logs in log_folders(checkpoint.parent):
        path = logs / "metrics.csv"
        if not path.is_file():
            continue
        try:
            with path.open() as file:
                for row in csv.DictReader(file):
                    epoch = row.pop("epoch", None)
                    for name, value in row.items():
                        if epoch and value and name != "step":
                            values.setdefault(name, {})[int(epoch)] = float(value)
        except (ValueError, TypeError, csv.Error) as error:  # as a full disk leaves it
            raise InputError(
                path, f"damaged ({error})", "delete its broken lines, or the file"
            ) from error
    return {name: sorted(points.items()) for name, points in values.items()}


def _number(run: Path) -> int:
    return int(run.name.removeprefix("version_"))
