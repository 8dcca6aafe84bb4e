"""Packages for ArcGIS: a host that is made as Esri describes it gets the labels of predict.py."""

import ast
import json
import sys
import zipfile
from dataclasses import replace
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from network.card import make_card
from network.config import Experiment
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.export.arcgis import FUNCTION, Package, arcgis_options, padding
from network.export.options import ExportOptions
from network.export.source import load_source
from network.export.write import export, tensor_facts
from network.exported.record import ExportRecord
from network.losses.bicor import BiCoRLoss
from network.maps.options import MapOptions
from network.maps.run import predict_images
from network.models.output import SegOutput
from network.models.tconv import TransposedConvNet
from network.predictor import Predictor
from network.settings import Data
from tests.export.test_export import checkpoint
from tests.maps.local import Local, random_image
from tests.scenes import write_bands
from tests.test_measurements import HEIGHTS

SIDE, PADDING = 96, 32
MODEL = partial(TransposedConvNet, 6, "test_resnet", weights=None)


class LocalHeights(Local):
    """A network of small receptive field for heights in two bands."""

    def __init__(self) -> None:
        super().__init__()
        self.down = torch.nn.Conv2d(2, 8, 7, stride=4, padding=3)
        self.out = torch.nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, image: torch.Tensor) -> SegOutput:
        return SegOutput(super().forward(image).logits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Packages of two networks, unpacked: one sees all of a tile, the other only what is near."""
    folder = tmp_path_factory.mktemp("arcgis")
    source = load_source(checkpoint(folder, MODEL))
    data = Data(mean=(500.0, 490.0), std=(100.0, 90.0))
    loss = partial(BiCoRLoss, 255)
    card = make_card(Experiment(dataset=HEIGHTS, model=MODEL, loss=loss, data=data))
    torch.manual_seed(0)
    normalization = card.mean, card.std
    predictor = Predictor(LocalHeights().eval(), card.info, normalization, device="cpu", patch=None)
    near = replace(source, card=card, data_set=None, predictor=predictor)
    for name, one in (("whole", source), ("near", near)):
        path = folder / f"{name}.onnx"
        package = Package(path.with_suffix(".dlpk"), one.card)
        export(one, path, "onnx", arcgis_options((SIDE, SIDE)), companions=[package])
        with zipfile.ZipFile(package.path) as archive:
            assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
            archive.extractall(folder / name)
    return folder


def load_function(package: Path):
    """The function as ArcGIS finds it: the class that has the name of its file."""
    emd = json.loads(next(package.glob("*.emd")).read_text())
    path = package / emd["InferenceFunction"]
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, path.stem)()


def classify(package: Path, image: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mask of an image (bands, h, w), tile by tile, as a host asks for them.

    ``valid`` is (h, w), or (bands, h, w) if the bands differ.
    """
    function = load_function(package)
    function.initialize(model=str(next(package.glob("*.emd"))), device=-1)
    names = [parameter["name"] for parameter in function.getParameterInfo()]
    assert names[:2] == ["raster", "model"]
    wanted = function.getConfiguration(device=-1)
    info = function.updateRasterInfo(raster_info={}, output_info={})["output_info"]
    assert (info["bandCount"], info["pixelType"]) == (1, "u1")
    bands, (height, width) = list(wanted["extractBands"]), valid.shape[-2:]
    labels, mask = np.full((height, width), 99, np.uint8), np.zeros((height, width), bool)
    around, tx, ty = wanted["padding"], wanted["tx"], wanted["ty"]
    wide = (around, around + ty), (around, around + tx)
    pixels = np.pad(image[bands], ((0, 0), *wide))
    inside = np.pad(np.broadcast_to(valid, pixels[:, :height, :width].shape), ((0, 0), *wide))
    for top in range(0, height, ty):
        for left in range(0, width, tx):
            tile = np.s_[:, top : top + ty + 2 * around, left : left + tx + 2 * around]
            given = {"raster_pixels": pixels[tile], "raster_mask": inside[tile].astype("u1")}
            found = function.updatePixels(
                (left, -top), (1, ty, tx), {"pixelType": info["pixelType"]}, **given
            )
            assert found["output_pixels"].shape == found["output_mask"].shape == (1, ty, tx)
            assert found["output_pixels"].dtype == np.uint8
            here = np.s_[top : top + ty, left : left + tx]
            rows, columns = labels[here].shape
            labels[here] = found["output_pixels"][0, :rows, :columns]
            mask[here] = found["output_mask"][0, :rows, :columns]
    return labels, mask


def predicted(folder: Path, name: str, image: Path) -> np.ndarray:
    """The labels (h, w) that predict.py writes."""
    output = folder / f"{name}_labels.tif"
    options = MapOptions(window=SIDE, halo=PADDING, format="tif", overwrite=True)
    predict_images(
        None, checkpoint=folder / f"{name}.onnx", images=[image], output=output, options=options
    )
    with rasterio.open(output) as file:
        return file.read(1)


def test_a_raster_within_a_tile(folder, tmp_path):
    """Whatever a network sees of a tile, it is what predict.py shows it."""
    image = random_image(SIDE - 2 * PADDING, 25)
    write_bands(tmp_path / "a.tif", image)
    given = image.transpose(2, 0, 1)
    labels, mask = classify(folder / "whole", given, np.ones(image.shape[:2], bool))
    assert mask.all()
    np.testing.assert_array_equal(labels, predicted(folder, "whole", tmp_path / "a.tif"))
    assert len(np.unique(labels)) > 1


def test_black_in_one_band_is_a_color(folder, tmp_path):
    """Only pixels that are black in all bands have no data, as in predict.py."""
    image = np.maximum(random_image(SIDE - 2 * PADDING, 25), 1)
    image[3:9, 4:12, 1], image[20:24, 5:9] = 0, 0
    write_bands(tmp_path / "a.tif", image, nodata=0, photometric="RGB")
    given = image.transpose(2, 0, 1)
    labels, mask = classify(folder / "whole", given, given != 0)
    expected = predicted(folder, "whole", tmp_path / "a.tif")
    np.testing.assert_array_equal(mask, expected != 255)
    assert np.count_nonzero(~mask) == 16
    np.testing.assert_array_equal(labels[mask], expected[mask])


@pytest.mark.parametrize("no_data", [np.nan, np.inf, -3.4e38, -9999])
def test_no_data_in_a_raster_of_floats(folder, no_data):
    """A network of 8 bits sees the mean there, and no number that drowns all others."""
    means = json.loads((folder / "whole/whole.emd").read_text())["BandMeans"]
    given = random_image(SIDE - 2 * PADDING, 25).transpose(2, 0, 1).astype(np.float32)
    hole, valid = np.s_[:, 20:24, 5:9], np.ones(given.shape, bool)
    given[hole] = np.array(means)[:, None, None]
    expected, _ = classify(folder / "whole", given, valid)
    given[hole], valid[hole] = no_data, False
    valid[1:, 20, 5] = True  # where one band has no such number, there is no color
    given[1:, 20, 5] = np.array(means)[1:]
    labels, mask = classify(folder / "whole", given, valid)
    assert np.count_nonzero(~mask) == 16
    np.testing.assert_array_equal(labels, expected)
    assert len(np.unique(labels[mask])) > 1


def test_a_raster_of_many_tiles(folder, tmp_path):
    """Heights with holes; a network that sees no further than the padding gives one map."""
    image = np.random.default_rng(0).normal(500, 100, (150, 110, 2)).astype(np.float32)
    image[::19, ::17, 1], image[40:60, 30:70] = np.nan, -9999
    write_bands(tmp_path / "a.tif", image, nodata=-9999)
    expected = predicted(folder, "near", tmp_path / "a.tif")
    valid = (image != -9999).all(axis=2)
    labels, mask = classify(folder / "near", image.transpose(2, 0, 1), valid)
    np.testing.assert_array_equal(mask, valid & np.isfinite(image).all(axis=2))
    np.testing.assert_array_equal(labels[mask], expected[mask])
    assert 0.2 < labels[mask].mean() < 0.8


def test_what_the_package_says(folder):
    emd = json.loads((folder / "near/near.emd").read_text())
    assert (folder / "near" / emd["ModelFile"]).read_bytes() == (folder / "near.onnx").read_bytes()
    assert (emd["ModelType"], emd["Framework"]) == ("ImageClassification", "ONNX")
    assert (emd["ImageHeight"], emd["ImageWidth"], emd["ModelPadding"]) == (SIDE, SIDE, PADDING)
    assert (emd["ExtractBands"], emd["IsMultispectral"]) == ([0, 1], True)
    assert emd["Classes"][1] == {"Value": 1, "Name": "building", "Color": [255, 0, 0]}
    with zipfile.ZipFile(folder / "near.dlpk") as archive:
        assert set(archive.namelist()) == {"near.emd", "near.onnx", FUNCTION.name}
    function = load_function(folder / "whole")
    function.initialize(model=(folder / "whole/whole.emd").read_text())  # its content will do
    table = function.updateRasterInfo(output_info={})["output_info"]["rasterAttributeTable"]
    first = json.loads(table)["features"][0]["attributes"]
    assert first == {"OID": 1, "Value": 0, "Class": "ImSurf"} | dict.fromkeys(
        ("Red", "Green", "Blue"), 255
    )


def test_wrong_rasters(folder):
    function = load_function(folder / "whole")
    function.initialize(model=str(folder / "whole/whole.emd"))
    props, tile = {"pixelType": "u1"}, np.ones((3, SIDE, SIDE), np.uint16)
    tile[:, 40, 40] = 300
    with pytest.raises(ValueError, match=r"values from 1 to 300, .* trained on images of uint8"):
        function.updatePixels((0, 0), (), props, raster_pixels=tile, raster_mask=tile > 0)
    tile = np.ones((3, SIDE + 1, SIDE), np.uint8)
    with pytest.raises(ValueError, match=r"97 x 96 pixels, and the network takes 96 x 96"):
        function.updatePixels((0, 0), (), props, raster_pixels=tile, raster_mask=tile)
    empty = np.zeros((3, SIDE, SIDE), np.uint8)
    found = function.updatePixels((0, 0), (), props, raster_pixels=empty, raster_mask=empty)
    assert not found["output_mask"].any()


def test_the_function_needs_only_what_arcgis_has():
    tree = ast.parse(FUNCTION.read_text(), feature_version=(3, 9))
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - sys.stdlib_module_names == {"numpy", "onnxruntime"}
    keywords = {
        k.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords
    }
    assert "strict" not in keywords  # of zip, since Python 3.10


@pytest.mark.parametrize(
    ("side", "expected"), [(96, 32), (256, 32), (511, 32), (512, 64), (1024, 128)]
)
def test_padding(side, expected):
    assert padding((side, 1024)) == expected


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("torch", {}, r"format=torch: packages for ArcGIS hold ONNX files; give format=onnx"),
        ("onnx", {"size": None}, r"size=None: the tiles of ArcGIS have one size; give size=512"),
        ("onnx", {"batch": 4}, r"batch=4: the tiles of ArcGIS come one by one; give batch=1"),
        ("onnx", {"normalize": False}, r"normalize: ArcGIS gives pixel values"),
        ("onnx", {"uint8": True}, r"normalize: .*give normalize=True and uint8=False"),
    ],
)
def test_what_cannot_be_packed(format, options, message):
    card = make_card(Experiment(dataset=VAIHINGEN, model=MODEL, loss=partial(BiCoRLoss, 6)))
    chosen = ExportOptions(**({"size": (96, 96), "batch": 1, "normalize": True} | options))
    given, found = tensor_facts(card, chosen)
    record = ExportRecord(
        format=format,
        input=given,
        output=found,
        multiple_of=1,
        card=card.to_plain(),
        checkpoint="best.ckpt",
        checkpoint_sha256="0",
        training={},
        torch="2",
    )
    with pytest.raises(InputError, match=message):
        Package(Path("x.dlpk"), card).check(record)
    with pytest.raises(InputError, match=r"size=64 96: a tile for ArcGIS has at least 96 pixels"):
        arcgis_options((64, 96))
