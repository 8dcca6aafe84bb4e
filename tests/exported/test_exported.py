"""Exported files predict what the checkpoint does, in Python, in maps and in tests."""

import json
import os
import re
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
import torch
from packaging.requirements import Requirement
from torch import nn

from network.card import make_card
from network.config import Experiment
from network.datasets.files import write_image
from network.datasets.info import VAIHINGEN
from network.datasets.transforms import Normalize
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.evaluation.records import read_records
from network.export.options import ExportOptions
from network.export.program import Exported
from network.export.source import load_source
from network.export.write import export, tensor_facts
from network.exported.choice import Backend
from network.exported.engine import ExportedEngine
from network.exported.load import load_exported
from network.exported.record import ExportRecord, Quantization
from network.losses.bicor import BiCoRLoss
from network.maps.layers import CONFIDENCE
from network.maps.options import MapOptions
from network.maps.run import predict_images, predict_maps
from network.maps.work import Task
from network.models.output import SegOutput
from network.models.tconv import TransposedConvNet
from network.prediction import ImagePredictor
from network.predictor import Predictor
from tests import commands
from tests.conftest import ROOT
from tests.export.test_export import checkpoint
from tests.maps.local import IDENTITY, PLACE, random_image
from tests.scenes import make_dataset, write_bands
from tests.test_measurements import HEIGHTS

pytestmark = pytest.mark.slow

MODEL = partial(TransposedConvNet, 6, "test_resnet", weights=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkpoint, a file for any size, and one for squares that normalizes by itself."""
    folder = tmp_path_factory.mktemp("exported")
    source = load_source(checkpoint(folder, MODEL))
    export(source, folder / "plain.onnx", "onnx", ExportOptions())
    options = ExportOptions(size=(96, 96), batch=3, normalize=True)
    export(source, folder / "fixed.pt2", "torch", options)
    return folder


@pytest.mark.parametrize(
    ("name", "tta", "size", "patch"),
    [
        ("plain.onnx", "lr", (75, 109), None),
        ("plain.onnx", "none", (75, 109), (64, 96)),
        ("fixed.pt2", "dihedral", (96, 96), None),
    ],
)
def test_predictions(folder, name, tta, size, patch):
    """Images of the file's own size and of odd sizes are predicted, whole and in patches."""
    options = {"tta": tta, "patch": patch, "overlap": 32, "batch_size": 2}
    image, network = random_image(*size), Predictor.load(folder / "best.ckpt", **options)
    expected = network.predict(image, probabilities=True)
    found = load_exported(folder / name).predictor(**options).predict(image, probabilities=True)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=2e-5)
    assert (found.labels == expected.labels).mean() > 0.999
    assert found.info.classes == VAIHINGEN.classes


@pytest.mark.parametrize(
    ("options", "atol"),
    [
        (ExportOptions(), 1e-4),
        (ExportOptions(normalize=True), 1e-4),
        (ExportOptions(softmax=True), 1e-4),
        (ExportOptions(normalize=True, softmax=True, unit=True, size=(96, 96), batch=3), 1e-4),
        # Scaled views of whole numbers are rounded.
        (ExportOptions(normalize=True, uint8=True), 0.02),
    ],
)
@pytest.mark.parametrize("info", [VAIHINGEN, HEIGHTS])
def test_inputs_and_outputs(options, atol, info):
    """Whatever a file takes and gives, its scores are those of the network, up to a constant."""
    if info is HEIGHTS and (options.uint8 or options.unit):
        return
    torch.manual_seed(0)
    model = nn.Conv2d(info.bands, info.num_classes, 5, padding=2, padding_mode="replicate")
    network = Wrapped(model).eval()
    mean, std = [90.0] * info.bands, [40.0] * info.bands
    tta = "d4" if options.size is None else "dihedral"
    expected = Predictor(network, info, (mean, std), device="cpu", tta=tta, patch=None)
    experiment = Experiment(dataset=info, model=MODEL, loss=MODEL)
    data = replace(experiment.data, mean=(0.3,) * info.bands, std=(0.2,) * info.bands)
    card = replace(make_card(replace(experiment, data=data)), mean=tuple(mean), std=tuple(std))
    normalize = Normalize(mean, std) if options.normalize else None
    exported = Exported(network, normalize, options.softmax, 255.0 if options.unit else 1.0)
    given, found = tensor_facts(card, options)
    seen = set()

    def run(images: np.ndarray) -> np.ndarray:
        seen.add((images.dtype.name, *images.shape[2:]))
        assert options.batch in (None, len(images))
        with torch.inference_mode():
            return exported(torch.from_numpy(images)).numpy()

    record = ExportRecord(
        format="onnx",
        input=given,
        output=found,
        multiple_of=1 if options.size else 32,
        card=card.to_plain(),
        checkpoint="best.ckpt",
        checkpoint_sha256="0",
        training={},
        torch="2",
    )
    record = ExportRecord.from_json(record.to_json())
    image = random_image(70, 96)
    if info is HEIGHTS:
        image = image[..., :2].astype(np.float32)
        image[::9, ::7, 1], image[20:30, 40:50] = np.nan, np.inf
    engine = ExportedEngine(run, record, card, "net.onnx")
    ours = ImagePredictor(engine, info, tta=tta, patch=None)
    theirs = expected.predict(image, probabilities=True).probabilities
    near = ours.predict(image, probabilities=True).probabilities
    inside = slice(None), slice(8, -16), slice(8, -16)  # what is filled up differs at the edge
    np.testing.assert_allclose(near[inside], theirs[inside], atol=atol)
    assert {name for name, *_ in seen} == {"uint8" if options.uint8 else "float32"}
    assert (len(seen) > 1) == (options.size is None)


