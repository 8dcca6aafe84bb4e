"""Where runs leave checkpoints and logs: <experiment>/version_<n>/ in a folder for each."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from network.config import Experiment
from network.errors import InputError

WEIGHTS_DIR = Path("model_weights")
LOGS_DIR = Path("lightning_logs")
_RUN = "BICOR_SEG_RUN"
"""Environment variable by which a run tells its processes their folder."""


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

    It is removed again if nothing was written into it. The processes of one run share a folder:
    those that Lightning starts are told it, and those that a cluster has started together find
    the same name, which none of them makes before they are connected.
    """
    told = os.environ.get(_RUN)
    processes = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or "1"
    if told or processes != "1":
        yield Path(told) if told else new_run(experiment)
        return
    while True:
        run = new_run(experiment)
        try:
            run.mkdir(parents=True)
            break
        except FileExistsError:  # another run was faster
            continue
    os.environ[_RUN] = str(run)
    try:
        yield run
    finally:
        os.environ.pop(_RUN, None)
        for folder in (run, *run.parents):
            if folder == Path() or any(folder.iterdir()):
                break
            folder.rmdir()


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
        f"{WEIGHTS_DIR / experiment.name}: no {' or '.join(names)} of this experiment; train it "
        f"first (python train.py -c {experiment.config}), or name a checkpoint"
    )


def read_curves(checkpoint: Path) -> dict[str, list[tuple[int, float]]]:
    """What the run of a checkpoint has logged: (epoch, value) by name; empty without its logs.

    A resumed run goes on in a folder of its own; what it trained again counts.
    """
    run, weights = checkpoint.parent.resolve(), WEIGHTS_DIR.resolve()
    if not run.is_relative_to(weights):
        return {}
    logs = LOGS_DIR / run.relative_to(weights)
    resumed = logs.parent.glob(f"{logs.name}_resumed_*/metrics.csv")
    by_number = sorted(resumed, key=lambda path: int(path.parent.name.rpartition("_")[2]))
    values: dict[str, dict[int, float]] = {}
    for path in (logs / "metrics.csv", *by_number):
        if not path.is_file():
            continue
        with path.open() as file:
            for row in csv.DictReader(file):
                epoch = row.pop("epoch", None)
                for name, value in row.items():
                    if epoch and value and name != "step":
                        values.setdefault(name, {})[int(epoch)] = float(value)
    return {name: sorted(points.items()) for name, points in values.items()}


def _number(run: Path) -> int:
    return int(run.name.removeprefix("version_"))
