"""Tiles and their image-level labels: the rule, the windows, the lists, the seeds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from network.buildings.seeds import make_seed
from network.buildings.settings import Chain, Tiles
from network.buildings.tiles import (
    cut_test_tiles,
    cut_train_tiles,
    find_tiles,
    image_label,
    read_labels,
    tile_names,
    write_labels,
)
from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.info import BUILDING, DRONE, POTSDAM
from network.datasets.provenance import tile_of_patch
from network.errors import InputError
from tests.scenes import write_bands


@pytest.mark.parametrize(
    ("buildings", "ignored", "expected"),
    [
        (0, 0, 0),
        (1, 0, None),
        (24, 0, None),
        (25, 0, 1),
        (100, 0, 1),
        (0, 50, 0),
        (0, 51, None),
        (25, 50, 1),
        (49, 51, None),
    ],
)
def test_rule(buildings, ignored, expected):
    """Exactly 25 % is positive, a single pixel is left out; half of a tile must be labeled."""
    mask = np.zeros(100, np.uint8)
    mask[:buildings] = 1
    mask[100 - ignored :] = 255
    assert image_label(mask.reshape(10, 10), 0.25) == expected


def make_source(root: Path, shapes: dict[str, tuple[int, int]], buildings: dict) -> None:
    """Images of DRONE's folders; boxes of buildings by image name."""
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        split = name.partition("-")[0]
        write_image(
            root / split / "images" / f"{name}.png", rng.integers(0, 256, (*shape, 3), "u1")
        )
        mask = np.zeros(shape, np.uint8)
        mask[buildings.get(name, np.s_[:0])] = 1
        write_image(root / split / "masks" / f"{name}.png", mask)


@pytest.fixture
def chain(tmp_path) -> Chain:
    shapes = {"train-a": (70, 100), "train-b": (64, 32), "test-a": (40, 50)}
    boxes = {"train-a": np.s_[:32, 40:], "train-b": np.s_[40:41, :5], "test-a": np.s_[:20]}
    make_source(tmp_path / "source", shapes, boxes)
    return Chain(
        dataset=DRONE,
        building="building",
        root=str(tmp_path / "source"),
        tiles=Tiles(side=32),
        workers=1,
    )


def test_train_tiles(chain, tmp_path):
    """Whole tiles alone; what is neither positive nor negative never enters."""
    out = tmp_path / "out"
    counts = cut_train_tiles(chain, out / "images", out / "masks", out / "labels.csv")
    labels = read_labels(out / "labels.csv")
    # train-a: rows of 32 and 32 (a rest of 6), columns of 32, 32 and 32 (a rest of 4).
    assert labels == {
        "train-a_tile_0000": 0,
        "train-a_tile_0001": 1,
        "train-a_tile_0002": 1,
        "train-a_tile_0003": 0,
        "train-a_tile_0004": 0,
        "train-a_tile_0005": 0,
        "train-b_tile_0000": 0,
    }
    assert vars(counts) == {"positive": 2, "negative": 5, "left_out": 1, "not_drawn": 0}
    assert {path.stem for path in (out / "images").iterdir()} == labels.keys()
    assert {path.stem for path in (out / "masks").iterdir()} == labels.keys()
    image = read_rgb(tmp_path / "source/train/images/train-a.png")
    assert (read_rgb(out / "images/train-a_tile_0001.png") == image[:32, 32:64]).all()
    truth = read_mask(out / "masks/train-a_tile_0001.png", BUILDING)
    assert (truth == np.where(np.arange(32) >= 8, 1, 0)).all()
    assert [t.name for t in find_tiles(out / "images", labels, BUILDING)] == sorted(labels)


def test_whole_tiles_of_potsdam(tmp_path):
    """RGB images and colored masks by their own endings, in the README's folders."""
    for split, number in (("train", "2_10"), ("test", "2_13")):
        name = f"top_potsdam_{number}"
        image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), "u1")
        labels = np.zeros((64, 96), np.uint8)
        labels[:32, :32] = POTSDAM.classes.index("Building")
        write_image(tmp_path / f"{split}_images/{name}_RGB.tif", image)
        write_image(tmp_path / f"{split}_masks/{name}_label.tif", POTSDAM.to_rgb(labels))
    chain = Chain(
        dataset=POTSDAM, building="Building", root=str(tmp_path), tiles=Tiles(side=32), workers=1
    )
    out = tmp_path / "out"
    counts = cut_train_tiles(chain, out / "images", out / "masks", out / "labels.csv")
    assert (counts.positive, counts.negative) == (1, 5)
    assert read_labels(out / "labels.csv")["top_potsdam_2_10_tile_0000"] == 1
    assert cut_test_tiles(chain, out / "test", out / "truth") == 6
    with pytest.raises(InputError, match=r"end in _IRRG.tif.*give tiles.infrared=False"):
        cut_test_tiles(changed(chain, infrared=True), out / "test", out / "truth")
    # A color that is no class.
    path = tmp_path / "test_masks/top_potsdam_2_13_label.tif"
    mask = read_rgb(path)
    mask[40:, :] = (9, 9, 9)
    write_image(path, mask)
    with pytest.raises(InputError, match=r"give tiles.unknown_color=nearest"):
        cut_test_tiles(chain, out / "test", out / "truth")
    cut_test_tiles(changed(chain, unknown_color="ignore"), out / "test", out / "truth")
    bottom = read_mask(out / "truth/top_potsdam_2_13_tile_0004.png", BUILDING)
    assert np.unique(bottom[8:]).tolist() == [255]
    assert np.unique(bottom[:8]).tolist() == [0]


