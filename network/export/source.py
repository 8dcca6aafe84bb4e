"""The trained network that is exported, with all facts about it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from network.card import CARD_KEY, Card, build_from, make_card, read_card
from network.config import load_experiment
from network.datasets import info as known_sets
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.models.checkpoint import SETTINGS_KEY, load_weights, read_checkpoint
from network.predictor import Predictor, load_network
from network.settings import Compute
from network.writing import file_hash

CHECKPOINTS = "best.ckpt", "last.ckpt"
"""Checkpoints of a run; the first one that it has is exported."""


@dataclass(frozen=True)
class Source:
    """A trained network.

    Attributes:
        path: its checkpoint.
        sha256: digest of the checkpoint.
        predictor: predicts with it on the CPU in single precision, each image whole.
        card: facts with which it predicts.
        training: settings of its training; empty if unknown.
        data_set: the data set with its splits; None if these are not known.
        root: folder of the data; None if unknown.
    """

    path: Path
    sha256: str
    predictor: Predictor
    card: Card
    training: dict[str, Any]
    data_set: DatasetInfo | None
    root: Path | None

    @property
    def network(self) -> nn.Module:
        """The network with merged LoRA, in the mode of prediction."""
        return self.predictor.model


def load_source(
    run_or_checkpoint: str | Path,
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> Source:
    """Load a trained network.

    Args:
        run_or_checkpoint: a checkpoint, or the folder of a run.
        config: config of the training, for checkpoints that do not tell how their network is built.
        overrides: ``key=value`` words of the training beside the config.

    Raises:
        InputError: the checkpoint or the config cannot be used, or they do not fit together.
    """
    path = find_in_run(Path(run_or_checkpoint))
    content = read_checkpoint(path)
    training = content.get(SETTINGS_KEY) or {}
    if config is not None:
        trained = load_network(load_experiment(config, overrides), path, content)
        experiment, model = trained.experiment, trained.model
        known = content.get(CARD_KEY) or {}
        card = make_card(experiment, trained.ground_resolution, known.get("plane_resolution"))
        data_set: DatasetInfo | None = experiment.dataset
        root: Path | None = experiment.root
    elif overrides:
        raise InputError("overrides", "change the settings of a config", "give config=FILE too")
    else:
        card = read_card(content, path)
        model = build_from(card, path)
        load_weights(model, path, content)
        data_set = _known(card)
        given = training.get("data.root") or (data_set.root if data_set else None)
        root = Path(given) if given else None
    # A training in double precision is exported in single precision, as all others.
    compute = Compute()
    normalization = card.mean, card.std
    predictor = Predictor(
        model.float(), card.info, normalization, compute=compute, device="cpu", patch=None
    )
    card = replace(card, precision=compute.precision)
    return Source(path, file_hash(path), predictor, card, training, data_set, root)


def find_in_run(path: Path) -> Path:
    """Find the checkpoint of a run; a path that is no folder stays as it is.

    Raises:
        InputError: the folder has no checkpoint.
    """
    if not path.is_dir():
        return path
    for name in CHECKPOINTS:
        if (path / name).is_file():
            return path / name
    raise InputError(
        path, f"has no {' or '.join(CHECKPOINTS)}", "give the folder of a run, or a checkpoint"
    )


def _known(card: Card) -> DatasetInfo | None:
    """Find the known data set of a network; None if a config has changed its images or classes."""
    known = (value for value in vars(known_sets).values() if isinstance(value, DatasetInfo))
    return next((info for info in known if _facts(info) == _facts(card.info)), None)


def _facts(info: DatasetInfo) -> tuple[object, ...]:
    """List the facts on which the images and labels of a data set depend."""
    return info.name, info.classes, info.bands, info.dtype, info.ignore_index
