"""Synthetic scenes, their eroded labels, and the tool that writes them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from network.datasets.files import read_mask, read_rgb
from network.datasets.info import VAIHINGEN
from network.datasets.synthetic.town import MIN_SIZE, erode_labels, make_scene
from network.errors import InputError
from tests.commands import run
from tests.conftest import ROOT

IMSURF, BUILDING, LOWVEG, TREE, CAR, CLUTTER = range(6)


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed, 640, 512) for seed in range(3)]


# Scenes


def test_shapes_and_types():
    image, labels = make_scene(0, 128, 192)
    assert image.shape == (128, 192, 3)
    assert labels.shape == (128, 192)
    assert image.dtype == labels.dtype == np.uint8


def test_equal_seeds_give_equal_scenes_and_others_do_not():
    image, labels = make_scene(5, 128, 128)
    again_image, again_labels = make_scene(5, 128, 128)
    other_image, _ = make_scene(6, 128, 128)
    np.testing.assert_array_equal(image, again_image)
    np.testing.assert_array_equal(labels, again_labels)
    assert (image != other_image).any()


def test_scenes_leave_the_global_random_state_alone():
    state = np.random.get_state()[1].copy()
    make_scene(0, 128, 128)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_labels_are_isprs_classes(scenes):
    for _, labels in scenes:
        assert labels.max() <= CLUTTER


def test_class_shares_are_those_of_a_town(scenes):
    for _, labels in scenes:
        share = np.bincount(labels.ravel(), minlength=6) / labels.size
        for label in (IMSURF, BUILDING, LOWVEG, TREE):
            assert 0.03 <= share[label] <= 0.6
        assert 0.004 <= share[CAR] <= 0.05
        assert share[CLUTTER] <= 0.08


@pytest.mark.parametrize("seed", range(4))
def test_even_the_smallest_scene_has_all_main_classes(seed):
    _, labels = make_scene(seed, MIN_SIZE, MIN_SIZE)
    assert set(range(CLUTTER)) <= set(np.unique(labels))


def test_a_car_has_about_25_x_10_pixels(scenes):
    for _, labels in scenes:
        _, _, stats, _ = cv2.connectedComponentsWithStats((labels == CAR).astype(np.uint8))
        areas = stats[1:, cv2.CC_STAT_AREA]
        assert len(areas) >= 10
        assert 180 <= np.median(areas) <= 280


def test_vegetation_is_red_and_pavement_is_not(scenes):
    for image, labels in scenes:
        redness = image[..., 0].astype(float) - image[..., 1:].mean(-1)
        for label in (LOWVEG, TREE):
            assert np.median(redness[labels == label]) > 20
        assert abs(np.median(redness[labels == IMSURF])) < 20


def test_color_of_a_pixel_does_not_tell_its_class(scenes):
    """The best class for each color, fitted to the scene itself, still confuses them."""
    for image, labels in scenes:
        colors = (image // 16).astype(int) @ (256, 16, 1)
        votes = np.zeros((4096, 6))
        np.add.at(votes, (colors, labels), 1)
        guess = votes.argmax(1)[colors]
        ious = [
            ((guess == label) & (labels == label)).sum()
            / ((guess == label) | (labels == label)).sum()
            for label in range(CLUTTER)
        ]
        assert np.mean(ious) < 0.7


def test_edges_of_labels_lie_on_edges_of_the_image(scenes):
    """Moving the labels in any direction makes the image's steps across boundaries weaker."""
    for image, labels in scenes:
        gray = cv2.GaussianBlur(image.astype(np.float32).mean(-1), (0, 0), 1)
        steps = np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1))
        boundary = erode_labels(labels, radius=1) == 6

        def strength(dy, dx, steps=steps, boundary=boundary):
            return steps[8:-8, 8:-8][np.roll(boundary, (dy, dx), (0, 1))[8:-8, 8:-8]].mean()

        moved = [strength(dy, dx) for dy, dx in ((4, 0), (-4, 0), (0, 4), (0, -4))]
        assert strength(0, 0) > 1.2 * max(moved)


def test_too_small_a_scene_is_refused():
    with pytest.raises(InputError, match="127 x 128 pixels"):
        make_scene(0, 127, 128)


# Eroded labels


def test_eroded_labels_by_hand():
    labels = np.zeros((5, 9), np.uint8)
    labels[:, 4:] = 2
    np.testing.assert_array_equal(
        erode_labels(labels, radius=2),
        np.tile(np.uint8([0, 0, 6, 6, 6, 6, 2, 2, 2]), (5, 1)),
    )


def test_one_pixel_ignores_a_disc_around_it():
    labels = np.zeros((9, 9), np.uint8)
    labels[4, 4] = CAR
    y, x = np.mgrid[-4:5, -4:5]
    np.testing.assert_array_equal(erode_labels(labels, ignore_index=9), 9 * (x**2 + y**2 <= 9))


def test_labels_of_one_class_stay_up_to_the_border():
    labels = np.full((6, 7), TREE, np.uint8)
    np.testing.assert_array_equal(erode_labels(labels), labels)


