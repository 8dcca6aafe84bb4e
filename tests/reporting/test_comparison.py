"""Runs side by side: what is grouped, what is refused, and the numbers by statistics and hand."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.evaluation.records import Counter, ImageRecord, add_record
from network.evaluation.results import write_results
from network.evaluation.stamp import Stamp
from network.evaluation.summary import summarize
from network.reporting.comparison import common_kinds, compare, paired_differences, read_models
from network.reporting.comparison_tables import difference_lines, to_csv, to_latex, to_markdown
from tests.reporting.test_report import make_test

STAMP = {
    "data_set": "vaihingen",
    "split": "test",
    "trained_on": False,
    "chosen_on": False,
    "images": 6,
    "label_kinds": ["eroded", "full"],
    "masks": {kind: {"padding_policy": "ignore", "tiling": "all"} for kind in ("eroded", "full")},
    "classes": list(VAIHINGEN.classes),
    "classes_in_mean": list(VAIHINGEN.classes[:5]),
    "tta": "none",
    "views": 1,
    "boundary_tolerance": 3,
    "checkpoint": "best.ckpt",
    "config": "config/vaihingen/bicor.py",
    "software": {"torch": "2.0"},
}
TRAINING = {"data.train": "train", "data.padding": "ignore", "optim.lr": 1.0}


def make_result(folder: Path, seed: int = 1, skill: float = 0.5, truth: int = 0, **changes) -> Path:
    """A folder as a test script leaves it, of a model that is right on ``skill`` of the pixels."""
    protocol = STAMP | {
        "checkpoint_sha256": f"{seed}/{skill}",
        "labels_sha256": {kind: f"{kind} {truth}" for kind in STAMP["masks"]},
        "seed": seed,
        "settings": {"name": "ours"},
        "training": TRAINING | {"seed": seed},
    }
    protocol |= changes
    folder.mkdir(parents=True)
    records = []
    for index in range(protocol["images"]):
        labels = torch.from_numpy(np.random.default_rng([truth, index]).integers(0, 7, (16, 20)))
        rng = np.random.default_rng([seed, index])
        noise = torch.from_numpy(rng.integers(0, 6, labels.shape))
        is_right = torch.from_numpy(rng.random(labels.shape) < skill) & (labels < 6)
        prediction = torch.where(is_right, labels, noise)
        sure = torch.full(labels.shape, skill)
        counts = Counter(VAIHINGEN, 3).count(sure, prediction, labels.byte(), (0, 0))
        records.append(ImageRecord(str(index), dict.fromkeys(protocol["masks"], counts)))
        add_record(folder, records[-1])
    summaries = {kind: summarize(records, kind, VAIHINGEN) for kind in protocol["masks"]}
    write_results(folder, Stamp.from_json(protocol), summaries)
    return folder


@pytest.fixture
def three(tmp_path) -> list[str]:
    return [str(make_result(tmp_path / f"run{seed}", seed)) for seed in (1, 2, 3)]


def test_seeds_that_drew_their_own_images_are_one_row(tmp_path):
    """The labels of a share of the images are others for each seed."""
    folders = []
    for seed in (1, 2):
        training = TRAINING | {"seed": seed, "data.labels_sha256": str(seed)}
        for share in (0.1, 1.0):
            folder = tmp_path / f"{seed}_{share}"
            make_result(folder, seed, training=training | {"data.image_share": share})
            folders.append(str(folder))
    (model,) = read_models(folders[::2])
    assert model.seeds == [1, 2]
    with pytest.raises(InputError, match=r"data\.labels_sha256 is 2, .* not runs of one model"):
        read_models(folders[1::2])


def test_seeds_are_one_row(three):
    (model,) = read_models(three)
    assert (model.name, model.seeds) == ("ours", [1, 2, 3])
    comparison = compare([model], "full", per_class="IoU")
    scores = [json.loads((Path(f) / "scores.json").read_text())["scores"]["full"] for f in three]
    for column, cell in zip(comparison.columns, comparison.cells[0], strict=True):
        name = column.removeprefix("IoU ")
        values = [s["classes"][name]["IoU"] if name != column else s[column] for s in scores]
        assert cell.mean == pytest.approx(statistics.mean(values))
        assert cell.std == pytest.approx(statistics.stdev(values))
    assert "IoU Clutter" in comparison.columns
    assert comparison.protocol["masks"] == "full"
    assert comparison.best == [None] * len(comparison.columns)  # one row is no contest


def test_one_run_has_no_deviation(tmp_path, three):
    better = make_result(tmp_path / "better", seed=9, skill=0.8)
    models = read_models([*three, f"better={better}"])
    comparison = compare(models, "eroded")
    cells = dict(zip(comparison.columns, comparison.cells[1], strict=True))
    assert cells["mIoU"].std is None
    assert dict(zip(comparison.columns, comparison.best, strict=True))["mIoU"] == 1
    assert "mean_boundary_IoU" not in comparison.columns  # eroded masks have no boundaries
    markdown = to_markdown(comparison)
    assert f"**{100 * cells['mIoU'].mean:.2f}**" in markdown
    assert "ours" in markdown
    assert "±" in markdown
    assert "NOT COMPARABLE" not in markdown


def test_the_stamp_of_these_tests_is_a_real_one(tmp_path):
    protocol = json.loads((make_test(tmp_path).folder / "scores.json").read_text())["protocol"]
    made = json.loads((make_result(tmp_path / "made") / "scores.json").read_text())["protocol"]
    assert protocol.keys() - made.keys() == {"precision"}
    for kind in ("eroded", "full"):
        assert made["masks"][kind].keys() <= protocol["masks"][kind].keys()
        assert len(protocol["labels_sha256"][kind]) == 64


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"tta": "d4", "views": 40}, ["TTA"]),
        ({"split": "val"}, ["split"]),
        ({"trained_on": True}, ["split"]),
        ({"chosen_on": None}, ["split"]),
        ({"classes_in_mean": list(VAIHINGEN.classes)}, ["mean over"]),
        ({"training": TRAINING | {"data.train": "train_val"}}, ["trained on"]),
        ({"training": TRAINING | {"data.train_labels": "points_200"}}, ["trained on"]),
        ({"training": TRAINING | {"data.label_share": 0.222}}, ["trained on"]),
        ({"training": TRAINING | {"data.image_share": 0.1}}, ["trained on"]),
        ({"training": TRAINING | {"teacher.weight": 1.0, "data.unlabeled": "val"}}, ["trained on"]),
        ({"training": TRAINING | {"data.data_set": "potsdam"}}, ["trained on"]),
        ({"training": TRAINING | {"data.padding": "geoseg"}}, ["padding in training"]),
        ({"training": None}, ["trained on", "padding in training"]),
        ({"boundary_tolerance": 5}, ["boundary tolerance"]),
        ({"masks": {"full": {"padding_policy": "geoseg", "tiling": "all"}}}, ["padding"]),
        ({"labels_sha256": {"full": "other", "eroded": "other"}}, ["labels"]),
    ],
)
def test_other_protocols_are_refused_or_named(tmp_path, change, names):
    name = names[0]
    one = make_result(tmp_path / "one")
    other = make_result(tmp_path / "other", skill=0.7, **change)
    models = read_models([str(one), f"100% & more={other}"])
    assert common_kinds(models)[-1] == "full"
    with pytest.raises(InputError, match=f"different protocols.*{name} .*mixed=True"):
        compare(models, "full")
    comparison = compare(models, "full", mixed=True)
    assert list(comparison.differences) == names
    assert set(comparison.best) == {None}  # nothing is best among what cannot be compared
    for text in (to_markdown(comparison), to_latex(comparison)):
        assert "ROWS ARE NOT COMPARABLE" in text
        assert name in text
    assert "100\\% \\& more" in to_latex(comparison)
    assert ",False,mIoU," in to_csv([comparison])


def test_points_of_one_name_may_be_others(tmp_path):
    """A folder of points is drawn anew under its old name."""
    of_points = TRAINING | {"data.train_labels": "mine"}
    runs = [
        str(make_result(tmp_path / f"{n}", skill=skill, training=of_points | digest))
        for n, (skill, digest) in enumerate(
            [(0.5, {"data.labels_sha256": 8 * "a"}), (0.7, {"data.labels_sha256": 8 * "b"})]
        )
    ]
    with pytest.raises(InputError, match=r"different protocols.*trained on .*mine aaaaaaaa"):
        compare(read_models([runs[0], f"other={runs[1]}"]), "full")


def test_runs_of_one_model_must_be(tmp_path):
    one = make_result(tmp_path / "one")
    other = make_result(tmp_path / "other", seed=2, training=TRAINING | {"optim.lr": 2.0})
    with pytest.raises(
        InputError, match=r"other: optim.lr is 2.0, in .*one 1.0.*the two different names"
    ):
        read_models([str(one), str(other)])
    assert len(read_models([str(one), f"fast={other}"])) == 2
    tta = make_result(tmp_path / "tta", seed=3, tta="d4")
    with pytest.raises(InputError, match="tta: TTA"):
        read_models([str(one), str(tta)])
    with pytest.raises(InputError, match="same checkpoint"):
        read_models([str(one), str(one)])
    last = make_result(tmp_path / "last", checkpoint_sha256="last.ckpt")
    with pytest.raises(InputError, match="same seed 1"):
        read_models([str(one), str(last)])
    encoder = make_result(tmp_path / "net", seed=2, training=TRAINING | {"model.encoder": "x"})
    with pytest.raises(InputError, match=r"model.encoder is x, in .*one None"):
        read_models([str(one), str(encoder)])
    scratch = make_result(tmp_path / "w", seed=2, training=TRAINING | {"model.weights": None})
    pretrained = make_result(tmp_path / "p", training=TRAINING | {"model.weights": "imagenet"})
    with pytest.raises(InputError, match=r"model\.weights is None, in .* imagenet"):
        read_models([str(pretrained), str(scratch)])
    padded = make_result(tmp_path / "pad", seed=2, training=TRAINING | {"data.padding": "geoseg"})
    with pytest.raises(InputError, match=r"data\.padding is geoseg"):
        read_models([str(one), str(padded)])


def test_unknown_training_is_no_seed(tmp_path):
    folders = [str(make_result(tmp_path / f"masks{n}", seed=n, training=None)) for n in (1, 2)]
    with pytest.raises(InputError, match=r"nothing says how it and .* were trained"):
        read_models(folders)


def test_unknown_equals_nothing(tmp_path):
    """Two results of which nobody knows how they were trained are not under one protocol."""
    folders = [make_result(tmp_path / f"masks{n}", seed=n, training=None) for n in (1, 2)]
    models = read_models([f"{folder.name}={folder}" for folder in folders])
    with pytest.raises(InputError, match="different protocols"):
        compare(models, "full")
    differences = compare(models, "full", mixed=True).differences
    assert differences["trained on"] == ["unknown", "unknown"]


def test_a_class_called_unknown_is_known(tmp_path):
    classes = ["unknown", *VAIHINGEN.classes[1:]]
    options = {"classes": classes, "classes_in_mean": classes[:5]}
    folders = [make_result(tmp_path / f"run{n}", seed=n, **options) for n in (1, 2)]
    models = read_models([f"{folder.name}={folder}" for folder in folders])
    assert compare(models, "full").differences == {}


def test_means_over_other_classes_are_not_compared(tmp_path):
    """A class that only one model predicts is in its mean alone."""
    folders = [make_result(tmp_path / name) for name in ("one", "other")]
    path = folders[1] / "scores.json"
    document = json.loads(path.read_text())
    document["scores"]["full"]["absent"] = ["Car"]
    document["protocol"]["checkpoint_sha256"] = "other"
    path.write_text(json.dumps(document))
    models = read_models([f"{folder.name}={folder}" for folder in folders])
    differences = compare(models, "full", mixed=True).differences
    assert differences == {"absent classes (left out of the mean)": ["none", "Car"]}


def test_folders_with_an_equals_sign(tmp_path):
    folder = make_result(tmp_path / "lr=0.1")
    assert read_models([str(folder)])[0].name == "ours"
    assert read_models([f"a={folder}"])[0].name == "a"


def test_results_without_a_stamp(tmp_path):
    with pytest.raises(InputError, match=r"scores.json: no such file"):
        read_models([str(tmp_path)])
    for text in ("{", "[]", '{"scores": {"full": {}}}', '{"protocol": {}, "scores": {"full": {}}}'):
        (tmp_path / "scores.json").write_text(text)
        with pytest.raises(InputError, match="no complete protocol stamp"):
            read_models([str(tmp_path)])


def test_no_common_masks(tmp_path):
    masks = {kind: STAMP["masks"][kind] for kind in ("eroded",)}
    one = make_result(tmp_path / "one", masks=masks)
    other = make_result(tmp_path / "b", seed=2, masks={"full": STAMP["masks"]["full"]})
    with pytest.raises(InputError, match="no kind of labels"):
        common_kinds(read_models([f"a={one}", f"b={other}"]))


def test_paired_differences(tmp_path, three):
    better = make_result(tmp_path / "better", seed=9, skill=0.6)
    same = make_result(tmp_path / "same", seed=1, skill=0.5, checkpoint_sha256="copy")
    models = read_models([f"ours={three[0]}", f"better={better}", f"same={same}"])
    found = {(d.other, d.score): d for d in paired_differences(models, "full")}
    scores = [json.loads((Path(f) / "scores.json").read_text()) for f in (three[0], better)]
    for score in ("mIoU", "OA"):
        d = found["better", score]
        expected = scores[1]["scores"]["full"][score] - scores[0]["scores"]["full"][score]
        assert d.difference == pytest.approx(expected)
        low, high = d.interval
        assert low < d.difference < high
        assert (d.is_clear, d.count, d.unit) == (True, 6, "images")
        d = found["same", score]
        assert (d.difference, *d.interval) == (0, 0, 0)
        assert not d.is_clear


def test_patches_are_paired_by_tile(tmp_path):
    """Six patches of two tiles, by their names."""
    masks = {"full": {"padding_policy": "ignore", "tiling": "patches of 16, stride 16"}}
    one = make_result(tmp_path / "one", masks=masks)
    other = make_result(tmp_path / "other", skill=0.9, masks=masks)
    for folder in (one, other):
        records = [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]
        for number, record in enumerate(records):
            record["name"] = f"area{1 + number // 3}_0_{number % 3}"
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "images.jsonl").write_text(lines)
    models = read_models([f"a={one}", f"b={other}"])
    found = paired_differences(models, "full")
    assert {(d.count, d.unit) for d in found} == {(2, "tiles")}
    assert not any(d.is_clear for d in found)
    words = " in draws of 2 tiles, which are too few for a 95 % interval."
    assert difference_lines(found)[0].endswith(words)
    rows = to_csv([compare(models, "full")], [found]).splitlines()
    assert sum(",mIoU - a," in row for row in rows) == 1


def test_a_single_image_has_no_interval(tmp_path):
    one, other = (make_result(tmp_path / str(s), skill=s, images=1) for s in (0.5, 0.9))
    found = paired_differences(read_models([f"a={one}", f"b={other}"]), "full")
    assert not any(d.is_clear for d in found)
    assert "no interval, too few images (1)" in difference_lines(found)[0]


def test_pairs_need_the_same_truth(tmp_path):
    one = make_result(tmp_path / "one")
    other = make_result(tmp_path / "other", skill=0.7, truth=1)
    with pytest.raises(InputError, match="other full masks"):
        paired_differences(read_models([f"a={one}", f"b={other}"]), "full")
    fewer = make_result(tmp_path / "fewer", skill=0.7)
    lines = (fewer / "images.jsonl").read_text().splitlines(keepends=True)
    (fewer / "images.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match="counts of 5 images, the result is of 6"):
        paired_differences(read_models([f"a={one}", f"b={fewer}"]), "full")
    (fewer / "images.jsonl").write_text("".join([*lines[:-1], lines[-1].replace('"5"', '"x"')]))
    with pytest.raises(InputError, match="other images"):
        paired_differences(read_models([f"a={one}", f"b={fewer}"]), "full")
