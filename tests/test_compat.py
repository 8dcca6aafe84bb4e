"""The repair of torchvision: only when its import failed, and for that reason."""

import importlib
import subprocess
import sys

import pytest
import torch

from network import compat
from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["network.models.encoder", "network.training.train", "network.export.program"]
)
def test_rooms_that_need_it_import_in_a_fresh_process(module):
    code = f"import {module}, timm, torchvision, torchmetrics, pytorch_lightning"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_nothing_is_declared_where_the_import_works(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: None)
    monkeypatch.setattr(torch.library, "define", lambda *args: pytest.fail("declared"))
    compat.ensure_torchvision()


def test_the_operators_are_declared_once_and_the_import_tried_again(monkeypatch):
    declared, tries = [], []

    def import_module(name):
        tries.append(name)
        if len(tries) == 1:
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(torch.library, "define", lambda name, schema: declared.append(name))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    compat.ensure_torchvision()
    assert declared == ["torchvision::nms", "torchvision::qnms"]
    assert tries == ["torchvision"] * 2


def test_other_failures_are_not_swallowed(monkeypatch):
    def import_module(name):
        raise RuntimeError("another fault")

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(RuntimeError, match="another fault"):
        compat.ensure_torchvision()
