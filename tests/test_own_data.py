"""Own data of five bands and 16 bits through every command, and what does not fit together."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from network.config import load_experiment
from network.datasets.files import write_image
from network.rasters.header import read_header
from tests.commands import error_of, succeed
from tests.scenes import make_dataset, write_bands

pytestmark = pytest.mark.slow

CONFIG = """
from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import DatasetInfo, Folder, MaskFolder
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

FIELDS = DatasetInfo(
    name="fields",
    root="data",
    classes=("bare", "wheat", "maize"),
    palette=((200, 150, 100), (220, 220, 0), (0, 200, 0)),
    ignore_index=255,
    bands=5,
    bits=16,
    rgb_bands=(2, 1, 0),
    splits={
        split: (Folder(images=f"{split}/images", masks=(MaskFolder(folder=f"{split}/masks"),)),)
        for split in ("train", "val", "test")
    },
)
experiment = Experiment(
    dataset=FIELDS,
    model=partial(
        BiCoRSeg,
        FIELDS.num_classes,
        encoder="test_resnet",
        weights=None,
        dim=16,
        bands=FIELDS.bands,
    ),
    loss=partial(BiCoRLoss, FIELDS.ignore_index),
    data=Data(crop=32, batch_size=2, workers=1),
    optim=Optim(lr=1e-3, epochs=1),
)
"""


@pytest.fixture(scope="module")
def cwd(tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("own")
    (cwd / "fields.py").write_text(CONFIG)
    info = load_experiment(cwd / "fields.py").dataset
    make_dataset(cwd / "data", info, {"train": 4, "val": 1, "test": 2}, ((64, 64), (40, 72)))
    return cwd


@pytest.fixture(scope="module")
def measured(cwd) -> list[str]:
    """What the tool tells to put into the config, as overrides."""
    out = succeed("tools/measure_bands.py", "-c", "fields.py", "--workers", "1", cwd=cwd)
    values = re.search(r"^mean=(\(.*\)), std=(\(.*\))$", out, re.MULTILINE)
    assert [len(ast.literal_eval(text)) for text in values.groups()] == [5, 5]
    return [f"data.mean={values[1]}", f"data.std={values[2]}"]


def test_all_commands(cwd, measured):
    succeed("train.py", "-c", "fields.py", "--accelerator", "cpu", *measured, cwd=cwd)
    args = ["-c", "fields.py", "-o", "out", "-t", "dihedral", "--report", *measured]
    assert "mean of 3" in succeed("test_custom.py", *args, cwd=cwd)
    page = (cwd / "out/report.html").read_text()
    assert page.count('class="stage"') == 2
    assert 'class="heat"' in page
    header = read_header(cwd / "out/test-0-0.png")
    assert (header.height, header.width) == (64, 64)
    # A test that cannot run leaves what an earlier one wrote.
    checkpoint = torch.load(next(cwd.glob("model_weights/**/best.ckpt")), weights_only=True)
    torch.save({"state_dict": checkpoint["state_dict"]}, cwd / "weights.ckpt")
    args = ["-c", "fields.py", "-o", "out", "--checkpoint", "weights.ckpt"]
    assert "data.mean: has no values" in error_of("test_custom.py", *args, cwd=cwd)

    args = ["-c", "fields.py", "--html", "sheet.html", "--workers", "1"]
    assert "0 findings in 7 images" in succeed("tools/check_data.py", *args, cwd=cwd)
    assert (cwd / "sheet.html").read_text().count("data:image/webp") == 2 * 7


def test_what_does_not_fit(cwd, measured):
    train = "train.py", "-c", "fields.py", "--accelerator", "cpu"
    line = error_of(*train, cwd=cwd)
    assert "data.mean: has no values, fields has 5 bands of uint16; only" in line
    assert "get the encoder's; 'python tools/measure_bands.py -c" in line
    assert "data.std: has no values" in error_of(*train, measured[0], cwd=cwd)
    three = "data.mean=(0.1,0.1,0.1)"
    assert "data.mean: 3 values, fields has 5 bands" in error_of(*train, three, cwd=cwd)
    line = error_of(*train, "data.mean=(0.02,0.02,0.02,0.02,1500)", cwd=cwd)
    assert "data.mean=" in line
    assert "shares of the largest value" in line
    line = error_of(*train, "model.bands=3", *measured, cwd=cwd)
    assert "model.bands=3: the images of fields have 5; give model.bands=5" in line

    path = cwd / "data/train/images/train-0-0.tif"
    whole = path.read_bytes()
    try:
        write_bands(path, np.zeros((64, 64, 4), np.uint16))
        assert "train-0-0.tif: 4 bands of uint16, fields has 5" in error_of(
            *train, *measured, cwd=cwd
        )
        tool = "tools/measure_bands.py", "-c", "fields.py"
        assert "train-0-0.tif: 4 bands" in error_of(*tool, cwd=cwd)
    finally:
        path.write_bytes(whole)


def test_a_model_of_three_bands(cwd, measured):
    """Its factory has no parameter that could say so."""
    text = CONFIG.replace("bands=FIELDS.bands,", "").replace("model=partial(", "model=build(")
    text = text.replace(
        "experiment =",
        "def build(*args, **options):\n"
        "    return lambda: BiCoRSeg(*args[1:], **options)\n\n\nexperiment =",
    )
    (cwd / "three.py").write_text(text)
    args = ["-c", "three.py", "--accelerator", "cpu", *measured]
    line = error_of("train.py", *args, cwd=cwd)
    assert "three.py: its model does not take the 5 bands of fields" in line


def test_a_band_of_one_value(tmp_path):
    (tmp_path / "fields.py").write_text(CONFIG)
    image = np.random.default_rng(0).integers(0, 4000, (32, 32, 5), dtype=np.uint16)
    image[..., 3] = 7
    write_bands(tmp_path / "data/train/images/0.tif", image)
    write_image(tmp_path / "data/train/masks/0.png", np.zeros((32, 32), np.uint8))
    line = error_of("tools/measure_bands.py", "-c", "fields.py", cwd=tmp_path)
    assert "band 4 has one value everywhere" in line
