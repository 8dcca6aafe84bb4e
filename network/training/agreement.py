"""Check before the first step that all processes of a training have the same facts."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from network.config import Experiment, settings
from network.errors import InputError
from network.evaluation.protocol import INIT_KEY
from network.training.data import SegmentationData
from network.training.processes import gathered, is_connected, raise_together
from network.writing import file_hash

_OWN = {"data.root", "data.workers", "data.cache", "data.cache_dir", "data.cache_gb"}
"""Settings that may differ between machines."""


class Agreement(Callback):
    """A callback that compares the facts of all processes and gives them the first one's folder.

    The check is needed because machines are started one by one, and the commands may differ.

    Args:
        experiment: the experiment.
        run: run folder of this process; it becomes that of the first process.
        resumed: the checkpoint that the training resumes from, if any.
    """

    def __init__(self, experiment: Experiment, run: Path, resumed: Path | None):
        self.experiment, self.run, self.resumed = experiment, run, resumed

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not is_connected():
            return
        facts = gathered(self._facts(SegmentationData.of(trainer), pl_module))
        raise_together(_difference(facts))
        self.run = Path(gathered(str(self.run))[0])

    def _facts(self, data: SegmentationData, task: Any) -> dict[str, Any]:
        chosen = settings(self.experiment)
        facts = {key: value for key, value in chosen.items() if key not in _OWN}
        facts["classes"] = self.experiment.dataset.classes
        facts |= {f"{kind} training labels": d[:12] for kind, d in data.train_digests.items()}
        facts["training images"] = len(data.train_samples)
        facts["validation images"] = len(data.val_samples)
        facts["images without labels"] = len(data.unlabeled)
        if INIT_KEY in task.history:
            facts["weights to begin with"] = task.history[INIT_KEY]["sha256"][:12]
        if self.resumed:
            facts["checkpoint to resume"] = file_hash(self.resumed)[:12]
        return facts


def _difference(facts: list[dict[str, Any]]) -> InputError | None:
    """Make the error for the first fact that differs between processes; None if all are equal."""
    for key in dict.fromkeys(key for one in facts for key in one):
        values = [one.get(key) for one in facts]
        for rank, value in enumerate(values):
            if value != values[0]:
                return InputError(
                    key,
                    f"process 0 has {values[0]}, process {rank} has {value}",
                    "start all machines with the same command, on copies of the same data",
                )
    return None
