"""The folder of a look inside a network: figures, tables and record of several networks."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from network.config import Data, Experiment
from network.datasets.info import LOVEDA, VAIHINGEN
from network.datasets.segmentation import find_samples
from network.errors import InputError
from network.explanation.explain import Findings, explain
from network.explanation.results import read_explanation, write_explanation
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.models.d2ls import D2LS
from network.models.unetformer import UNetFormer
from network.writing import file_hash
from tests.scenes import make_dataset

NETWORKS = {
    "bicor": partial(BiCoRSeg, encoder="test_convnext", weights=None, dim=32),
    "d2ls": partial(D2LS, encoder="test_convnext", weights=None, dim=32),
    "unetformer": partial(UNetFormer, encoder="test_resnet", weights=None),
}


def look_inside(folder: Path, network: str, info=VAIHINGEN, **options) -> Findings:
    """Look inside a network with random weights, on four tiny images."""
    root = make_dataset(folder / "data", info, {"test": 4 // len(info.splits["test"])})
    experiment = Experiment(
        dataset=info,
        model=partial(NETWORKS[network], info.num_classes),
        loss=partial(BiCoRLoss, info.ignore_index),
        data=Data(root=str(root)),
        name="tiny",
        config="config/tiny.py",
    )
    state = {f"model.{k}": v for k, v in experiment.build_model().state_dict().items()}
    torch.save({"state_dict": state}, folder / "best.ckpt")
    return explain(
        experiment,
        find_samples(info, root, "test"),
        checkpoint=folder / "best.ckpt",
        split="test",
        device="cpu",
        **options,
    )


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Findings:
    return look_inside(tmp_path_factory.mktemp("bicor"), "bicor", count=3, images=["test-0-3"])


def test_everything_of_bicor(found, tmp_path):
    """Record, tables and counts agree, and each figure that the record names is there."""
    record = write_explanation(found, tmp_path / "out")
    assert read_explanation(tmp_path / "out") == record
    assert record.left_out == []
    assert record.figures == [
        "heatmaps_test-0-3.png",
        "pooled_test-0-3.png",
        "embeddings.png",
        "confusion.png",
    ]
    for name in record.figures:
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 300
    # Evenly spread, so the last image is drawn without being counted.
    assert (record.count, record.images_in_split, record.over) == (3, 4, "3 of 4 images")
    assert found.errors.pixels.sum() == 3 * 64 * 62  # two rows are ignored
    assert record.wrong == 3 * 64 * 62 - found.errors.right.sum()
    pairs, layers = table(tmp_path / "out/embeddings.csv"), found.layers
    assert len(pairs) == 2 * 15
    document = json.loads((tmp_path / "out/embeddings.json").read_text())
    assert [layer["ratio"] for layer in document["layers"]] == list(record.ratios.values())
    assert float(pairs[15]["distance"]) == pytest.approx(layers[1].distances()[0, 1])
    errors = table(tmp_path / "out/confusion.csv")
    assert sum(int(row["wrong_near"]) for row in errors) == record.wrong_near
    assert record.pooled["test-0-3"].keys() == {"layer 1", "layer 2"}
    assert record.checkpoint_sha256 == file_hash(found.checkpoint)


def test_a_second_look_replaces_the_first(found, tmp_path):
    """Also one that was stopped; but nothing that is not its own."""
    write_explanation(replace(found, layers=[], looks=[]), tmp_path / "out")
    (tmp_path / "out/explanation.json").unlink()
    record = write_explanation(replace(found, looks=[], errors=None), tmp_path / "out")
    assert record.left_out == ["confusion between neighbors: this split has no labels"]
    files = {path.name for path in (tmp_path / "out").iterdir() if path.name != ".lock"}
    assert files == {"embeddings.png", "embeddings.csv", "embeddings.json", "explanation.json"}
    (tmp_path / "out/notes.txt").touch()
    with pytest.raises(InputError, match=r"holds other files \(notes.txt\)"):
        write_explanation(found, tmp_path / "out")


def test_the_dictionary_of_d2ls(tmp_path):
    record = write_explanation(look_inside(tmp_path, "d2ls"), tmp_path / "out")
    assert record.figures == ["embeddings.png", "confusion.png"]
    assert record.ratios.keys() == {"class vectors"}
    assert record.left_out == [
        "heatmaps: this network has none",
        "pooled pixels: this network selects none",
    ]


def test_a_network_that_explains_nothing_on_images_without_labels(tmp_path):
    """LoveDA's test labels are held by a server."""
    record = write_explanation(look_inside(tmp_path, "unetformer", LOVEDA), tmp_path / "out")
    assert record.figures == []
    assert record.left_out[2:] == [
        "class embeddings: this network has none",
        "confusion between neighbors: this split has no labels",
    ]
    assert record.wrong is None


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"count": 0}, "count=0: must be at least 1"),
        ({"border": 0}, "border=0: must be at least 1"),
        ({"images": -1}, "images=-1: must be at least 0"),
        ({"images": ["test-0-9"]}, "images=test-0-9: the split has no such image; did you mean"),
    ],
)
def test_wrong_values(tmp_path, options, line):
    with pytest.raises(InputError, match=line):
        look_inside(tmp_path, "bicor", **options)
