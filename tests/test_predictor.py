"""The predictor: the same masks as the test scripts, from a checkpoint alone."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from network.card import CARD_KEY, make_card, read_card
from network.config import Compute, Experiment
from network.datasets.files import read_image
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.models.bicor import BiCoRSeg
from network.models.checkpoint import SETTINGS_KEY
from network.models.output import SegOutput
from network.models.smp import SMPSegmenter
from network.predictor import Prediction, Predictor, load_network
from network.settings import IMAGENET_MEAN, IMAGENET_STD
from network.training.resume import open_run
from network.training.train import train
from tests.conftest import tiny_experiment
from tests.maps.local import SMALL, predict
from tests.scenes import write_bands

CONFIG = """
from functools import partial
from network.config import Experiment
from network.datasets.info import VAIHINGEN
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

class OwnSeg(BiCoRSeg):
    pass

experiment = Experiment(
    dataset=VAIHINGEN,
    model=partial({model}, 6, "test_convnext", weights=None, dim=32),
    loss=partial(BiCoRLoss, 6),
)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_experiment(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def checkpoint(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return (train(tiny, accelerator="cpu") / "best.ckpt").resolve()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def changed(checkpoint, change):
    """The checkpoint, its card changed by a function; without a card if that returns None."""
    content = torch.load(checkpoint, weights_only=True)
    card = change(content.pop(CARD_KEY))
    if card is not None:
        content[CARD_KEY] = card
    path = Path("changed.ckpt")
    torch.save(content, path)
    return path


def images(experiment: Experiment) -> list[np.ndarray]:
    folder = experiment.root / "val/images_1024"
    return [read_image(path, VAIHINGEN) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("tta", ["none", "d4"])
def test_same_masks_as_the_test_script(tiny, checkpoint, tmp_path, tta):
    """No config: data set, normalization, network and views come from the checkpoint."""
    output = tmp_path / "masks"
    evaluate(tiny, checkpoint=checkpoint, output=output, split="val", tta=tta, device="cpu")
    predictor = Predictor.load(checkpoint, device="cpu", tta=tta)
    (image,) = images(tiny)
    prediction = predictor.predict(image)
    expected = cv2.imread(str(next(output.glob("*.png"))), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(prediction.labels, expected)
    prediction.save(tmp_path / "mask.png")
    assert (tmp_path / "mask.png").read_bytes() == next(output.glob("*.png")).read_bytes()


def test_probabilities_and_heatmaps(tiny, checkpoint):
    (image,) = images(tiny)
    predictor = Predictor.load(checkpoint, device="cpu")
    found = predictor.predict(image, probabilities=True, heatmaps=True)
    height, width = image.shape[:2]
    assert found.probabilities.shape == (6, height, width)
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.probabilities.argmax(0), found.labels)
    np.testing.assert_allclose(found.probabilities.max(0), found.confidence, atol=1e-6)
    assert [layer.shape for layer in found.heatmaps] == [(6, height // 4, width // 4)] * 2
    np.testing.assert_allclose(found.heatmaps[0].sum(0), 1, atol=1e-5)
    plain = predictor.predict(image)
    assert plain.probabilities is None
    assert plain.heatmaps is None


def test_patches_of_one_image_are_the_image(tiny, checkpoint):
    """One patch that holds all of it changes nothing."""
    (image,) = images(tiny)
    whole = Predictor.load(checkpoint, device="cpu", patch=None).predict(image)
    one = Predictor.load(checkpoint, device="cpu", patch=image.shape[:2], overlap=0)
    np.testing.assert_array_equal(one.predict(image).confidence, whole.confidence)


def test_patches_are_predicted_one_by_one(tiny, checkpoint):
    (image,) = images(tiny)
    height, width = image.shape[:2]
    load = partial(Predictor.load, checkpoint, device="cpu", batch_size=3)
    found = load(patch=(32, 32), overlap=0).predict(image)
    alone = load(patch=None)
    for top in range(0, height, 32):
        for left in range(0, width, 32):
            place = np.s_[top : top + 32, left : left + 32]
            expected = alone.predict(image[place])
            np.testing.assert_array_equal(found.labels[place], expected.labels)
            np.testing.assert_allclose(found.confidence[place], expected.confidence, rtol=1e-5)
    overlapping = load(patch=(32, 32), overlap=16).predict(image)
    assert np.abs(overlapping.confidence - found.confidence).max() > 1e-4


def test_config_instead_of_a_card(tiny, checkpoint, tmp_path):
    """As for checkpoints of older code."""
    config = tmp_path / "config.py"
    config.write_text(CONFIG.format(model="BiCoRSeg"))
    old = changed(checkpoint, lambda card: None)
    (image,) = images(tiny)
    expected = Predictor.load(checkpoint, device="cpu").predict(image)
    found = Predictor.load(old, config=config, device="cpu").predict(image)
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    with pytest.raises(InputError, match=r"older code; give the config .* config="):
        Predictor.load(old, device="cpu")
    with pytest.raises(InputError, match=r"was trained with model\.dim=32, not 48"):
        Predictor.load(old, config=config, overrides=["model.dim=48"], device="cpu")
    with pytest.raises(InputError, match=r"^overrides: .*give config="):
        Predictor.load(checkpoint, overrides=["model.dim=48"])


def test_networks_of_configs_need_their_config(tiny, tmp_path):
    class OwnSeg(BiCoRSeg):
        pass

    own = replace(tiny, model=partial(OwnSeg, 6, "test_convnext", weights=None, dim=32))
    checkpoint = train(own, accelerator="cpu") / "best.ckpt"
    with pytest.raises(InputError, match=r"is not one of network\.models; give the config"):
        Predictor.load(checkpoint)
    config = tmp_path / "config.py"
    config.write_text(CONFIG.format(model="OwnSeg"))
    (image,) = images(tiny)
    assert Predictor.load(checkpoint, config=config, device="cpu").predict(image).labels.size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "os:system"}, "is not one of network.models"),
        ({"model": "network.models.checkpoint:read_checkpoint"}, "is no network"),
        ({"model": "network.models.nowhere:Net"}, "no network network.models.nowhere:Net"),
        ({"model": "network.models.bicor:nn.Module"}, "no network network.models.bicor:nn.Module"),
        ({"settings": {"num_classes": 6, "size": 3}}, "has other settings"),
        ({"settings": {"num_classes": 5, "encoder": "test_convnext", "weights": None}}, "shape"),
        ({"classes": ["a", "b"]}, "card is damaged"),
        ({"bands": "three"}, "card is damaged"),
        ({"ignore_index": 3}, "card is damaged (vaihingen: ignore_index=3;"),
        ({"values": "complex"}, "card is damaged"),
        ({"mean": [1.0]}, "card is damaged"),
        ({"palette": [[0, 0, 0]] * 6}, "card is damaged"),
    ],
)
def test_damaged_and_hostile_cards(checkpoint, values, message):
    path = changed(checkpoint, lambda card: card | values)
    with pytest.raises(InputError) as error:
        Predictor.load(path, device="cpu")
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


HALVES = (0.5, 0.5, 0.5)


def by_halves(checkpoint):
    """The checkpoint as if another normalization had been the default; it sees other colors."""
    content = torch.load(checkpoint, weights_only=True)
    assert content[SETTINGS_KEY]["data.mean"] == IMAGENET_MEAN
    content[SETTINGS_KEY] |= {"data.mean": HALVES, "data.std": HALVES}
    shares = {"mean": HALVES, "std": HALVES}
    content[CARD_KEY] |= {key: tuple(255 * v for v in own) for key, own in shares.items()}
    torch.save(content, "halves.ckpt")
    return Path("halves.ckpt")


def test_a_checkpoint_keeps_its_normalization(tiny, checkpoint, tmp_path):
    """A config without mean and deviation takes them from the checkpoint, another is refused."""
    old, (image,) = by_halves(checkpoint), images(tiny)
    given = replace(tiny, data=replace(tiny.data, mean=HALVES, std=HALVES))
    trained = load_network(tiny, old)
    assert trained.experiment.normalization == given.normalization
    assert tiny.normalization != given.normalization
    expected = Predictor.of(given, trained.model, device="cpu").predict(image)
    found = Predictor.load(old, device="cpu").predict(image)
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    assert (found.confidence != Predictor.load(checkpoint).predict(image).confidence).any()

    evaluate(tiny, checkpoint=old, output=tmp_path / "masks", split="val", device="cpu")
    mask = cv2.imread(str(next((tmp_path / "masks").glob("*.png"))), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, expected.labels)
    stamp = json.loads((tmp_path / "masks/scores.json").read_text())["protocol"]
    assert tuple(stamp["settings"]["data.mean"]) == HALVES

    other = replace(tiny, data=replace(tiny.data, mean=(0.1, 0.2, 0.3)))
    with pytest.raises(InputError, match=r"was trained with data\.mean=\(0\.5, .*not \(0\.1"):
        load_network(other, old)


@pytest.mark.slow
def test_classes_in_another_order(tiny, checkpoint, capsys):
    """They would be swapped in maps and scores, and in a training that goes on."""
    info = tiny.dataset
    swapped = replace(info, classes=(*info.classes[1::-1], *info.classes[2:]))
    other = replace(tiny, dataset=swapped)
    message = "was trained on the classes ImSurf, Building, .* not on those of .* Building, ImSurf"
    with pytest.raises(InputError, match=message):
        load_network(other, checkpoint)
    with pytest.raises(InputError, match=message):
        open_run(other, checkpoint.with_name("last.ckpt"))
    renamed = replace(tiny, dataset=replace(info, classes=("sealed", *info.classes[1:])))
    load_network(renamed, checkpoint)
    assert "ImSurf is called sealed" in capsys.readouterr().err


def test_a_checkpoint_that_records_no_normalization(tiny, checkpoint):
    """Code that did not record it had only ImageNet's."""
    content = torch.load(checkpoint, weights_only=True)
    del content[SETTINGS_KEY]["data.mean"], content[SETTINGS_KEY]["data.std"]
    torch.save(content, "older.ckpt")
    trained = load_network(tiny, Path("older.ckpt"))
    assert trained.experiment.mean_and_std == (IMAGENET_MEAN, IMAGENET_STD)
    torch.save({"state_dict": content["state_dict"]}, "weights.ckpt")
    alone = load_network(tiny, Path("weights.ckpt"))
    assert alone.experiment.mean_and_std == tiny.mean_and_std


@pytest.mark.parametrize("mean", [(0.1, 0.2), [0.1, 0.2, 0.3], ("a", "b", "c"), 0.5])
def test_a_record_of_a_wrong_normalization(tiny, checkpoint, mean):
    content = torch.load(checkpoint, weights_only=True)
    content[SETTINGS_KEY]["data.mean"] = mean
    torch.save(content, "wrong.ckpt")
    with pytest.raises(InputError, match=r"wrong\.ckpt: was trained with data\.mean="):
        load_network(tiny, Path("wrong.ckpt"))


def test_card(tiny):
    tiny = replace(tiny, model=partial(SMPSegmenter, 6, "fpn", encoder="resnet18.a1_in1k"))
    card = make_card(tiny, ground_resolution=0.09)
    assert card.model == "network.models.smp:SMPSegmenter"
    assert card.settings == {
        "num_classes": 6,
        "architecture": "fpn",
        "encoder": "resnet18.a1_in1k",
        "weights": None,
        "bands": 3,
    }
    assert card.ground_resolution == 0.09
    assert card.mean == pytest.approx([0.485 * 255, 0.456 * 255, 0.406 * 255])
    assert read_card({CARD_KEY: card.to_plain()}, "x.ckpt") == card
    assert (card.info.classes, card.info.palette) == (VAIHINGEN.classes, VAIHINGEN.palette)
    assert card.info.d4 == VAIHINGEN.d4


def test_card_of_measurements(tiny):
    """It tells the type of the pixels, and its mean and deviation are in pixel values."""
    info = replace(VAIHINGEN, bits=16, values="signed")
    data = replace(tiny.data, mean=(-1200.0, 3.5, 0.0), std=(40.0, 0.1, 1.0))
    card = make_card(replace(tiny, dataset=info, data=data))
    found = read_card({CARD_KEY: card.to_plain()}, "x.ckpt")
    assert (found.info.dtype, found.mean, found.std) == ("int16", data.mean, data.std)


def test_card_of_classes_with_one_name(tiny):
    """Older code allowed it; such a checkpoint can still be used."""
    classes = ["other", "tree", "other", "", "car", "other"]
    plain = make_card(tiny).to_plain() | {"classes": classes}
    found = read_card({CARD_KEY: plain}, "x.ckpt").info.classes
    assert found == ("other", "tree", "other 2", "1", "car", "other 3")


def test_card_of_older_code(tiny, checkpoint):
    """It does not tell the type, since there were only unsigned ones."""
    (image,) = images(tiny)
    expected = Predictor.load(checkpoint, device="cpu").predict(image)
    old = changed(checkpoint, lambda card: {k: v for k, v in card.items() if k != "values"})
    predictor = Predictor.load(old, device="cpu")
    assert predictor.info.dtype == "uint8"
    np.testing.assert_array_equal(predictor.predict(image).confidence, expected.confidence)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), np.uint8), "shape (8, 8); expected (height, width, 3)"),
        (np.zeros((8, 8, 4), np.uint8), "shape (8, 8, 4)"),
        (np.zeros((0, 8, 3), np.uint8), "shape (0, 8, 3)"),
        (np.zeros((8, 8, 3), np.uint16), "type uint16; expected uint8"),
        (np.zeros((8, 8, 3), np.float32), "type float32; expected uint8"),
    ],
)
def test_wrong_images(checkpoint, image, message):
    with pytest.raises(InputError) as error:
        Predictor.load(checkpoint, device="cpu").predict(image)
    assert str(error.value).startswith("image: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "options",
    [{"tta": "flip"}, {"batch_size": 0}, {"overlap": 2000}, {"patch": (0, 5)}, {"device": "gpu"}],
)
def test_wrong_options_are_named_as_fields(checkpoint, options):
    with pytest.raises(InputError) as error:
        Predictor.load(checkpoint, **options)
    assert next(iter(options)) in str(error.value)
    assert "--" not in str(error.value)


