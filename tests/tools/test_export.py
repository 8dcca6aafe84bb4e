"""export.py as a process: from a checkpoint to a file beside it, or one line and no file."""

import re
from functools import partial

import pytest

from network.models.unetformer import UNetFormer
from tests import commands
from tests.export.test_export import checkpoint

pytestmark = pytest.mark.slow

TOOL = "tools/export.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    checkpoint(folder, partial(UNetFormer, 6, "test_resnet", weights=None))
    return folder


def test_a_run_becomes_a_file(folder):
    options = ["--format", "torch", "--size", "64", "--uint8", "--normalize", "--mlm"]
    out = commands.succeed(TOOL, ".", *options, cwd=folder)
    assert out.startswith("best.pt2: torch ")
    assert "100 % of the labels are equal (noise, since " in out
    assert out.endswith("no such folder)\nbest.pt2.json: written\n")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["best.ckpt", "best.pt2", "best.pt2.json"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        ([".", "--uint8"], "--uint8: .*; add --normalize"),
        ([".", "--size", "1", "2", "3"], "--size 1 2 3: must be a height and a width"),
        ([".", "--size", "16"], "--size 16 16: must be at least 32"),
        ([".", "--batch", "few"], "--batch few: must be a number of images, or any"),
        ([".", "--deepness", "--size", "64", "96"], "--size 64 96: .* squares; give one number"),
        (
            [".", "--dlpk", "--format", "torch"],
            "--dlpk: is for ONNX files only; leave --format out",
        ),
        ([".", "--dlpk", "--deepness"], "--dlpk: contradicts --deepness"),
        ([".", "--dlpk", "--softmax"], "--softmax: contradicts --dlpk"),
        ([".", "--dlpk", "--size", "64"], "--size 64 64: a tile for ArcGIS has at least 96 pixels"),
        ([".", "--resolution", "0.1"], "--resolution 0.1: is for Deepness alone"),
        ([".", "-o", "net.onnx", "--format", "torch"], "net.onnx: --format torch has the ending"),
        ([".", "model.dim=3"], "overrides: .*give --config|overrides: .*give -c"),
    ],
)
def test_errors(folder, args, message):
    assert re.search(message, commands.error_of(TOOL, *args, cwd=folder))
