"""Exported files predict what the checkpoint does, in Python, in maps and in tests."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
from packaging.requirements import Requirement

from network.config import Experiment
from network.datasets.files import write_image
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.evaluation.records import read_records
from network.export.deepness import deepness_options, deepness_properties
from network.export.options import ExportOptions
from network.export.source import load_source
from network.export.write import export
from network.exported.choice import Backend
from network.exported.load import load_exported
from network.losses.bicor import BiCoRLoss
from network.maps.layers import CONFIDENCE
from network.maps.options import MapOptions
from network.maps.run import predict_images, predict_maps
from network.maps.work import Task
from network.models.tconv import TransposedConvNet
from network.predictor import Predictor
from tests.conftest import ROOT
from tests.export.test_export import checkpoint
from tests.maps.local import IDENTITY, PLACE, random_image
from tests.scenes import make_dataset, write_bands

pytestmark = pytest.mark.slow

MODEL = partial(TransposedConvNet, 6, "test_resnet", weights=None)
FILES = {
    "plain.onnx": ExportOptions(),
    "inside.onnx": ExportOptions(normalize=True, softmax=True, uint8=True),
    "fixed.pt2": ExportOptions(size=(96, 96), batch=3, normalize=True),
}
FORMATS = {".onnx": "onnx", ".pt2": "torch", ".xml": "openvino"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    source = load_source(checkpoint(folder, MODEL))
    for name, options in FILES.items():
        export(source, folder / name, FORMATS[Path(name).suffix], options)
    options, properties = deepness_options((96, 96)), deepness_properties(source.card, 96)
    export(source, folder / "deepness.onnx", "onnx", options, properties)
    return folder


@pytest.mark.parametrize(
    ("name", "tta"),
    [
        ("plain.onnx", "none"),
        ("plain.onnx", "d4"),
        ("inside.onnx", "dihedral"),
        ("fixed.pt2", "dihedral"),
        ("deepness.onnx", "lr"),
    ],
)
def test_predictions(folder, name, tta):
    """Of the size of the file, or of an odd one, whole and in patches."""
    size = (96, 96) if name in ("fixed.pt2", "deepness.onnx") else (75, 109)
    image = random_image(*size)
    for patch in (None, (64, 96)) if (name, tta) == ("plain.onnx", "none") else (None,):
        options = {"tta": tta, "patch": patch, "overlap": 32, "batch_size": 2}
        expected = Predictor.load(folder / "best.ckpt", device="cpu", **options)
        expected = expected.predict(image, probabilities=True)
        found = load_exported(folder / name).predictor(**options)
        found = found.predict(image, probabilities=True)
        atol = 2e-4 if tta == "d4" else 2e-5  # resizing differs a little
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=atol)
        assert (found.labels == expected.labels).mean() > 0.9995
        assert found.info.classes == VAIHINGEN.classes


def test_scaled_views_of_whole_numbers(folder):
    """They are rounded, so they differ a little."""
    image = random_image(75, 109)
    expected = Predictor.load(folder / "best.ckpt", device="cpu", tta="d4").predict(image)
    found = load_exported(folder / "inside.onnx").predictor(tta="d4").predict(image)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=0.02)


def test_smaller_images_are_filled_up(folder):
    """By their last row and column, so a fixed size sees what the checkpoint sees of such."""
    image = random_image(64, 70)
    filled = np.pad(image, ((0, 32), (0, 26), (0, 0)), mode="edge")
    expected = Predictor.load(folder / "best.ckpt", device="cpu").predict(filled)
    found = load_exported(folder / "fixed.pt2").predictor().predict(image)
    np.testing.assert_array_equal(found.labels, expected.labels[:64, :70])


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder of links to the packages that requirements-predict.txt installs, and no others."""
    folder = tmp_path_factory.mktemp("packages")
    lines = (ROOT / "requirements-predict.txt").read_text().splitlines()
    todo = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    seen: set[str] = set()
    for wanted in todo:
        found = distribution(wanted.name)
        assert found.version in wanted.specifier or "==" not in str(wanted.specifier)
        if wanted.name in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(wanted.name)
        todo += map(Requirement, found.requires or ())
        for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
    return folder