def test_precision(tiny, checkpoint):
    (image,) = images(tiny)
    full = Predictor.load(checkpoint, device="cpu").predict(image)
    double = Predictor.load(checkpoint, device="cpu", compute=Compute(precision="64-true"))
    np.testing.assert_allclose(double.predict(image).confidence, full.confidence, atol=1e-4)


class Broken(torch.nn.Module):
    """Gives a logit that is no number at one pixel."""

    def __init__(self, value: float):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))

    def forward(self, image: torch.Tensor) -> SegOutput:
        logits = torch.zeros(len(image), VAIHINGEN.num_classes, *image.shape[-2:])
        logits[0, 3, 5, 7] = self.value
        return SegOutput(logits)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("blend", ["crop", "hann"])
def test_what_is_no_number_becomes_no_class(tmp_path, value, blend):
    """The largest of such logits is that of the class 0, so a map would look complete."""
    predictor = Predictor(Broken(value), VAIHINGEN, ((128,) * 3, (60,) * 3), device="cpu")
    image = np.zeros((40, 50, 3), np.uint8)
    with pytest.raises(InputError, match="the network: some of its outputs are no numbers"):
        predictor.predict(image)
    write_bands(tmp_path / "a.tif", image)
    options = replace(SMALL, blend=blend)
    with pytest.raises(InputError, match="some of its outputs are no numbers"):
        predict(predictor, tmp_path / "a.tif", out=tmp_path / "out", options=options)
    assert not (tmp_path / "out/a.tif").exists()


def test_saved_masks(tmp_path):
    labels = np.array([[0, 1], [2, 5]], np.uint8)
    valid = np.array([[True, True], [True, False]])
    prediction = Prediction(VAIHINGEN, labels, np.ones((2, 2), np.float32), valid=valid)
    prediction.save(tmp_path / "labels.png")
    found = cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, [[0, 1], [2, 6]])
    replace(prediction, valid=None).save(tmp_path / "colors.png", rgb=True)
    colors = cv2.imread(str(tmp_path / "colors.png"))[..., ::-1]
    np.testing.assert_array_equal(colors, VAIHINGEN.to_rgb(labels))
    np.testing.assert_array_equal(colors, prediction.to_rgb())
    with pytest.raises(InputError, match=r"mask\.tif: masks are written as PNG"):
        prediction.save(tmp_path / "mask.tif")