class Wrapped(nn.Module):
    """A network of one part."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.part = part

    def forward(self, image: torch.Tensor) -> SegOutput:
        return SegOutput(self.part(image))


def test_smaller_images_are_filled_up(folder):
    """The last row and column are repeated, and the checkpoint predicts the same from that."""
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
        if wanted.name in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(wanted.name)
        found = distribution(wanted.name)
        assert found.version in wanted.specifier, wanted  # the pins are those of the tests
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
    for name in ("best.ckpt", "plain.onnx"):
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
        file = load_exported(folder / "plain.onnx", Backend("openvino", precision))
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
        ("damaged.pt2", {}, r"damaged\.pt2: cannot be opened by torch \(.*\); export it again$"),
        ("alone.xml", {}, r"alone\.bin: no such file, and it has the weights of alone\.xml; keep"),
        ("foreign.onnx", {}, r"foreign\.onnx: does not say how it is used"),
        ("newer.onnx", {}, r"newer\.onnx: its facts cannot be used \(version 9"),
    ],
)
def test_wrong_files(folder, name, backend, message):
    (folder / "damaged.onnx").write_bytes(b"no model")
    (folder / "damaged.pt2").write_bytes((folder / "fixed.pt2").read_bytes()[:9000])
    (folder / "alone.xml").write_text("<net/>")
    model = onnx.load(folder / "plain.onnx")
    model.metadata_props[0].value = model.metadata_props[0].value.replace(
        '"version": 1', '"version": 9'
    )
    onnx.save(model, folder / "newer.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "foreign.onnx")
    with pytest.raises(InputError, match=message):
        load_exported(folder / name, Backend(**backend))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"multiple_of": 32', '"multiple_of": 0'),
        ('"dtype": "float32"', '"dtype": "float3"'),
        ('"holds": "normalized values"', '"holds": "anything"'),
        ("[null, 3, null, null]", "[-1, 3, null, null]"),
        ("[null, 3, null, null]", "[null, 3, 64, null]"),
        ("[null, 3, null, null]", "[null, 4, null, null]"),
        ("[null, 6, null, null]", "[null, 5, null, null]"),
        ("[null, 6, null, null]", "[6]"),
    ],
)
def test_facts_that_do_not_fit(folder, tmp_path, old, new):
    model, file = onnx.load(folder / "plain.onnx"), tmp_path / "changed.onnx"
    text = model.metadata_props[0].value
    assert old in text
    model.metadata_props[0].value = text.replace(old, new)
    onnx.save(model, file)
    with pytest.raises(InputError, match=r"changed\.onnx: its facts cannot be used \("):
        load_exported(file)


def test_quantized_files_say_so(folder):
    """In what maps and tests keep of the file."""
    network = load_exported(folder / "plain.onnx")
    facts = Quantization(images="", layers=2, float_layers=(), measured_on="", equal_labels=1.0)
    quantized = replace(network, record=replace(network.record, quantization=facts))
    assert "bits" not in network.identity
    assert quantized.identity["bits"] == 8


def test_a_checkpoint_needs_its_experiment(folder, tmp_path):
    image = tmp_path / "a.png"
    write_image(image, random_image(64, 64))
    options = {"images": [image], "output": tmp_path / "out"}
    with pytest.raises(InputError, match=r"best\.ckpt: is a checkpoint, which needs its"):
        predict_images(None, checkpoint=folder / "best.ckpt", **options)
    assert not (tmp_path / "out").exists()


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
        load_exported(fixed).predictor(patch=None).predict(random_image(97, 96))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-c", "config/x.py"], r"--config: changes nothing, since plain\.onnx says itself"),
        (["data.mean=1"], r"key=value: changes nothing"),
        (["--compile"], r"--compile: is for checkpoints"),
        (["--backend", "torch"], r"--backend torch: does not run \.onnx files; give onnx or"),
        (["--precision", "16-mixed"], r"--precision 16-mixed: onnxruntime computes"),
    ],
)
def test_command_line(folder, tmp_path, words, message):
    given = ["--checkpoint", folder / "plain.onnx", "-i", "a.png", "-o", "out", *words]
    assert re.search(message, commands.error_of("predict.py", *given, cwd=tmp_path))


def test_checkpoints_need_a_config(folder, tmp_path):
    given = ["--checkpoint", folder / "best.ckpt", "-i", "a.png", "-o", "out"]
    error = commands.error_of("predict.py", *given, cwd=tmp_path)
    assert "--config: is needed for all but exported files" in error or "-c: is needed" in error