def without_torch(packages: Path, *args: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """Run predict.py with these packages alone."""
    command = [sys.executable, "-S", ROOT / "predict.py", *args]
    env = os.environ | {"PYTHONPATH": str(packages)}
    return subprocess.run(map(str, command), cwd=cwd, env=env, capture_output=True, text=True)


def test_predict_without_torch(folder, packages, tmp_path):
    """A map on Earth and masks of photos, with views; the file says all that a config would."""
    assert not [name for name in ("torch", "timm", "scipy") if (packages / name).exists()]
    write_bands(tmp_path / "in/a.tif", random_image(150, 170), photometric="RGB", **PLACE)
    write_image(tmp_path / "in/b.png", random_image(75, 64, seed=1))
    flags = ["--window", "96", "--halo", "32", "--labels", "--confidence", "-t", "lr"]
    inputs = ["--checkpoint", folder / "plain.onnx", "-i", "in", "-o", "out"]
    result = without_torch(packages, *inputs, *flags, cwd=tmp_path)
    assert "2 masks in out" in result.stdout, result.stderr
    predictor = Predictor.load(folder / "best.ckpt", device="cpu", tta="lr", patch=None)
    options = MapOptions(window=96, halo=32, rgb=False, layers=(CONFIDENCE,))
    images = sorted((tmp_path / "in").iterdir())
    tasks = [Task(str(path), tmp_path / "expected" / path.stem) for path in images]
    predict_maps(predictor, tasks, IDENTITY, options)
    for name in ("a.tif", "a_confidence.tif", "b.png", "b_confidence.tif"):
        with rasterio.open(tmp_path / "expected" / name) as expected:
            theirs, place = expected.read(), (expected.crs, expected.transform)
        with rasterio.open(tmp_path / "out" / name) as found:
            assert (found.crs, found.transform) == place
            apart = np.abs(found.read().astype(int) - theirs)
        if "confidence" in name:
            assert apart.max() <= 1
        else:
            assert (apart == 0).mean() > 0.9995
    lines = (tmp_path / "out/maps.jsonl").read_text().splitlines()
    identity = next(line["identity"] for line in map(json.loads, lines) if "identity" in line)
    assert (identity["backend"], identity["format"], identity["tta"]) == ("onnx", "onnx", "lr")
    file = load_exported(folder / "plain.onnx")
    assert identity["exported_sha256"] == file.sha256
    assert identity["checkpoint_sha256"] == load_source(folder / "best.ckpt").sha256
    # What needs torch says so in one line.
    torch_file = "--checkpoint", folder / "fixed.pt2"
    result = without_torch(packages, *torch_file, *inputs[2:], cwd=tmp_path)
    assert result.returncode == 2
    assert "needs the library torch, which is not installed" in result.stderr


@pytest.fixture
def experiment(folder, tmp_path, monkeypatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    make_dataset(Path("data"), VAIHINGEN, {"test": 2}, sizes=((96, 96), (64, 80)))
    found = Experiment(dataset=VAIHINGEN, model=MODEL, loss=partial(BiCoRLoss, 6))
    return replace(found, data=replace(found.data, root="data", workers=0), name="tiny")


def test_a_test_of_a_file(folder, experiment):
    """It counts what the checkpoint counts, and its stamp says what has run."""
    for name in ("best.ckpt", "plain.onnx", "fixed.pt2"):
        evaluate(experiment, checkpoint=folder / name, output=Path(name), split="test", tta="lr")
    expected = read_records(Path("best.ckpt"))
    for name, record in read_records(Path("plain.onnx")).items():
        for kind, counts in record.counts.items():
            apart = np.abs(counts.matrix - expected[name].counts[kind].matrix).sum()
            assert apart <= 4  # a pixel between two classes
    stamp = json.loads(Path("plain.onnx/protocol.json").read_text())
    assert stamp["exported"]["backend"] == "onnx"
    assert stamp["exported"]["runtime"].startswith("onnxruntime ")
    assert stamp["checkpoint"].endswith("plain.onnx")
    assert stamp["seed"] == 3  # of the training
    with pytest.raises(InputError, match=r"masks of another run \(its checkpoint_sha256"):
        evaluate(
            experiment, checkpoint=folder / "fixed.pt2", output=Path("plain.onnx"), split="test"
        )
    classes = replace(VAIHINGEN, classes=("a", *VAIHINGEN.classes[1:]))
    other = replace(experiment, dataset=classes)
    with pytest.raises(InputError, match="was trained on other classes than those of vaihingen"):
        evaluate(other, checkpoint=folder / "plain.onnx", output=Path("x"), split="test")


def test_openvino(folder):
    pytest.importorskip("openvino")
    image = random_image(70, 96)
    expected = Predictor.load(folder / "best.ckpt", device="cpu").predict(image)
    for precision, least in (("32-true", 0.9995), ("bf16-mixed", 0.9)):
        file = load_exported(folder / "inside.onnx", Backend("openvino", precision))
        assert (file.predictor().predict(image).labels == expected.labels).mean() > least
    assert file.identity["precision"] == "bf16-mixed"


@pytest.mark.parametrize(
    ("name", "backend", "message"),
    [
        ("nothing.onnx", {}, r"nothing\.onnx: no such file"),
        ("best.ckpt", {}, r"best\.ckpt: is no exported file; these end in \.onnx"),
        (
            "plain.onnx",
            {"name": "torch"},
            r"backend=torch: does not run \.onnx files; give onnx or",
        ),
        (
            "plain.onnx",
            {"precision": "bf16-mixed"},
            r"precision=bf16-mixed: onnxruntime .*openvino",
        ),
        ("plain.onnx", {"precision": "64-true"}, r"precision=64-true: .*; leave it out"),
        ("damaged.onnx", {}, r"damaged\.onnx: cannot be opened by onnxruntime \(.*export it again"),
        ("foreign.onnx", {}, r"foreign\.onnx: does not say how it is used"),
        ("newer.onnx", {}, r"newer\.onnx: its facts cannot be used \(version 9"),
    ],
)
def test_wrong_files(folder, name, backend, message):
    (folder / "damaged.onnx").write_bytes(b"no model")
    model = onnx.load(folder / "plain.onnx")
    model.metadata_props[0].value = model.metadata_props[0].value.replace(
        '"version": 1', '"version": 9'
    )
    onnx.save(model, folder / "newer.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "foreign.onnx")
    with pytest.raises(InputError, match=message):
        load_exported(folder / name, Backend(**backend))


def test_wrong_combinations(folder, tmp_path):
    fixed, image = folder / "fixed.pt2", tmp_path / "a.png"
    write_image(image, random_image(96, 96))

    def predict(checkpoint=fixed, **options):
        chosen = {key: options.pop(key) for key in ("tta", "device", "backend") if key in options}
        predict_images(
            None,
            checkpoint=checkpoint,
            images=[image],
            output=tmp_path / "out",
            options=MapOptions(**{"window": 96, "halo": 32} | options),
            **chosen,
        )

    with pytest.raises(InputError, match=r"window=128: the file takes .*; give window=96"):
        predict(window=128)
    with pytest.raises(InputError, match=r"context=image: an exported file sees each window"):
        predict(context="image")
    with pytest.raises(InputError, match=r"tta=d4: resizes the images, and fixed\.pt2 takes"):
        predict(tta="d4")
    with pytest.raises(InputError, match=r"device=cuda: exported files run on the CPU"):
        predict(device="cuda")
    with pytest.raises(InputError, match=r"backend=onnx: runs exported files, and best\.ckpt is"):
        predict(folder / "best.ckpt", backend=Backend("onnx"))
    with pytest.raises(InputError, match=r"backend=tflite: must be one of onnx"):
        Backend("tflite")
    with pytest.raises(InputError, match=r"fixed\.pt2: takes images of at most 96 x 96"):
        load_exported(fixed).predictor().predict(random_image(97, 96))
    assert not (tmp_path / "out").exists()
