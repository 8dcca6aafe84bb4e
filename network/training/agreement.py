"""What the processes of a training must have in common before its first step."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from network.config import Experiment, settings
from network.errors import InputError
from network.evaluation.protocol import INIT_KEY, file_hash
from network.training.data import SegmentationData
from network.training.processes import gathered, is_connected, raise_together

_OWN = {"data.root", "data.workers"}
"""Settings that each machine may have for itself."""


class Agreement(Callback):
    """Compare what the processes train, and tell all of them the folder of the first.

    Machines are started one by one, by commands that may differ.

    Args:
        run: folder that this process would write to.
        resumed: the checkpoint that it goes on from.
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
        if INIT_KEY in task.history:
            facts["weights to begin with"] = task.history[INIT_KEY]["sha256"][:12]
        if self.resumed:
            facts["checkpoint to resume"] = file_hash(self.resumed)[:12]
        return facts


def _difference(facts: list[dict[str, Any]]) -> InputError | None:
    """The first fact that is not the same in all processes."""
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