def changed(chain: Chain, **tiles) -> Chain:
    return replace(chain, tiles=replace(chain.tiles, **tiles))


def test_negatives_are_drawn(chain, tmp_path):
    """At most so many for each positive tile, the same ones each time."""
    chain = replace(chain, tiles=Tiles(side=32, negatives=1.5))
    found = []
    for out in (tmp_path / "one", tmp_path / "two"):
        counts = cut_train_tiles(chain, out / "images", out / "masks", out / "labels.csv")
        assert (counts.positive, counts.negative, counts.not_drawn) == (2, 3, 2)
        found.append(read_labels(out / "labels.csv"))
        for folder in ("images", "masks"):
            assert {path.stem for path in (out / folder).iterdir()} == found[0].keys()
    assert found[0] == found[1]


def test_test_tiles(chain, tmp_path):
    """All of them, and the rest, so that every pixel is scored once."""
    out = tmp_path / "out"
    assert cut_test_tiles(chain, out / "images", out / "masks") == 4
    sizes = {p.stem: read_rgb(p).shape[:2] for p in (out / "images").iterdir()}
    assert sizes == {
        "test-a_tile_0000": (32, 32),
        "test-a_tile_0001": (32, 18),
        "test-a_tile_0002": (8, 32),
        "test-a_tile_0003": (8, 18),
    }


def test_gray_masks_of_0_and_255(chain, tmp_path):
    """255 is no class and would be ignored; mask_value says that it is the building."""
    for path in (tmp_path / "source").rglob("masks/*.png"):
        mask = np.asarray(Image.open(path))
        Image.fromarray(mask * 255).save(path)
    out = tmp_path / "out"
    chain = replace(chain, mask_value=255)
    counts = cut_train_tiles(chain, out / "images", out / "masks", out / "labels.csv")
    assert counts.positive == 2


@pytest.mark.parametrize("is_turned", [False, True])
def test_gray_masks_are_read_as_other_masks(chain, tmp_path, is_turned):
    """Pixels without data are unknown, and a turned file is turned."""
    mask = np.zeros((32, 32), np.uint8)
    mask[:16], mask[24:] = 255, 128
    for path in (tmp_path / "source").rglob("*.png"):
        path.unlink()
    for split in ("train", "test"):
        write_image(tmp_path / f"source/{split}/images/{split}.png", np.ones((32, 32, 3), "u1"))
    path = tmp_path / "source/test/masks/test.tif"
    path.parent.mkdir(exist_ok=True)
    if is_turned:
        exif = Image.Exif()
        exif[0x0112] = 3  # half a turn
        Image.fromarray(mask).save(path, exif=exif)
        chain = replace(chain, dataset=replace(chain.dataset, exif_orientation="shown"))
    else:
        write_bands(path, mask[..., None], nodata=128)
    out = tmp_path / "out"
    cut_test_tiles(replace(chain, mask_value=255), out / "images", out / "masks")
    (found,) = (out / "masks").iterdir()
    expected = (mask == 255).astype(np.uint8)
    if is_turned:
        expected = expected[::-1, ::-1]
    else:
        expected[24:] = 255
    np.testing.assert_array_equal(np.asarray(Image.open(found)), expected)


@pytest.mark.parametrize(
    ("share", "names", "message"),
    [
        (1.0, {}, "'train': there is no tile with buildings .* see tiles.positive_share"),
        (
            0.01,
            {"train-a": np.s_[:], "train-b": np.s_[:]},
            "no tile without buildings .* mask_value",
        ),
    ],
)
def test_both_kinds_are_needed(chain, tmp_path, share, names, message):
    shapes = {"train-a": (64, 64), "train-b": (64, 32)}
    boxes = {"train-a": np.s_[:1], **names}
    make_source(tmp_path / "source", shapes, boxes)
    chain = replace(chain, tiles=Tiles(side=32, positive_share=share))
    with pytest.raises(InputError, match=message):
        cut_train_tiles(chain, tmp_path / "i", tmp_path / "m", tmp_path / "l.csv")


