"""Images of measurements, with holes in them, from their files to their maps."""

import ast
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from network.config import Data, Experiment, Optim
from network.datasets.files import read_image, read_mask, read_valid_image
from network.datasets.schema import DatasetInfo, Folder, MaskFolder
from network.datasets.segmentation import SegmentationDataset, find_samples
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.predictor import Predictor
from network.training.train import train
from tests.commands import error_of, run, succeed
from tests.scenes import make_dataset, write_bands

NO_DATA = -32767
PLACE = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.1, 0.1)}

HEIGHTS = DatasetInfo(
    name="heights",
    root="data",
    classes=("ground", "building"),
    palette=((200, 150, 100), (255, 0, 0)),
    ignore_index=255,
    bands=2,
    bits=32,
    values="float",
    splits={
        split: (Folder(images=f"{split}/images", masks=(MaskFolder(folder=f"{split}/masks"),)),)
        for split in ("train", "val", "test")
    },
)
KINDS = {
    "float32": {"bits": 32, "values": "float"},
    "int16": {"bits": 16, "values": "signed"},
    "int32": {"bits": 32, "values": "signed"},
    "uint32": {"bits": 32, "values": "unsigned"},
}

CONFIG = """
from dataclasses import replace
from functools import partial

from network.config import Data, Experiment, Optim
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from tests.test_measurements import HEIGHTS

experiment = Experiment(
    dataset=HEIGHTS,
    model=partial(BiCoRSeg, 2, encoder="test_resnet", weights=None, dim=16, bands=2),
    loss=partial(BiCoRLoss, 255),
    data=Data(crop=64, batch_size=2, workers=1),
    optim=Optim(lr=1e-3, epochs=1),
)
"""


def with_holes(root: Path, info: DatasetInfo) -> Path:
    """A data set whose images have no-data values, and NaN where their type has it."""
    make_dataset(root, info, {"train": 4, "val": 1, "test": 2}, ((64, 64), (40, 72)))
    nodata = 0 if info.values == "unsigned" else NO_DATA
    for path in root.rglob("images/*.tif"):
        image = read_image(path, info).copy()
        image[10:20, 5:25, 1] = nodata
        if info.values == "float":
            image[30, ::7, 0], image[31, 5] = np.nan, np.inf
        write_bands(path, image, nodata=nodata, **PLACE)
    return root


def without_holes(path: Path, info: DatasetInfo, mean: tuple[float, ...]) -> np.ndarray:
    """An image in doubles, with the mean of its band where it has no data."""
    image, valid = read_valid_image(path, info)
    return np.where(valid[..., None], image.astype(np.float64), mean)


def experiment_of(root: Path, info: DatasetInfo) -> Experiment:
    pixels = [read_valid_image(path, info) for path in sorted(root.glob("train/images/*"))]
    known = np.concatenate([image[valid] for image, valid in pixels]).astype(np.float64)
    return Experiment(
        dataset=info,
        model=partial(BiCoRSeg, 2, "test_resnet", weights=None, dim=16, bands=2),
        loss=partial(BiCoRLoss, 255),
        data=Data(
            root=str(root),
            crop=48,
            scales=(0.75, 1.3),
            mosaic=0.5,
            batch_size=2,
            workers=0,
            mean=tuple(known.mean(0).tolist()),
            std=tuple(known.std(0).tolist()),
        ),
        optim=Optim(lr=1e-3, epochs=1),
        name="heights",
        config="heights.py",
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_from_files_to_masks(tmp_path, monkeypatch, dtype):
    """Training has a finite loss; test and prediction see holes as the mean of their band."""
    monkeypatch.chdir(tmp_path)
    info = replace(HEIGHTS, **KINDS[dtype])
    experiment = experiment_of(with_holes(tmp_path / "data", info), info)
    checkpoint = train(experiment, accelerator="cpu") / "best.ckpt"  # refuses an infinite loss
    evaluate(experiment, checkpoint=checkpoint, output=Path("out"), split="test", device="cpu")
    predictor = Predictor.load(checkpoint, device="cpu")
    assert predictor.info.dtype == dtype
    mean, std = experiment.normalization
    for path in sorted(Path("data/test/images").iterdir()):
        image, valid = read_valid_image(path, info)
        prediction = predictor.predict(image, valid=valid, probabilities=True, heatmaps=True)
        masked = read_mask(Path("out") / f"{path.stem}.png", info)
        np.testing.assert_array_equal(masked, np.where(valid, prediction.labels, 255))
        # What the network should have seen, in double precision.
        filled = (without_holes(path, info, mean) - mean) / std
        seen = torch.from_numpy(filled.transpose(2, 0, 1)).float()[None]
        with torch.inference_mode():
            expected = predictor.model(seen).logits.softmax(1)[0].numpy()
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-4)
        assert np.isfinite(prediction.heatmaps[0]).all()


