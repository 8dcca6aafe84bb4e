"""Exported networks compute what the predictor does, in files that describe themselves."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from network.card import CARD_KEY, make_card
from network.config import Experiment
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.export.formats import FORMATS, TorchFormat
from network.export.options import ExportOptions
from network.export.samples import find_sample_images
from network.export.source import load_source
from network.export.write import export
from network.exported.load import load_exported
from network.exported.record import KEY, Parity
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.models.checkpoint import SETTINGS_KEY, TASK_PREFIX
from network.models.d2ls import D2LS
from network.models.smp import SMPSegmenter
from network.models.tconv import TransposedConvNet
from network.models.unetformer import UNetFormer
from network.predictor import Predictor
from tests.scenes import make_dataset

SIZE = 70, 45
"""No multiple of 32: the network pads inside."""


def checkpoint(folder: Path, model: partial, root: Path | None = None) -> Path:
    """The checkpoint of a network with random weights."""
    experiment = Experiment(
        dataset=VAIHINGEN, model=model, loss=partial(BiCoRLoss, 6), config="config/tiny.py"
    )
    torch.manual_seed(0)
    network = experiment.build_model()
    # Many biases, statistics and scales of a new network are 0 or 1, and its LoRA is 0.
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(0.01 * torch.randn_like(value))
    path = folder / "best.ckpt"
    content = {
        "state_dict": {TASK_PREFIX + key: value for key, value in network.state_dict().items()},
        CARD_KEY: make_card(experiment, ground_resolution=0.09).to_plain(),
        SETTINGS_KEY: {"seed": 3, "data.root": str(root or folder / "nothing")},
    }
    torch.save(content, path)
    return path


def is_close(parity: Parity) -> bool:
    return parity.largest_difference <= 2e-5 and parity.equal_labels > 0.999


@pytest.fixture(scope="module")
def bicor(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bicor")
    root = make_dataset(folder / "data", VAIHINGEN, {"val": 2})
    return checkpoint(folder, partial(BiCoRSeg, 6, "test_convnext", weights=None, dim=32), root)


@pytest.mark.slow
def test_onnx_of_any_size_runs_by_onnxruntime_alone(bicor):
    """Any batch, height and width; what is needed to use the file stands in it."""
    source, path = load_source(bicor), bicor.with_name("any.onnx")
    options = ExportOptions(normalize=True, softmax=True, uint8=True)
    parity = export(source, path, "onnx", options).parity
    assert is_close(parity)
    assert parity.are_real
    assert {shape[0] for shape in parity.shapes} == {1, 3}
    session = onnxruntime.InferenceSession(path)
    facts = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    assert facts["card"]["classes"] == list(VAIHINGEN.classes)
    assert facts["card"]["ground_resolution"] == 0.09
    assert load_exported(path).predictor().ground_resolution == 0.09
    assert facts["input"]["shape"] == [None, 3, None, None]
    assert facts["input"]["holds"] == "pixel values"
    assert facts["parity"]["equal_labels"] == parity.equal_labels
    assert facts["training"] == {"seed": 3}
    assert [session.get_inputs()[0].name, session.get_inputs()[0].type] == [
        "image",
        "tensor(uint8)",
    ]
    assert session.get_outputs()[0].shape == ["batch", 6, "height", "width"]
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    (found,) = session.run(None, {"image": image.transpose(2, 0, 1)[None]})
    expected = Predictor.load(bicor, device="cpu").predict(image, probabilities=True)
    np.testing.assert_allclose(found[0], expected.probabilities, atol=1e-5)
    onnx.checker.check_model(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "options", "model"),
    [
        ("onnx", {"size": SIZE, "batch": 3}, partial(D2LS, 6, "test_vit", dim=32, lora=2)),
        ("torch", {}, partial(SMPSegmenter, 6, "unet", "test_efficientnet")),
        ("torch", {"size": SIZE, "batch": 1}, partial(D2LS, 6, "test_convnext", dim=32)),
        ("torch", {"size": SIZE, "batch": 3}, partial(BiCoRSeg, 6, "test_vit", dim=32, layers=3)),
        (
            "torch",
            {"size": SIZE, "batch": 1},
            partial(TransposedConvNet, 6, "swin_tiny_patch4_window7_224"),
        ),
    ],
)
def test_networks_and_encoders(tmp_path, format, options, model):
    source = load_source(checkpoint(tmp_path, partial(model, weights=None)))
    path = tmp_path / f"net{FORMATS[format].ending}"
    parity = export(source, path, format, ExportOptions(**options)).parity
    assert is_close(parity)
    assert parity.images.startswith("noise")
    assert path.is_file()


def test_torch_programs_carry_the_facts(tmp_path):
    path, files = tmp_path / "net.pt2", {f"{KEY}.json": ""}
    model = partial(BiCoRSeg, 6, "test_resnet", weights=None, dim=32, layers=1)
    source = load_source(checkpoint(tmp_path, model))
    export(source, path, "torch", ExportOptions(size=SIZE, batch=1, normalize=True))
    program = torch.export.load(path, extra_files=files)
    facts = json.loads(files[f"{KEY}.json"])
    assert facts["checkpoint_sha256"] == source.sha256
    assert facts["multiple_of"] == 1
    assert program.module()(torch.zeros(1, 3, *SIZE)).shape == (1, 6, *SIZE)


@pytest.mark.slow
def test_openvino(bicor):
    openvino = pytest.importorskip("openvino")
    path = bicor.with_name("vino.xml")
    record = export(load_source(bicor), path, "openvino", ExportOptions(size=SIZE, batch=1))
    parity = record.parity
    assert is_close(parity)
    model = openvino.Core().read_model(path)
    assert json.loads(model.get_rt_info([KEY]).value)["parity"]["runtime"] == parity.runtime
    assert sorted(file.name for file in path.parent.glob("*vino.*")) == ["vino.bin", "vino.xml"]


def test_a_file_that_computes_something_else_is_not_left(tmp_path, monkeypatch):
    model = partial(TransposedConvNet, 6, "test_resnet", weights=None)
    source = load_source(checkpoint(tmp_path, model))

    class Wrong(TorchFormat):
        def open(self, path):
            run = super().open(path)
            return lambda images: run(images) + 0.02

    monkeypatch.setitem(FORMATS, "torch", Wrong())
    older = tmp_path / "wrong.pt2"
    older.write_text("older")
    with pytest.raises(InputError, match=r"is not written: .* differ by at most 0\.02"):
        export(source, older, "torch", ExportOptions(size=(32, 32), batch=1))

    class Failing(TorchFormat):
        def open(self, path):
            raise RuntimeError("no such operator")

    monkeypatch.setitem(FORMATS, "torch", Failing())
    with pytest.raises(
        InputError, match=r"TransposedConvNet: cannot be exported \(RuntimeError: no such"
    ):
        export(source, older, "torch", ExportOptions(size=(32, 32), batch=1))
    assert older.read_text() == "older"
    assert not list(tmp_path.glob(".*"))


class Branching(UNetFormer):
    """A network that looks at values."""

    def forward(self, image, details=False):
        return super().forward(image if image.mean() > 0 else -image)


def test_networks_that_cannot_be_traced(bicor):
    source = load_source(bicor)
    source.predictor.engine.model = Branching(6, "test_resnet", weights=None).eval()
    with pytest.raises(InputError, match=r"Branching: cannot be exported \(\w+: .*does not branch"):
        export(source, "x.pt2", "torch", ExportOptions(size=(32, 32), batch=1))
    with pytest.raises(InputError, match=r"any number of images .*give batch=1"):
        export(source, "x.pt2", "torch", ExportOptions(size=(32, 32)))
    with pytest.raises(InputError, match=r"any size, since .* padding .*give size=512"):
        export(source, "x.pt2", "torch", ExportOptions())
    # The padding of encoders from TensorFlow depends on the size too.
    source.predictor.engine.model = BiCoRSeg(
        6, "tf_efficientnet_lite0", weights=None, dim=32
    ).eval()
    with pytest.raises(InputError, match=r"any size, since .* padding .*give size=512"):
        export(source, "x.pt2", "torch", ExportOptions())
    assert not Path("x.pt2").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": (31, 64)}, r"size=31 64: must be at least 32"),
        ({"batch": 0}, r"batch=0: must be from 1"),
        ({"uint8": True}, r"uint8=True: .*add normalize=True"),
        ({"unit": True}, r"unit=True: .*give normalize=True and uint8=False"),
    ],
)
def test_wrong_options(values, message):
    with pytest.raises(InputError, match=message):
        ExportOptions(**values)


@pytest.mark.parametrize(
    "changes",
    [
        {"bands": 4, "mean": (1.0,) * 4, "std": (1.0,) * 4},
        {"bits": 16},
        {"classes": ("a", *VAIHINGEN.classes[1:])},
        {"ignore_index": 200},
    ],
)
def test_a_known_data_set_with_other_images_or_classes(tmp_path, changes):
    """Its files are not compared: they have other bands than the network takes, or other labels."""
    root = make_dataset(tmp_path / "data", VAIHINGEN, {"val": 1})
    path = checkpoint(tmp_path, partial(TransposedConvNet, 6, "test_resnet", weights=None), root)
    assert load_source(path).data_set is VAIHINGEN
    content = torch.load(path)
    content[CARD_KEY].update(changes)
    torch.save(content, path)
    source = load_source(path)
    assert source.data_set is None
    assert find_sample_images(source).words.startswith("noise, since the splits")


def test_wrong_input(bicor, tmp_path):
    source = load_source(bicor)
    with pytest.raises(InputError, match=r"net.onnx: format=torch has the ending .pt2"):
        export(source, tmp_path / "net.onnx", "torch", ExportOptions())
    with pytest.raises(InputError, match=r"format=tflite: must be one of onnx"):
        export(source, tmp_path / "net.onnx", "tflite", ExportOptions())
    with pytest.raises(InputError, match=r"has no best.ckpt or last.ckpt"):
        load_source(tmp_path)
    wide = replace(source.card, bits=16, mean=(1.0,) * 3, std=(1.0,) * 3)
    with pytest.raises(InputError, match=r"whose values are uint16; leave it out"):
        ExportOptions(normalize=True, uint8=True).check(wide.info)
