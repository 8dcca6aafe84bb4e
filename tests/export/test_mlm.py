"""Items of STAC: they are valid without the internet, and say what the file is."""

import hashlib
import json
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pystac
import pytest
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from network import extras
from network.datasets.on_earth.scenes import Scenes
from network.errors import InputError
from network.export.formats import FORMATS
from network.export.mlm import (
    ModelItem,
    check_item,
    item_path,
    make_item,
    training_boxes,
    warn_of_older_item,
)
from network.export.options import ExportOptions
from network.export.source import Source, load_source
from network.export.write import export, tensor_facts
from network.exported.record import ExportRecord, Parity, Quantization
from network.models.tconv import TransposedConvNet
from tests.export.test_export import checkpoint
from tests.maps.local import Local
from tests.scenes import write_bands

SETTINGS = {"seed": 3, "model.encoder": "convnext_base", "optim.lr": 1e-3}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    model = partial(TransposedConvNet, 6, "test_resnet", weights=None)
    return load_source(checkpoint(tmp_path_factory.mktemp("mlm"), model))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def connect(*_):
        raise AssertionError("an item asks the internet")

    monkeypatch.setattr(socket.socket, "connect", connect)


def record_of(source: Source, format: str, options: ExportOptions, **training) -> ExportRecord:
    given, found = tensor_facts(source.card, options)
    return ExportRecord(
        format=format,
        input=given,
        output=found,
        multiple_of=1 if options.size else 32,
        card=source.card.to_plain(),
        checkpoint="best.ckpt",
        checkpoint_sha256="0",
        training=SETTINGS | training,
        torch="2.13.0",
    )


def item_of(source: Source, record: ExportRecord, folder: Path) -> dict:
    """The item of files that hold anything, as it is in its JSON file."""
    path = folder / f"best{FORMATS[record.format].ending}"
    files = {file.name: file for file in FORMATS[record.format].program.files(path)}
    for file in files.values():
        file.write_text(f"content of {file.name}")
    one = ModelItem(item_path(path), source)
    one.check(record)
    one.write(one.path, files, record)
    return json.loads(one.path.read_text())


@pytest.mark.parametrize(
    ("format", "options", "scaling"),
    [
        ("onnx", ExportOptions(), "z-score"),
        ("openvino", ExportOptions(normalize=True, uint8=True, size=(64, 96), batch=2), None),
        ("torch", ExportOptions(normalize=True, unit=True, softmax=True), "scale"),
    ],
)
def test_formats_and_inputs(source, tmp_path, format, options, scaling):
    """The caller is told what is left to do, and of each file what it is."""
    item = item_of(source, record_of(source, format, options), tmp_path)
    facts = item["properties"]
    (given,), (found,) = facts["mlm:input"], facts["mlm:output"]
    kinds = given["value_scaling"]
    assert {one["type"] for one in kinds or ()} == ({scaling} if scaling else set())
    if scaling == "z-score":
        assert [one["mean"] for one in kinds] == list(source.card.mean)
        assert [one["stddev"] for one in kinds] == list(source.card.std)
    is_fixed = options.size is not None
    assert given["input"]["shape"] == ([2, 3, 64, 96] if is_fixed else [-1, 3, -1, -1])
    assert given["input"]["data_type"] == ("uint8" if options.uint8 else "float32")
    assert given["bands"] == [band["name"] for band in facts["bands"]]
    assert found["name"] == ("probabilities" if options.softmax else "logits")
    classes = found["classification:classes"]
    assert classes[4] == {"value": 4, "name": "Car", "description": "Car", "color_hint": "FFFF00"}
    assert len(classes) == 6
    models = [one for one in item["assets"].values() if "mlm:model" in one["roles"]]
    assert [one["mlm:artifact_type"] for one in models] == [FORMATS[format].artifact_type]
    for asset in item["assets"].values():
        content = (tmp_path / asset["href"]).read_bytes()
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
        assert asset["file:size"] == len(content)
    weights = [one["href"] for one in item["assets"].values() if "mlm:weights" in one["roles"]]
    assert weights == ["./best.bin" if format == "openvino" else models[0]["href"]]


def test_facts(source, tmp_path):
    item = item_of(source, record_of(source, "onnx", ExportOptions()), tmp_path)
    facts = item["properties"]
    assert facts["mlm:tasks"] == ["semantic-segmentation"]
    assert (facts["mlm:framework"], facts["mlm:framework_version"]) == ("PyTorch", "2.13.0")
    assert facts["mlm:architecture"] == "TransposedConvNet"
    numbers = sum(value.numel() for value in source.network.parameters())
    assert facts["mlm:total_parameters"] == numbers
    assert facts["mlm:hyperparameters"] == SETTINGS
    assert facts["gsd"] == 0.09
    assert "mlm:pretrained" not in facts
    assert item["bbox"] == [-180, -90, 180, 90]
    read = pystac.Item.from_file(tmp_path / "best.onnx.json")
    assert Path(read.assets["model"].get_absolute_href()) == tmp_path / "best.onnx"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (None, (False, None)),
        ("imagenet", (True, "timm: convnext_base.fb_in22k_ft_in1k")),
        ("/home/me/satellites.pth", (True, "satellites.pth")),
    ],
)
def test_pretraining(source, tmp_path, weights, expected):
    record = record_of(source, "torch", ExportOptions(), **{"model.weights": weights})
    facts = item_of(source, record, tmp_path)["properties"]
    assert (facts["mlm:pretrained"], facts["mlm:pretrained_source"]) == expected


