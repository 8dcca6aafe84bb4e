"""Figures of results: what is shown in the padding of a patch."""

from dataclasses import replace

import numpy as np
import pytest

from network.datasets.files import write_image
from network.datasets.info import DRONE, VAIHINGEN
from network.datasets.segmentation import Sample
from network.evaluation.figures import without_padding, write_panel

IGNORED = VAIHINGEN.ignore_index


@pytest.fixture
def sample(tmp_path):
    """A patch with two rows and three columns of padding, and a black pixel elsewhere."""
    image = np.full((8, 9, 3), 50, np.uint8)
    image[:2] = 0
    image[:, :3] = 0
    image[5, 5] = 0
    truth = np.ones((8, 9), np.uint8)
    truth[:2] = IGNORED
    truth[:, :3] = IGNORED
    truth[6, 6] = IGNORED
    write_image(tmp_path / "a.png", image)
    write_image(tmp_path / "mask.png", truth)
    masks = {"full": tmp_path / "mask.png"}
    return Sample(name="a", image=tmp_path / "a.png", size=(8, 9), masks=masks)


def test_padding_gets_no_class(sample):
    prediction = np.full((8, 9), 2, np.uint8)
    expected = prediction.copy()
    expected[:2] = IGNORED
    expected[:, :3] = IGNORED
    truth = np.where(expected == IGNORED, IGNORED, 1).astype(np.uint8)
    for labels in (truth, None):
        found = without_padding(prediction, labels, sample, VAIHINGEN)
        np.testing.assert_array_equal(found, expected)
    assert (prediction == 2).all()
    # Padding with a class is scored, so its prediction is shown.
    labeled = np.zeros_like(truth)
    assert (without_padding(prediction, labeled, sample, VAIHINGEN) == 2).all()
    # Black pixels of data sets that are not cut into patches belong to the image.
    assert DRONE.tiles is None
    assert (without_padding(prediction, truth, sample, DRONE) == 2).all()


def test_the_panel_shows_it(sample, tmp_path, monkeypatch):
    """The pictures of a row: image, truth and prediction."""
    shown = []

    def look(axis, pixels, **options):
        shown.append(pixels)

    monkeypatch.setattr("matplotlib.axes.Axes.imshow", look)
    (tmp_path / "predicted").mkdir()
    write_image(tmp_path / "predicted/a.png", np.full((8, 9), 2, np.uint8))
    write_panel([sample], tmp_path / "predicted", VAIHINGEN, tmp_path / "panel.png", "demo")
    _, truth, prediction = shown
    padding = np.ones((8, 9), bool)
    padding[2:, 3:] = False
    assert not prediction[padding].any()
    assert (prediction[~padding] == VAIHINGEN.palette[2]).all()
    assert not truth[padding].any()


def test_a_patch_without_labels(sample, tmp_path):
    """It has no column of the truth."""
    (tmp_path / "predicted").mkdir()
    write_image(tmp_path / "predicted/a.png", np.full((8, 9), 2, np.uint8))
    alone = replace(sample, masks={})
    write_panel([alone], tmp_path / "predicted", VAIHINGEN, tmp_path / "panel.png", "demo")
    assert (tmp_path / "panel.png").is_file()
