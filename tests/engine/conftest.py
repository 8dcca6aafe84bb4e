"""Fixtures of the tests that train."""

from functools import partial
from pathlib import Path

import pytest

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.engine.train import train
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from tests.scenes import make_dataset


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Experiment:
    """Two images, one step; results go to a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tiny_experiment(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder with the results of :func:`tiny`'s training, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(tiny_experiment(folder), accelerator="cpu")
    return folder


def tiny_experiment(folder: Path) -> Experiment:
    root = make_dataset(folder / "data", VAIHINGEN, {"train": 2, "val": 1})
    return Experiment(
        dataset=VAIHINGEN,
        model=partial(BiCoRSeg, 6, "test_convnext", weights=None, dim=32),
        loss=partial(BiCoRLoss, 6),
        data=Data(root=str(root), crop=32, batch_size=2, workers=0),
        optim=Optim(lr=1e-3, epochs=1),
        name="tiny",
        config="config/tiny.py",
    )
