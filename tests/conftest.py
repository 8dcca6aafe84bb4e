"""Fixtures shared by all tests. Importing the models first repairs torchvision where needed."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import network.models  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


def heed_interrupts() -> None:
    """For ``Popen(preexec_fn=...)``: a shell's background jobs inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden():
    """Arrays of a golden file, by name: ``golden("losses")["out/..."]``."""

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(ROOT / "tests" / "golden" / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    return load
