"""Masks of other code: the same counts as a test script's, and wrong folders refused."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from network.commands import score_masks as command
from network.datasets import known_files
from network.datasets.files import read_mask, write_image
from network.datasets.info import VAIHINGEN
from network.datasets.known_files import KnownFiles
from network.datasets.segmentation import check_samples, find_samples
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.evaluation.records import read_records
from network.evaluation.score_masks import score_masks
from network.reporting.comparison import compare, read_models
from network.reporting.page import write_report
from tests.reporting.test_report import Finished, make_test


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    return make_test(tmp_path_factory.mktemp("vaihingen"))


@pytest.fixture
def masks(finished, tmp_path) -> Path:
    """The same predictions as someone else would hand them over: in color."""
    for path in finished.folder.glob("*.png"):
        write_image(tmp_path / "masks" / path.name, VAIHINGEN.to_rgb(read_mask(path, VAIHINGEN)))
    return tmp_path / "masks"


@pytest.mark.slow
def test_scores_are_those_of_the_test_script(finished, masks, tmp_path):
    score_masks(finished.experiment, masks, tmp_path / "out", split="test", tta="none")
    ours, theirs = (
        json.loads((folder / "scores.json").read_text())
        for folder in (finished.folder, tmp_path / "out")
    )
    for kind, scores in theirs["scores"].items():
        assert scores["calibration_error"] is None  # nobody knows how sure they were
        expected = ours["scores"][kind] | {"calibration_error": None}
        assert scores == expected
    protocol = theirs["protocol"]
    assert (protocol["trained_on"], protocol["training"], protocol["seed"]) == (None, None, None)
    assert not any(key.startswith("model.") for key in protocol["settings"])
    assert read_records(tmp_path / "out").keys() == read_records(finished.folder).keys()


def test_the_stamp_says_what_nobody_knows(finished, masks, tmp_path):
    score_masks(finished.experiment, masks, tmp_path / "out", split="test")
    models = read_models([f"ours={finished.folder}", f"theirs={tmp_path / 'out'}"])
    with pytest.raises(InputError, match="different protocols"):
        compare(models, "full")
    differences = compare(models, "full", mixed=True).differences
    assert differences["trained on"] == ["train", "unknown"]
    assert differences["TTA"] == ["none (1 view)", "unknown"]


@pytest.mark.slow
def test_scores_trust_no_times_of_files(finished, masks, tmp_path, monkeypatch):
    """A disk that changes a mask and not its times: trainings are deceived, scores are not."""
    info, root = finished.experiment.dataset, finished.experiment.root
    honest = known_files._states
    monkeypatch.setattr(known_files, "_states", lambda stems, folder: 0 * honest(stems, folder))
    monkeypatch.setattr(known_files, "WORTH_KEEPING", 0.0)

    def digests(known: KnownFiles | None) -> dict[str, str]:
        found = check_samples(find_samples(info, root, "test", known), info, "test", known).digests
        if known:
            known.keep()
        return found

    before = digests(KnownFiles(info, root))
    path = find_samples(info, root, "test")[0].masks["full"]
    content = path.read_bytes()
    try:
        write_image(path, VAIHINGEN.to_rgb(1 - np.minimum(read_mask(path, VAIHINGEN), 1)))
        assert digests(KnownFiles(info, root)) == before
        score_masks(finished.experiment, masks, tmp_path / "out", split="test")
        evaluate(
            finished.experiment,
            checkpoint=finished.folder.parent / "best.ckpt",
            output=tmp_path / "test",
            split="test",
            device="cpu",
        )
        for folder in ("out", "test"):
            protocol = json.loads((tmp_path / folder / "scores.json").read_text())["protocol"]
            assert protocol["labels_sha256"] == digests(None) != before
    finally:
        path.write_bytes(content)


def test_command_line(finished, masks, tmp_path, monkeypatch, capsys):
    args = ["-c", finished.experiment.config, "-i", str(masks), "-o", str(tmp_path / "out")]
    data = f"data.root={finished.experiment.root}"
    monkeypatch.setattr(sys, "argv", ["score_masks.py", *args, "--name", "theirs", data])
    command.main("")
    assert "mean of 5" in capsys.readouterr().out
    document = json.loads((tmp_path / "out/scores.json").read_text())
    assert document["protocol"]["settings"]["name"] == "theirs"


def test_what_their_author_says(finished, masks, tmp_path):
    """With all of it stated, the masks stand in one table with ours."""
    score_masks(
        finished.experiment,
        masks,
        tmp_path / "out",
        split="test",
        tta="none",
        trained_on="train",
        chosen_on="val",
        trained_padding="ignore",
    )
    protocol = json.loads((finished.folder / "scores.json").read_text())["protocol"]
    assert protocol["masks"]["full"]["padding_policy"] == "none"  # no patch has a black margin
    models = read_models([f"ours={finished.folder}", f"theirs={tmp_path / 'out'}"])
    comparison = compare(models, "full", mixed=True)
    # Random weights were never trained: of what, their checkpoint does not say.
    assert comparison.differences == {"padding in training": ["unknown", "ignore"]}
    with pytest.raises(InputError, match="no split 'trian'; did you mean 'train'"):
        score_masks(finished.experiment, masks, masks, split="test", trained_on="trian")


def test_report(finished, masks, tmp_path):
    score_masks(finished.experiment, masks, tmp_path / "out", split="test")
    page = tmp_path / "report.html"
    write_report(finished.experiment, tmp_path / "out", page, device="cpu")
    text = page.read_text()
    assert text.count('class="stage"') == 3
    assert "These masks came without confidences." in text


def test_scored_again(finished, masks, tmp_path):
    """Counts are not added to those of an earlier call."""
    for _ in range(2):
        score_masks(finished.experiment, masks, masks, split="test")
    assert len((masks / "images.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda m: (m / "test-0-1.png").rename(m / "pred_1.png"), "no mask of test-0-1 .1 of 3"),
        (
            lambda m: write_image(m / "test-0-1.png", np.zeros((8, 8), np.uint8)),
            "test-0-1.png: 8 x 8 pixels, its image .* has 64 x 96",
        ),
        (
            lambda m: write_image(m / "test-0-1.png", np.full((64, 96), 6, np.uint8)),
            "test-0-1.png: 6144 pixels have no class",
        ),
        (
            lambda m: write_image(m / "test-0-1.png", np.full((64, 96), 9, np.uint8)),
            "test-0-1.png: label 9",
        ),
        (lambda m: shutil.rmtree(m), "no such folder"),
    ],
)
def test_wrong_masks(finished, masks, tmp_path, spoil, words):
    spoil(masks)
    with pytest.raises(InputError, match=words):
        score_masks(finished.experiment, masks, tmp_path / "out", split="test")
    assert not (tmp_path / "out").exists()


def test_a_test_scripts_folder_is_left_alone(finished, masks):
    with pytest.raises(InputError, match="holds the results of a test script"):
        score_masks(finished.experiment, masks, finished.folder, split="test")


def test_scores_of_other_masks_are_refused_until_told_to_delete(finished, masks, tmp_path):
    score_masks(finished.experiment, masks, tmp_path / "out", split="test")
    before = (tmp_path / "out/scores.json").read_bytes()
    labels = read_mask(masks / "test-0-1.png", VAIHINGEN)
    write_image(masks / "test-0-1.png", (labels + 1) % 6)
    with pytest.raises(
        InputError, match=r"of other masks \(its checkpoint_sha256 .*overwrite=True"
    ):
        score_masks(finished.experiment, masks, tmp_path / "out", split="test")
    assert (tmp_path / "out/scores.json").read_bytes() == before
    score_masks(finished.experiment, masks, tmp_path / "out", split="test", overwrite=True)
    assert (tmp_path / "out/scores.json").read_bytes() != before