def test_eroded_labels_equal_the_distance_to_the_nearest_other_class(scenes):
    """A pixel is kept if no pixel of another class is within 3 pixels: each class by itself."""
    labels = scenes[0][1]
    expected = np.full_like(labels, 6)
    for label in range(6):
        inside = (labels == label).astype(np.uint8)
        if inside.any():
            distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            expected[(inside > 0) & (distance > 3.001)] = label
    np.testing.assert_array_equal(erode_labels(labels), expected)


# The tool


def run_tool(output: Path, *options: str, cwd: Path | None = None):
    counts = ["--scenes-train", "1", "--scenes-val", "1", "--scenes-test", "1"]
    args = ["--output", output, *counts, "--size", "128", "160", *options]
    return run("tools/make_demo_data.py", *args, cwd=cwd or ROOT)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Made by a run from another folder with a relative output."""
    folder = tmp_path_factory.mktemp("demo")
    result = run_tool(Path("made"), cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "3 scenes" in result.stdout
    return folder / "made"


@pytest.mark.slow
def test_tool_writes_isprs_names(demo):
    names = set(contents(demo))
    assert names == {"made_by_make_demo_data.txt"} | {
        f"{split}_{kind}/top_mosaic_09cm_area{area}{ending}.tif"
        for area, split in enumerate(("train", "val", "test"), 1)
        for kind, ending in (("images", ""), ("masks", ""), ("masks_eroded", "_noBoundary"))
    }
    assert [path.name for path in demo.parent.iterdir()] == ["made"]


@pytest.mark.slow
def test_tool_writes_matching_files(demo):
    images = []
    for area, split in enumerate(("train", "val", "test"), 1):
        stem = f"top_mosaic_09cm_area{area}"
        images.append(read_rgb(demo / f"{split}_images/{stem}.tif"))
        labels = read_mask(demo / f"{split}_masks/{stem}.tif", VAIHINGEN)
        eroded = read_mask(demo / f"{split}_masks_eroded/{stem}_noBoundary.tif", VAIHINGEN)
        assert images[-1].shape == (128, 160, 3)
        assert labels.max() <= CLUTTER
        np.testing.assert_array_equal(eroded, erode_labels(labels))
    assert (images[0] != images[2]).any()


@pytest.mark.slow
def test_first_training_scene_is_that_of_the_seed(demo):
    image, labels = make_scene(0, 128, 160)
    name = "top_mosaic_09cm_area1.tif"
    np.testing.assert_array_equal(read_rgb(demo / "train_images" / name), image)
    np.testing.assert_array_equal(read_mask(demo / "train_masks" / name, VAIHINGEN), labels)


@pytest.mark.slow
def test_a_rerun_replaces_and_is_repeatable(tmp_path, demo):
    output = tmp_path / "demo"
    # Area 2 is a training scene at first: no file of the first run may be left.
    assert run_tool(output, "--scenes-train", "2").returncode == 0
    assert (output / "train_images/top_mosaic_09cm_area2.tif").exists()
    result = run_tool(output)
    assert result.returncode == 0, result.stderr
    assert contents(output) == contents(demo)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.slow
def test_number_of_training_scenes_does_not_change_the_test_scenes(tmp_path, demo):
    assert run_tool(tmp_path, "--scenes-train", "2").returncode == 0
    made = (tmp_path / "test_images/top_mosaic_09cm_area4.tif").read_bytes()
    assert made == (demo / "test_images/top_mosaic_09cm_area3.tif").read_bytes()


@pytest.mark.slow
def test_a_folder_with_other_files_is_refused(tmp_path):
    # A real tile of the same name must never be replaced.
    foreign = tmp_path / "train_images/top_mosaic_09cm_area1.tif"
    foreign.parent.mkdir()
    foreign.write_bytes(b"real")
    result = run_tool(tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {foreign}: not made by this tool")
    assert len(result.stderr.splitlines()) == 1
    assert contents(tmp_path) == {"train_images/top_mosaic_09cm_area1.tif": b"real"}


@pytest.mark.slow
def test_a_file_put_among_made_ones_is_refused(tmp_path):
    assert run_tool(tmp_path).returncode == 0
    before = contents(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    result = run_tool(tmp_path)
    assert result.returncode == 2
    assert "notes.txt: not made by this tool" in result.stderr
    assert contents(tmp_path) == before | {"notes.txt": b"mine"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scenes-train", "0"], "--scenes-train 0: expected a number from 1"),
        (["--scenes-val", "-1"], "--scenes-val -1: expected"),
        (["--size", "128", "127"], "--size 128 127: expected at least 128"),
        (["--seed", "-1"], "--seed -1: expected 0 or more"),
    ],
)
def test_bad_values_end_with_code_2(tmp_path, options, message):
    output = tmp_path / "demo"
    result = run_tool(output, *options)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert not output.exists()


@pytest.mark.slow
def test_an_output_that_is_a_file_is_refused(tmp_path):
    output = tmp_path / "demo"
    output.write_text("mine")
    result = run_tool(output)
    assert result.returncode == 2
    assert f"{output}: is a file" in result.stderr
    assert output.read_text() == "mine"
