"""Quantized files: 8 bits inside, and layers kept in float32 where labels would suffer."""

from functools import partial

import numpy as np
import pytest

from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.export import quantize as module
from network.export.options import ExportOptions
from network.export.samples import find_calibration_images
from network.export.source import load_source
from network.export.write import export
from network.exported.load import load_exported
from network.exported.record import Accuracy, Quantization
from network.models.tconv import TransposedConvNet
from network.predictor import Predictor
from tests.export.test_export import checkpoint
from tests.scenes import make_dataset

OPTIONS = ExportOptions(size=(64, 64), batch=2, normalize=True, uint8=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    root = make_dataset(folder / "data", VAIHINGEN, {"train": 3, "val": 2})
    return checkpoint(folder, partial(TransposedConvNet, 6, "test_resnet", weights=None), root)


def test_what_is_not_quantized(run, tmp_path):
    source = load_source(run)
    images = find_calibration_images(source)
    assert (images.count, images.words) == (3, "parts of 3 images of vaihingen, train")
    assert images.draw(3, 40, 70).shape == (3, 3, 40, 70)
    with pytest.raises(InputError, match=r"format=onnx: only files of OpenVINO are quantized"):
        export(source, tmp_path / "x.onnx", "onnx", OPTIONS, ranges=images)
    images = find_calibration_images(source, run.parent / "data" / "val" / "images_1024")
    assert images.words == "parts of 2 images of images_1024"
    with pytest.raises(InputError, match=r"no such folder"):
        find_calibration_images(source, tmp_path / "nothing")


def test_the_line():
    scores = Accuracy(miou=0.5, interval=(0.4, 0.6), classes={"a": 0.75, "b": None})
    found = Quantization(
        images="3 images",
        layers=9,
        float_layers=("x",),
        measured_on="2 images of y, val",
        equal_labels=0.995,
        before=scores,
        after=scores,
    )
    assert str(found) == (
        "8 of 9 layers in 8 bits; mIoU 50.00 (40.00 to 60.00) before, 50.00 (40.00 to 60.00) "
        "after, a 75.00 and 75.00; 99.5 % of the labels are equal (2 images of y, val)"
    )


def test_what_is_exact_enough():
    """A class may lose a point; one that has no IoU, before or after, loses nothing."""

    def accuracy(**classes: float | None) -> Accuracy:
        return Accuracy(miou=None, interval=None, classes=classes)

    def is_exact(before: Accuracy | None, after: Accuracy | None, equal: float = 1.0) -> bool:
        return module._Result(equal, before, after).is_exact

    assert is_exact(accuracy(a=0.5, b=None), accuracy(a=0.495, b=0.0))
    assert is_exact(accuracy(a=0.5, b=0.3), accuracy(a=0.6, b=None))
    assert not is_exact(accuracy(a=0.5, b=None), accuracy(a=0.48, b=None))
    assert not is_exact(None, None, equal=0.98)
    assert str(accuracy()) == "unknown"


@pytest.mark.slow
def test_a_quantized_file(run, monkeypatch):
    """All layers first; then, if no loss is accepted, three segments stay in float32."""
    pytest.importorskip("nncf")
    source, path = load_source(run), run.with_name("int8.xml")
    images = find_calibration_images(source)
    for fewest, kept in ((0.0, 0), (1.1, 3)):
        monkeypatch.setattr(module, "FEWEST_EQUAL", fewest)
        monkeypatch.setattr(module, "LARGEST_LOSS", 1.0)
        export(source, path, "openvino", OPTIONS, ranges=images)
        file = load_exported(path)
        found = file.record.quantization
        assert found is not None
        assert found.measured_on == "2 images of vaihingen, val"
        share = len(found.float_layers) / found.layers
        assert share == pytest.approx(kept / 8, abs=0.1)
    text = path.read_text()
    assert 'type="FakeQuantize"' in text
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = Predictor.load(run, device="cpu").predict(image)
    assert (file.predictor().predict(image).labels == expected.labels).mean() > 0.7
