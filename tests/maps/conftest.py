"""Fixtures of the tests of maps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from network.config import load_experiment
from network.datasets.info import VAIHINGEN
from network.predictor import Predictor
from tests.faults.conftest import CONFIG
from tests.maps.local import PLACE, Local, random_image
from tests.scenes import write_bands


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(Local(), VAIHINGEN, ((128,) * 3, (60,) * 3), patch=None, device="cpu")


@pytest.fixture
def image(tmp_path) -> Path:
    """An image of 16 blocks that lies on Earth; a corner of it has no data."""
    pixels = np.maximum(random_image(500, 460), 1)
    pixels[:200, :200] = 0
    write_bands(tmp_path / "in/a.tif", pixels, nodata=0, photometric="RGB", **PLACE)
    return tmp_path / "in/a.tif"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with a config, the weights of its network, and two images."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "fields.py").write_text(CONFIG)
    torch.manual_seed(0)
    model = load_experiment(folder / "fields.py").build_model(pretrained=False)
    torch.save({"state_dict": model.state_dict()}, folder / "weights.ckpt")
    write_bands(folder / "in/a.tif", random_image(70, 90), photometric="RGB", **PLACE)
    write_bands(folder / "in/b.tif", random_image(40, 40), photometric="RGB", **PLACE)
    return folder