@pytest.mark.parametrize("name", ["Stra\u00dfe 3/\u00e4", "...", "a" * 300, "\u57ce\u5e02"])
def test_names_of_data_sets(source, tmp_path, name):
    """Any name and any build of torch; what the extension does not take is left out."""
    named = replace(source, card=replace(source.card, data_set=name))
    record = replace(record_of(named, "onnx", ExportOptions()), torch="2.14.0a0+git12")
    facts = item_of(named, record, tmp_path)["properties"]
    assert facts["mlm:name"].startswith("TransposedConvNet")
    assert facts["mlm:framework_version"] == "2.14.0"


def test_quantized_files(source, tmp_path):
    facts = Quantization(images="", layers=9, float_layers=(), measured_on="val", equal_labels=0.99)
    parity = Parity(
        images="noise",
        are_real=False,
        shapes=(),
        largest_difference=1e-6,
        equal_labels=1.0,
        tolerance=1e-3,
        runtime="openvino 2026",
    )
    record = record_of(source, "openvino", ExportOptions())
    item = item_of(source, replace(record, quantization=facts, parity=parity), tmp_path)
    words = item["properties"]["description"]
    assert "9 of 9 layers in 8 bits" in words
    assert "openvino 2026 and the network differ by at most 1e-06" in words
    assert item["properties"]["mlm:memory_size"] == (tmp_path / "best.bin").stat().st_size


def test_it_lies_where_the_training_scenes_lie(source, tmp_path):
    places = [from_origin(500_000 + 1000 * n, 5_400_000, 10, 10) for n in range(2)]
    for number, place in enumerate(places):
        image = np.ones((20, 30, 3), np.uint8)
        write_bands(tmp_path / f"{number}.tif", image, crs="EPSG:32632", transform=place)
    info = replace(source.data_set, splits={"train": (Scenes(images=("*.tif",)),)})
    known = replace(source, data_set=info, root=tmp_path)
    item = item_of(known, record_of(known, "onnx", ExportOptions()), tmp_path)
    all_of_it = transform_bounds("EPSG:32632", 4326, 500_000, 5_399_800, 501_300, 5_400_000)
    np.testing.assert_allclose(item["bbox"], all_of_it, atol=1e-4)
    assert len(item["geometry"]["coordinates"]) == 2
    assert training_boxes(replace(known, root=tmp_path / "nothing")) == []


def test_an_item_that_follows_no_schema(source, tmp_path):
    record = record_of(source, "onnx", ExportOptions())
    (tmp_path / "best.onnx").write_text("x")
    item = make_item(source, {"best.onnx": tmp_path / "best.onnx"}, record)
    check_item(item, tmp_path / "best.onnx.json")
    for key, wrong in (("mlm:tasks", ["guessing"]), ("mlm:input", [{}]), ("bands", [])):
        damaged = item.clone()
        damaged.properties[key] = wrong
        with pytest.raises(InputError, match=r"best\.onnx\.json: is no valid item \("):
            check_item(damaged, tmp_path / "best.onnx.json")


def test_an_item_of_an_older_file(tmp_path, capsys):
    warn_of_older_item(tmp_path / "best.onnx")
    assert not capsys.readouterr().err
    (tmp_path / "best.onnx.json").touch()
    warn_of_older_item(tmp_path / "best.onnx")
    assert "best.onnx.json: tells of an older best.onnx; export it" in capsys.readouterr().err


def test_together_or_not_at_all(source, tmp_path, monkeypatch):
    source.predictor.engine.model = Local().eval()  # small
    path, options = tmp_path / "net.pt2", ExportOptions(size=(32, 32), batch=1)
    one = ModelItem(item_path(path), source)
    export(source, path, "torch", options, companions=[one])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(before) == ["net.pt2", "net.pt2.json"]
    asset = json.loads(before["net.pt2.json"])["assets"]["model"]
    assert asset["file:checksum"] == "1220" + hashlib.sha256(before["net.pt2"]).hexdigest()

    class Failing(ModelItem):
        def write(self, partial, files, record):
            super().write(partial, files, record)
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"net\.pt2\.json: "):
        export(source, path, "torch", options, companions=[Failing(one.path, source)])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: is a folder; choose another name"):
        export(source, path, "torch", options, companions=[replace(one, path=tmp_path / "folder")])
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=r"mlm: needs the library pystac.*pip install -e '.\[mlm"):
        export(source, path, "torch", options, companions=[one])
