"""Finished maps as they are read again: classes, colors, numbers of pixels, layers, images."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from network.datasets.files import write_image, write_mask
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.maps.read import read_image, read_map
from tests.maps.local import OF_ONE_VIEW, PLACE, SMALL, predict, random_image
from tests.scenes import write_bands

ALL = replace(SMALL, layers=OF_ONE_VIEW)
TABLE = {0: (1, 2, 3, 255), 1: (9, 8, 7, 255), 5: (0, 255, 0, 255)}


def pixels_of(view) -> np.ndarray:
    with view.open() as file:
        return np.where(file.dataset_mask() > 0, file.read(1), 255)


@pytest.mark.slow
def test_a_map_of_predict(predictor, image, tmp_path):
    predict(predictor, image, out=tmp_path / "out", options=ALL)
    found = read_map(tmp_path / "out/a.tif")
    labels = pixels_of(found.labels)
    counts = np.bincount(labels[labels < 255], minlength=6)
    assert tuple(entry.name for entry in found.classes) == VAIHINGEN.classes
    assert tuple(entry.color for entry in found.classes) == VAIHINGEN.palette
    assert [entry.pixels for entry in found.classes] == counts.tolist()
    np.testing.assert_allclose(found.shares, counts / counts.sum())
    assert {name: view.bands for name, view in found.layers.items()} == {
        "confidence": 1, "probabilities": 6, "entropy": 1,
    }  # fmt: skip
    assert read_image(image, found).grid is None
    # Without its table, the map is counted, and has the colors that it holds itself.
    (tmp_path / "out/a.tif.aux.xml").unlink()
    again = read_map(tmp_path / "out/a.tif")
    used = [entry for entry in found.classes if entry.pixels]
    assert [(entry.color, entry.pixels) for entry in again.classes] == [
        (entry.color, entry.pixels) for entry in used
    ]
    assert again.classes[0].name == f"class {used[0].label}"


@settings(max_examples=20, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rgb=st.booleans(),
    holes=st.booleans(),
    with_info=st.booleans(),
    seed=st.integers(0, 99),
)
def test_masks_of_photos(tmp_path_factory, size, rgb, holes, with_info, seed):
    """Masks that predict.py writes for photos, as labels and as colors."""
    path = tmp_path_factory.mktemp("mask") / "a.png"
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, size, dtype=np.uint8)
    valid = rng.random(size) > 0.3 if holes else None
    write_mask(path, labels, VAIHINGEN, rgb=rgb, valid=valid)
    found = read_map(path, VAIHINGEN if with_info else None)
    shown = np.array([[0, 0, 0]] * 256, np.uint8)
    for entry in found.classes:
        shown[entry.label] = entry.color
    read = pixels_of(found.labels)
    is_valid = np.ones(size, bool) if valid is None else valid
    np.testing.assert_array_equal(read != 255, is_valid)
    if rgb or with_info:
        expected = np.array(VAIHINGEN.palette, np.uint8)[labels]
        np.testing.assert_array_equal(shown[read][is_valid], expected[is_valid])
    if not rgb or with_info:
        np.testing.assert_array_equal(read[is_valid], labels[is_valid])
    counts = dict(zip(*np.unique(read[is_valid], return_counts=True), strict=True))
    assert {e.label: e.pixels for e in found.classes if e.pixels} == counts
    if with_info:
        assert tuple(entry.name for entry in found.classes) == VAIHINGEN.classes


def test_a_color_table_of_another_program(tmp_path):
    labels = np.random.default_rng(0).choice([0, 5], (30, 40)).astype(np.uint8)
    mask = Image.fromarray(labels)
    mask.putpalette([number for n in range(6) for number in TABLE.get(n, (0, 0, 0))[:3]])
    mask.save(tmp_path / "a.png")
    found = read_map(tmp_path / "a.png")
    assert [(e.label, e.name, e.color, e.pixels) for e in found.classes] == [
        (n, f"class {n}", TABLE[n][:3], int((labels == n).sum())) for n in (0, 5)
    ]


def test_smaller_copies_of_a_mask_have_its_labels(tmp_path):
    """Between the labels 0 and 2 lies no label 1."""
    labels = np.random.default_rng(0).choice([0, 2], (600, 600)).astype(np.uint8)
    write_image(tmp_path / "a.png", labels)
    with read_map(tmp_path / "a.png").labels.opened() as file:
        assert file.overviews(1)
        small = file.read(1, out_shape=(150, 150))
    assert set(np.unique(small)) == {0, 2}


def test_a_mask_without_a_class(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((4, 5, 4), np.uint8))
    found = read_map(tmp_path / "a.png")
    assert (found.classes, found.shares) == ((), [])


def test_labels_without_colors_get_some(tmp_path):
    write_image(tmp_path / "a.png", np.arange(5, dtype=np.uint8)[:, None])
    colors = [entry.color for entry in read_map(tmp_path / "a.png").classes]
    assert len(set(colors)) == 5


def test_ignored_labels_do_not_count(tmp_path):
    info = replace(VAIHINGEN, ignore_index=6)
    write_image(tmp_path / "a.png", np.array([[0, 6, 1, 1]], np.uint8))
    found = read_map(tmp_path / "a.png", info)
    assert [entry.pixels for entry in found.classes] == [1, 2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (random_image(64, 64), "has more than 64 colors; a map has one band of labels"),
        (random_image(64, 64)[..., :1], "has more than 64 values and no names"),
        (random_image(8, 8).astype(np.uint16)[..., :1], "has 1 band of uint16"),
        (random_image(8, 8)[..., [0, 1]], "has 2 bands of uint8"),
        (random_image(8, 8)[..., [0, 1, 2, 0, 1]].astype(np.float32), "has 5 bands of float32"),
    ],
)
def test_no_map(tmp_path, image, line):
    write_bands(tmp_path / "a.tif", image, **PLACE)
    with pytest.raises(InputError, match=line):
        read_map(tmp_path / "a.tif")


@pytest.mark.slow
def test_a_layer_is_no_map(predictor, image, tmp_path):
    predict(predictor, image, out=tmp_path / "out", options=ALL)
    with pytest.raises(InputError, match="is the layer confidence of a map"):
        read_map(tmp_path / "out/a_confidence.tif")


@pytest.mark.slow
def test_layers_of_another_map_are_left_out(predictor, image, tmp_path, capsys):
    predict(predictor, image, out=tmp_path / "out", options=ALL)
    write_bands(tmp_path / "out/a_confidence.tif", random_image(500, 460)[..., :1])
    write_bands(tmp_path / "out/a_entropy.tif", random_image(9, 9)[..., :1])
    assert list(read_map(tmp_path / "out/a.tif").layers) == ["probabilities"]
    told = capsys.readouterr().err
    assert "a_confidence.tif: its values have not the scale 1/250, so it is left out" in told
    assert "a_entropy.tif: has another size or other bands" in told


@pytest.mark.parametrize(("meant", "is_turned"), [("shown", True), ("stored", False), (None, None)])
def test_a_photo_that_is_turned(tmp_path, meant, is_turned):
    """By the config, else if it then has the size of its mask."""
    photo, exif = random_image(20, 30), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "a.png", exif=exif)
    for height, width in ((20, 30), (30, 20)):
        write_image(tmp_path / "mask.png", np.zeros((height, width), np.uint8))
        map_ = read_map(tmp_path / "mask.png")
        info = replace(VAIHINGEN, exif_orientation=meant)
        if is_turned is not None and is_turned != (height == 30):
            with pytest.raises(InputError, match="pixels, its map"):
                read_image(tmp_path / "a.png", map_, info)
            continue
        view = read_image(tmp_path / "a.png", map_, info)
        with view.open() as file:
            values = file.read().transpose(1, 2, 0)
        np.testing.assert_array_equal(values, np.rot90(photo, -1) if height == 30 else photo)
