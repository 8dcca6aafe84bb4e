"""Records of the steps of a chain."""

import json

import pytest
import torch

from network.buildings.record import Step, read_record, record_of, run_step
from network.buildings.settings import load_chain
from network.buildings.work import Work
from network.errors import InputError
from tests.conftest import ROOT


@pytest.fixture
def work(tmp_path) -> Work:
    return Work(load_chain(ROOT / "config/weak/demo.py"), tmp_path, torch.device("cpu"))


def test_record_that_is_gone(work):
    assert read_record("make_cam", work) is None
    with pytest.raises(InputError, match=r"make_cam.json: missing; repeat the step"):
        record_of("make_cam", work)


def test_a_training_elsewhere_is_not_forgotten(work):
    """Its record names the run, which goes on after an interruption and after an error."""
    seen: list[str] = []
    ends = [KeyboardInterrupt(), InputError("a.png", "damaged"), None]

    def train(_: Work) -> dict:
        seen.append(record_of("train_final", work).made)
        if ends[len(seen) - 1]:
            raise ends[len(seen) - 1]
        return {}

    step = Step("train_final", train, keys=(), needs=(), outputs=lambda _: [])
    for error in (KeyboardInterrupt, InputError):
        with pytest.raises(error):
            run_step(step, work)
    run_step(step, work)
    assert len(seen) == 3
    assert len(set(seen)) == 1


@pytest.mark.parametrize("text", ["{", json.dumps({"settings": 1, "made": "", "results": {}})])
def test_a_damaged_record(work, text):
    (work.folder / "steps").mkdir()
    (work.folder / "steps/make_cam.json").write_text(text)
    with pytest.raises(InputError, match="delete it and what the step has made"):
        read_record("make_cam", work)
