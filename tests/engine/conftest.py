"""Fixtures of the tests that train."""

from functools import partial

import pytest

from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from tests.scenes import make_dataset


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Experiment:
    """Two images, one step; results go to a folder of their own."""
    monkeypatch.chdir(tmp_path)
    root = make_dataset(tmp_path / "data", VAIHINGEN, {"train": 2, "val": 1})
    return Experiment(
        dataset=VAIHINGEN,
        model=partial(BiCoRSeg, 6, "test_convnext", weights=None, dim=32),
        loss=partial(BiCoRLoss, 6),
        data=Data(root=str(root), crop=32, batch_size=2, workers=0),
        optim=Optim(lr=1e-3, epochs=1),
        name="tiny",
        config="config/tiny.py",
    )
