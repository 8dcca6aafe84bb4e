"""Where runs leave checkpoints and logs: <experiment>/version_<n>/ in a folder for each."""

import csv
from pathlib import Path

from network.config import Experiment
from network.errors import InputError

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
