"""Fixtures of the tests of maps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from network.datasets.info import VAIHINGEN
from network.predictor import Predictor
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