def test_a_list_of_labels(chain, tmp_path):
    """Images are tiles as they are, and no mask is opened: there is none."""
    for path in (tmp_path / "source/train/masks").iterdir():
        path.unlink()
    (tmp_path / "labels.csv").write_text("name,label\ntrain-a,1\ntrain-b,0\n")
    chain = replace(chain, labels=str(tmp_path / "labels.csv"))
    out = tmp_path / "out"
    cut_train_tiles(chain, out / "images", out / "masks", out / "labels.csv")
    assert read_labels(out / "labels.csv") == {"train-a": 1, "train-b": 0}
    assert read_rgb(out / "images/train-a.png").shape == (70, 100, 3)
    assert not (out / "masks").exists()


@pytest.mark.parametrize(
    ("patch_names", "images", "units"),
    [
        ("", {"a_0001": "a_0001", "b_tile_0003": "b", "c_7_tile_0012": "c_7"}, True),
        ("(?P<tile>.+)_[0-9]+", {"p_q_3_tile_0002": "p_q", "p_4": "p"}, True),
        ("^(?P<tile>.+)_[0-9]+|(?P<x>one)$", {"p_3_tile_10002": "p", "one": None}, True),
        ("", {"a_tile_9999": "a", "a_tile_10000": "a"}, True),
        ("", {"a_0001": None, "b": None}, False),
    ],
)
def test_names_of_tiles_tell_their_image(chain, tmp_path, patch_names, images, units):
    """Also the larger image that the names of the images tell; intervals are over these."""
    chain = replace(chain, dataset=replace(DRONE, patch_names=patch_names))
    for name in images:
        write_image(tmp_path / f"tiles/{name}.png", np.zeros((4, 4, 3), np.uint8))
    names = tile_names(chain, tmp_path / "tiles")
    assert bool(names) == units
    if units:
        assert {name: tile_of_patch(name, names) for name in images} == images
    assert bool(tile_names(chain, tmp_path / "nowhere")) == bool(patch_names)


def test_names_of_tiles_do_not_meet(chain, tmp_path):
    """An image that is called like a tile of another."""
    name, out = "train-a_tile_0001", tmp_path / "out"
    make_source(tmp_path / "source", {name: (64, 32)}, {name: np.s_[:]})
    with pytest.raises(InputError, match=r"train-a_tile_0001\.png: its name ends like that of a"):
        cut_train_tiles(chain, out / "images", out / "masks", out / "labels.csv")
    make_source(tmp_path / "source", {name: (32, 32)}, {name: np.s_[:]})
    with pytest.raises(InputError, match=r"train-a_tile_0001\.png: .*same name as .*train-a\."):
        cut_train_tiles(chain, out / "images", out / "masks", out / "labels.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train-a,1\ntrain-b,0\ntrain-x,0\n", r"names 'train-x', .* \(1 of 3\)"),
        ("train-a,1\n", r"no row for 'train-b'"),
        ("train-a,1\ntrain-b,2\n", r"line 3: label '2', expected 0 or 1"),
        ("train-a,1\ntrain-b,0\ntrain-a,0\n", r"line 4: 'train-a' for the second time"),
        ("train-a,1\ntrain-b,1\n", "labels.csv: there is no tile without .* correct the list"),
        ("", "and rows"),
    ],
)
def test_bad_lists(chain, tmp_path, text, message):
    (tmp_path / "labels.csv").write_text("name,label\n" + text)
    chain = replace(chain, labels=str(tmp_path / "labels.csv"))
    with pytest.raises(InputError, match=message):
        cut_train_tiles(chain, tmp_path / "i", tmp_path / "m", tmp_path / "l.csv")
    assert not (tmp_path / "l.csv").exists()


def test_missing_tiles(tmp_path):
    write_labels(tmp_path / "labels.csv", {"a": 1})
    with pytest.raises(InputError, match=r"a.png: no such tile"):
        find_tiles(tmp_path, read_labels(tmp_path / "labels.csv"), BUILDING)


def test_seeds_are_unsure_where_the_thresholds_disagree():
    activation = np.linspace(0, 1, 101).reshape(1, 101)
    seed = make_seed(activation, np.zeros((1, 101, 3), np.uint8), 0.25, 0.15)
    assert set(np.unique(seed)) == {0, 1, 255}
    expected = np.select([activation > 0.25, activation > 0.15], [1, 255], 0)
    assert (seed == expected).all()


def test_seeds_are_cut_by_the_solver():
    """Building where the solved foreground is, background only where neither solved mask is."""

    def solve(image, masks):
        return np.roll(masks, 1, axis=2)

    activation = np.array([[0.0, 0.2, 0.5, 0.0, 0.0]])
    seed = make_seed(activation, np.zeros((1, 5, 3), np.uint8), 0.25, 0.15, solve)
    assert seed.tolist() == [[0, 0, 255, 1, 0]]
