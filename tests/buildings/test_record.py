"""Records of the steps of a chain."""

import pytest
import torch

from network.buildings.record import read_record, record_of
from network.buildings.settings import load_chain
from network.buildings.work import Work
from network.errors import InputError
from tests.conftest import ROOT


def test_record_that_is_gone(tmp_path):
    chain = load_chain(next((ROOT / "config/weak").glob("*.py")))
    work = Work(chain, tmp_path, torch.device("cpu"))
    assert read_record("make_cam", work) is None
    with pytest.raises(InputError, match=r"make_cam.json: missing; repeat the step"):
        record_of("make_cam", work)