@pytest.mark.parametrize("dtype", KINDS)
def test_training_items(tmp_path, dtype):
    """Holes are NaN in all bands, and no pixel of a hole has a label."""
    info = replace(HEIGHTS, **KINDS[dtype])
    root = with_holes(tmp_path, info)
    samples = find_samples(info, root, "test")
    for index, sample in enumerate(samples):
        item = SegmentationDataset(samples, info)[index]
        image, valid = read_valid_image(sample.image, info)
        assert item["image"].dtype == torch.float32
        np.testing.assert_array_equal(item["image"][:, valid].numpy(), image[valid].T)
        assert item["image"][:, ~valid].isnan().all()
        np.testing.assert_array_equal(item["valid"].numpy(), valid)
        assert (item["labels"]["full"].numpy()[~valid] == 255).all()


def test_predictor_finds_holes_itself(tmp_path):
    """Of an array with NaN, and of one whose validity is told; the mask has no class there."""
    model = BiCoRSeg(2, "test_resnet", weights=None, dim=16, bands=2)
    predictor = Predictor(model, HEIGHTS, ([100.0, 5.0], [3.0, 2.0]), device="cpu")
    image = np.random.default_rng(0).normal(100, 3, (64, 64, 2)).astype(np.float32)
    valid = np.ones((64, 64), bool)
    valid[8:20, 30:50] = False
    holes, sentinels, mean = image.copy(), image.copy(), image.copy()
    holes[~valid, 0], sentinels[~valid], mean[~valid] = np.nan, NO_DATA, (100, 5)
    expected = predictor.predict(mean)
    for found in (predictor.predict(holes), predictor.predict(sentinels, valid=valid)):
        np.testing.assert_array_equal(found.confidence, expected.confidence)
        np.testing.assert_array_equal(found.valid, valid)
    found.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", HEIGHTS)
    np.testing.assert_array_equal(mask, np.where(valid, expected.labels, 255))
    with pytest.raises(InputError, match=r"image: has values of type float64; expected float32"):
        predictor.predict(image.astype(np.float64))
    with pytest.raises(InputError, match=r"valid: has the shape \(3, 4\); expected \(64, 64\)"):
        predictor.predict(image, valid=valid[:3, :4])


@pytest.fixture(scope="module")
def cwd(tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("heights")
    (cwd / "heights.py").write_text(CONFIG)
    with_holes(cwd / "data", HEIGHTS)
    return cwd


@pytest.mark.slow
def test_all_commands(cwd):
    config = ("-c", "heights.py")
    line = error_of("train.py", *config, "--accelerator", "cpu", cwd=cwd)
    assert "data.mean: has no values, heights has 2 bands of float32" in line
    out = succeed("tools/measure_bands.py", *config, "--workers", "1", cwd=cwd)
    values = re.search(r"^mean=(\(.*\)), std=(\(.*\))$", out, re.MULTILINE)
    mean = ast.literal_eval(values[1])
    assert min(mean) < 0  # so it is no share of a largest value
    measured = [f"data.mean={values[1]}", f"data.std={values[2]}"]
    line = error_of("train.py", *config, *measured, "data.brighten=0.5", cwd=cwd)
    assert "data.brighten=0.5: is for brightness of 8 or 16 bits, heights has float32" in line

    succeed("train.py", *config, "--accelerator", "cpu", *measured, cwd=cwd)
    args = [*config, "-o", "out", "-t", "lr", "--report", *measured]
    assert "mean of 2" in succeed("test_custom.py", *args, cwd=cwd)
    assert (cwd / "out/report.html").read_text().count('class="stage"') == 2
    args = [*config, "-i", "data/test/images", "-o", "maps", "-t", "lr", *measured]
    succeed("predict.py", *args, cwd=cwd)
    for path in sorted((cwd / "data/test/images").iterdir()):
        tested = read_mask(cwd / f"out/{path.stem}.png", HEIGHTS)
        with rasterio.open(cwd / f"maps/{path.name}") as file:
            np.testing.assert_array_equal(file.read(1), tested)

    args = [*config, "--html", "sheet.html", "--workers", "1"]
    doctor = run("tools/check_data.py", *args, cwd=cwd)
    assert doctor.returncode == 1, doctor.stderr[-3000:]
    found = doctor.stdout
    assert found.count("of its pixels are NaN; if that means no data, write its no-data value") == 7
    assert found.count("of its pixels are infinite; mend the image") == 7
    assert (cwd / "sheet.html").read_text().count("data:image/webp") == 2 * 7
