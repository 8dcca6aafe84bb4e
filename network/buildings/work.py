"""Work folder of a chain, and the paths in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from network.buildings.settings import Chain
from network.buildings.tiles import find_tiles, of_label, read_labels
from network.datasets.info import BUILDING
from network.datasets.segmentation import Sample, find_samples
from network.errors import InputError
from network.writing import replacing


@dataclass(frozen=True)
class Work:
    """One chain in one folder on one device.

    Args:
        chain: settings of the chain.
        folder: folder of everything that the chain makes.
        device: device that computes.
    """

    chain: Chain
    folder: Path
    device: torch.device

    @property
    def data(self) -> Path:
        """Folder of the data set ``building``, ``{train,test}/{images,masks}`` and pseudo masks."""
        return self.folder / "data"

    @property
    def train_images(self) -> Path:
        return self.data / "train/images"

    @property
    def train_truth(self) -> Path:
        return self.data / "train/masks"

    @property
    def pseudo(self) -> Path:
        """Folder of the pseudo masks; the results of a training on them record its name."""
        return self.data / "train" / ("pseudo_oracle" if self.chain.is_oracle else "pseudo")

    @property
    def test_truth(self) -> Path:
        return self.data / "test/masks"

    @property
    def list_file(self) -> Path:
        return self.data / "train/labels.csv"

    @property
    def prototypes(self) -> Path:
        return self.folder / "clusters/prototypes.npz"

    def maps(self, kind: str) -> Path:
        """Return the folder of the activation maps ``cam``, ``bac`` or ``ar``."""
        return self.folder / kind

    def training(self, kind: str) -> Path:
        """Return the folder of the network ``classifier`` or ``refiner``."""
        return self.folder / kind

    @property
    def seeds(self) -> Path:
        return self.folder / "seed"

    @cached_property
    def labels(self) -> dict[str, int]:
        """Labels of the training tiles, 0 or 1, by name."""
        return read_labels(self.list_file)

    @cached_property
    def tiles(self) -> list[Sample]:
        """All training tiles, without their true masks."""
        return find_tiles(self.train_images, self.labels, BUILDING)

    @property
    def positives(self) -> list[Sample]:
        return of_label(self.tiles, self.labels, 1)

    @property
    def stages(self) -> Path:
        """Folder of the table of stages."""
        return self.folder / "stages"

    def tiles_with_truth(self) -> Sequence[Sample]:
        """Find the training tiles with their true masks, only for the evaluation and for oracles.

        Raises:
            InputError: there are no true masks, since the labels come from a list.
        """
        if self.chain.labels:
            raise InputError(
                self.chain.labels,
                "the labels come from this list, so there are no true masks of the training tiles",
                "do not give oracle=True",
            )
        return find_samples(BUILDING, self.data, "train")


def write_map(path: Path, values: np.ndarray) -> None:
    """Write one map of values 0 to 1 as float16."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, values.astype(np.float16))


def read_map(path: Path) -> np.ndarray:
    """Read a map that :func:`write_map` wrote, as float32.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, f"unreadable ({error})", "delete it, and repeat its step") from error
