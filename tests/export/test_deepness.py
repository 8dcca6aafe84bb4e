"""Files for Deepness and GeoDeep say what both programs read."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import onnxruntime
import pytest

from network.errors import InputError
from network.export.deepness import deepness_options, deepness_properties
from network.export.source import load_source
from network.export.write import export
from network.models.tconv import TransposedConvNet
from network.predictor import Predictor
from tests.export.test_export import checkpoint

SIDE = 96


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    model = partial(TransposedConvNet, 6, "test_resnet", weights=None)
    return load_source(checkpoint(tmp_path_factory.mktemp("deepness"), model))


@pytest.mark.slow
def test_a_file_as_both_programs_use_it(source):
    path = source.path.with_name("deepness.onnx")
    properties = deepness_properties(source.card, SIDE)
    export(source, path, "onnx", deepness_options((SIDE, SIDE)), properties)
    session = onnxruntime.InferenceSession(path)
    entries = session.get_modelmeta().custom_metadata_map
    read = {key: json.loads(entries[key]) for key in properties}
    assert read["model_type"] == "Segmentor"
    assert list(read["class_names"].items())[:2] == [("0", "ImSurf"), ("1", "Building")]
    assert read["resolution"] == 9.0  # centimeters
    assert read["tile_size"] == read["tiles_size"] == SIDE
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.shape, found.shape) == ([1, 3, SIDE, SIDE], [1, 6, SIDE, SIDE])
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    tile = (image.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    (probabilities,) = session.run(None, {given.name: tile})
    expected = Predictor.load(source.path, device="cpu").predict(image, probabilities=True)
    np.testing.assert_allclose(probabilities[0], expected.probabilities, atol=1e-5)


def test_the_resolution_is_that_of_the_map(source):
    """In Web Mercator, the unit of a map is shorter on the ground."""
    card = replace(source.card, ground_resolution=0.2, plane_resolution=0.3)
    assert deepness_properties(card, SIDE)["resolution"] == "30.0"


def test_the_resolution_must_be_known(source):
    card = replace(source.card, ground_resolution=None)
    with pytest.raises(InputError, match=r"meters per pixel .*; give resolution=METERS"):
        deepness_properties(card, SIDE)
    assert deepness_properties(card, SIDE, 0.1)["resolution"] == "10.0"
    with pytest.raises(InputError, match=r"resolution=-1: must be above 0"):
        deepness_properties(card, SIDE, -1)
