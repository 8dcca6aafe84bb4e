"""The protocol stamp: there and back through a file, and what it says of old and damaged ones."""

import json
from dataclasses import replace

import pytest

from network.datasets.provenance import Provenance
from network.evaluation.protocol import MaskProtocol, TrainingRecord
from network.evaluation.stamp import Stamp
from network.reporting.sections import stated
from tests.reporting.test_comparison import STAMP, TRAINING

DOCUMENT = STAMP | {
    "masks": {
        "full": {
            "padding_policy": "ignore",
            "tiling": "patches of 64, stride 64",
            "patches": {"split_size": 64, "stride": 64, "image_ending": "_RGB.tif", "later": 1},
        },
        "eroded": {"padding_policy": "none", "tiling": "patches of 64 x 64, cut elsewhere"},
    },
    "checkpoint_sha256": "0" * 64,
    "labels_sha256": {"eroded": "1" * 64, "full": "2" * 64},
    "settings": {"name": "ours", "data.scales": [1.0]},
    "training": TRAINING,
    "seed": 3,
    "precision": "32-true",
}


def test_there_and_back():
    stamp = Stamp.from_json(DOCUMENT)
    assert json.loads(json.dumps(stamp.to_json())) == DOCUMENT
    assert stamp.masks["full"] == MaskProtocol(
        padding_policy="ignore",
        tiling="patches of 64, stride 64",
        patches=Provenance(split_size=64, stride=64, image_ending="_RGB.tif", others={"later": 1}),
        is_cut=True,
    )
    assert stamp.name == "ours"
    assert stamp.trained == TrainingRecord(TRAINING)
    assert Stamp.from_json(stamp.to_json()) == stamp


def test_facts_in_their_order():
    """As files have always had them, whatever the order of a document."""
    keys = list(Stamp.from_json(dict(sorted(DOCUMENT.items()))).to_json())
    assert keys[:5] == ["data_set", "split", "trained_on", "chosen_on", "images"]
    assert keys[-5:] == ["settings", "training", "seed", "precision", "software"]


@pytest.mark.parametrize(
    ("seen", "words"),
    [(True, " (SEEN WITHOUT LABELS)"), (None, " (unknown if seen without labels)"), (False, "")],
)
def test_images_that_were_seen_without_labels(seen, words):
    stamp = replace(Stamp.from_json(DOCUMENT), seen_unlabeled=seen)
    assert Stamp.from_json(stamp.to_json()) == stamp
    kind = stamp.label_kinds[0]
    plain = replace(stamp, seen_unlabeled=False).comparability(kind)["split"].words
    assert stamp.comparability(kind)["split"].words == plain + words


def test_stamps_of_other_tests():
    old = Stamp.from_json({k: v for k, v in DOCUMENT.items() if k != "precision"})
    assert old.precision is None
    assert "precision" not in old.to_json()
    for name in ("frames", "predictions", "patch_names"):
        stamp = Stamp.from_json(DOCUMENT | {name: "(?P<tile>a)/folder"})
        assert list(stamp.to_json())[-1] == name
    assert "later" not in Stamp.from_json(DOCUMENT | {"later": 1}).to_json()


def test_a_distance_to_the_training():
    """Old stamps have none, and stay as they are."""
    assert Stamp.from_json(DOCUMENT).training_distance is None
    stamp = Stamp.from_json(DOCUMENT | {"training_distance": 12.5})
    assert stamp.training_distance == 12.5
    assert Stamp.from_json(stamp.to_json()) == stamp
    assert ("distance to the training images", "12.5 m") in stated(stamp)
    touching = Stamp.from_json(DOCUMENT | {"training_distance": 0.0})
    assert dict(stated(touching))["distance to the training images"].startswith("0 m")
    assert "distance to the training images" not in dict(stated(Stamp.from_json(DOCUMENT)))


def test_tiles_or_images():
    whole = {"full": {"padding_policy": "none", "tiling": "whole images"}}
    assert Stamp.from_json(DOCUMENT).unit == "tiles"
    stamp = Stamp.from_json(DOCUMENT | {"masks": whole})
    assert stamp.unit == "images"
    tiled = stamp.predicted_in(32, 48)
    assert tiled.masks["full"].tiling == "whole images, predicted in patches of 32 x 48"
    assert (tiled.unit, Stamp.from_json(tiled.to_json()).unit) == ("images", "images")


def test_what_two_results_must_share():
    stated = Stamp.from_json(DOCUMENT | {"chosen_on": None, "trained_on": True}).comparability(
        "full"
    )
    assert stated["split"].words == "test (TRAINED ON) (unknown if checkpoint chosen on)"
    assert stated["image files"].words == "_RGB.tif"
    assert stated["labels"].words == 12 * "2"
    assert [key for key, fact in stated.items() if not fact.is_known] == ["split"]
    with pytest.raises(KeyError):
        Stamp.from_json(DOCUMENT).comparability("points")


def test_what_nobody_knows():
    """Of names that happen to be this word, everything is known."""
    masks = {"full": {"padding_policy": "ignore and unknown", "tiling": "all"}}
    change = {"masks": masks, "training": None, "tta": "unknown", "views": None}
    stamp = Stamp.from_json(DOCUMENT | change | {"data_set": "unknown", "classes": ["unknown"]})
    unknown = {key for key, fact in stamp.comparability("full").items() if not fact.is_known}
    assert unknown == {"padding", "TTA", "trained on", "padding in training"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": 3}, "split: Input should be a valid string"),
        ({"images": True}, "images: Input should be a valid integer"),
        ({"classes": ["a", 1]}, "classes.1: Input should be a valid string"),
        ({"masks": {"full": {"tiling": "x"}}}, "masks.full.padding_policy: Field required"),
        ({"settings": {}}, "settings.name: Field required"),
        (
            {"masks": {"full": DOCUMENT["masks"]["eroded"] | {"patches": {"label_kind": 3}}}},
            "masks.full.patches: .*label_kind is 3, not text",
        ),
    ],
)
def test_damaged(change, words):
    for where in ("", "protocol"):
        with pytest.raises(ValueError, match=rf"^{where}\.?{words}"):
            Stamp.from_json(DOCUMENT | change, where)


def test_no_stamp():
    for document in (None, [], 3, "stamp"):
        with pytest.raises(ValueError, match=r"^Input should be an object"):
            Stamp.from_json(document)


@pytest.mark.parametrize("names", ["(", "[0-9]+", 5])
def test_names_of_patches_that_tell_no_tile(names):
    assert Stamp.from_json(DOCUMENT | {"patch_names": "(?P<tile>.+)_[0-9]+"}).patch_names
    with pytest.raises(ValueError, match="patch_names"):
        Stamp.from_json(DOCUMENT | {"patch_names": names})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "train"),
        ({"data.label_share": 0.222}, "train (labels: 22.2 % of them)"),
        ({"data.image_share": 0.1}, "10 % of train"),
        (
            {"data.image_share": 0.25, "teacher.weight": 1.0, "data.unlabeled": "val"},
            "25 % of train, and on val without labels",
        ),
    ],
)
def test_what_a_run_was_trained_on_in_words(settings, words):
    record = TrainingRecord({"data.train": "train", "data.image_share": 1.0} | settings)
    assert record.trained_on("uuad") == words
