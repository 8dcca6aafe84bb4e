"""Labels of scenes: what is drawn, from which files, and when it is drawn again."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, minimum_filter

from network.commands.make_demo_data import make_parser
from network.commands.make_demo_data import run as make_demo_data
from network.config import load_experiment
from network.datasets.files import read_mask
from network.datasets.info import VAIHINGEN
from network.datasets.on_earth import find, label_raster
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.label_raster import CELL, without_borders
from network.datasets.schema import MaskCoding
from network.datasets.segmentation import check_samples, find_samples
from network.datasets.synthetic.town import make_scene
from network.errors import InputError
from tests.conftest import ROOT
from tests.datasets.on_earth.scenes import (
    box,
    by_class,
    dataset,
    write_features,
    write_regions,
    write_scene,
)
from tests.rasters.earth import ORIGIN, blocks, write_labels
from tests.scenes import write_bands

HEIGHT, WIDTH = 90, 120
EAST = ORIGIN @ Affine.translation(WIDTH, 0)


@pytest.fixture
def truth() -> np.ndarray:
    labels = blocks(0, HEIGHT, WIDTH, 8)
    labels[:10, :20] = 255
    return labels


def drawn(root: Path, **scenes) -> np.ndarray:
    """The labels of the only scene."""
    info = dataset(train={"images": ("*.tif",), **scenes})
    (sample,) = find_samples(info, root, "train")
    (mask,) = sample.masks.values()
    labels = read_mask(mask, info)
    assert sample.size == labels.shape
    return labels


def refused(root: Path, words: str, **scenes) -> None:
    with pytest.raises(InputError, match=words):
        drawn(root, **scenes)


@pytest.mark.parametrize("name", ["labels.gpkg", "labels.geojson", "labels.shp", "labels.fgb"])
def test_polygons(tmp_path, truth, name):
    write_scene(tmp_path / "a.tif", truth)
    write_regions(tmp_path / name, truth, crs="EPSG:4326" if "geojson" in name else "EPSG:32632")
    labels = drawn(tmp_path, labels=(by_class(name),))
    wrong = labels != truth
    # Longitude and latitude in a text are rounded, which moves borders by less than a pixel.
    assert not wrong.any() or (name == "labels.geojson" and wrong.mean() < 0.02)


def test_polygons_of_another_system(tmp_path, truth):
    write_scene(tmp_path / "a.tif", truth)
    write_regions(tmp_path / "labels.gpkg", truth, crs="EPSG:3035")
    labels = drawn(tmp_path, labels=(by_class(),))
    inner = maximum_filter(truth, 3) == minimum_filter(truth, 3)
    np.testing.assert_array_equal(labels[inner], truth[inner])


def test_rasters(tmp_path, truth):
    """Labels on another grid, of which each pixel gets the nearest."""
    write_scene(tmp_path / "a.tif", truth)
    fine = np.kron(truth, np.ones((2, 2), np.uint8))
    (tmp_path / "masks").mkdir()
    write_labels(tmp_path / "masks/b.tif", fine, transform=ORIGIN @ Affine.scale(0.5))
    np.testing.assert_array_equal(
        drawn(tmp_path, labels=(LabelFile(path=Path("masks/b.tif")),)), truth
    )
    values = {"0": "field", "1": "ignore", "2": "road"}
    labels = drawn(tmp_path, labels=(LabelFile(path=Path("masks/*.tif"), values=values),))
    np.testing.assert_array_equal(labels, np.array([2, 255, 0, *[255] * 253], np.uint8)[truth])


@pytest.mark.parametrize("coding", [{"values": (0, 128, 255)}, {"color_tables": "colors"}])
def test_scenes_say_the_meaning_of_values_by_their_files(coding):
    info = dataset(train={"images": ("*.tif",), "labels": (by_class(),)})
    with pytest.raises(ValueError, match=r"which scenes do not heed; .* by LabelFile"):
        replace(info, mask_coding=MaskCoding(**coding))


def test_what_no_polygon_covers(tmp_path, truth):
    write_scene(tmp_path / "a.tif", truth)
    write_regions(tmp_path / "labels.gpkg", np.where(truth == 1, truth, 255).astype(np.uint8))
    labels = drawn(tmp_path, labels=(by_class(background="field"),))
    np.testing.assert_array_equal(labels, np.where(truth == 1, 1, 2))
    ignored = by_class(background="field", values={"house": "ignore"})
    labels = drawn(tmp_path, labels=(ignored,))
    np.testing.assert_array_equal(labels, np.where(truth == 1, 255, 2))


def test_overlapping_polygons(tmp_path):
    write_scene(tmp_path / "a.tif", np.zeros((20, 20), np.uint8))
    shapes = [box(slice(0, 12), slice(0, 12)), box(slice(8, 20), slice(8, 20))]
    write_features(tmp_path / "labels.gpkg", shapes, **{"class": ["house", "road"]})
    expected = np.full((20, 20), 255, np.uint8)
    expected[:12, :12], expected[8:, 8:] = 1, 0
    np.testing.assert_array_equal(drawn(tmp_path, labels=(by_class(),)), expected)
    expected[:12, :12] = 1
    ordered = by_class(order=("road", "house"))
    np.testing.assert_array_equal(drawn(tmp_path, labels=(ordered,)), expected)
    refused(tmp_path, "order=hut: no such class", labels=(by_class(order=("hut",)),))


def test_touched_pixels(tmp_path):
    write_scene(tmp_path / "a.tif", np.zeros((20, 20), np.uint8))
    shape = box(slice(5, 10), slice(5, 10)).buffer(0.1, join_style="mitre")  # a fifth of a pixel
    write_features(tmp_path / "labels.gpkg", [shape], **{"class": ["house"]})
    assert (drawn(tmp_path, labels=(by_class(),)) == 1).sum() == 25
    assert (drawn(tmp_path, labels=(by_class(all_touched=True),)) == 1).sum() == 49


def test_several_files(tmp_path, truth):
    """All that touch an image; the file of its name if there is one."""
    write_scene(tmp_path / "west.tif", truth)
    write_scene(tmp_path / "east.tif", truth, EAST)
    write_regions(tmp_path / "polygons/1.gpkg", truth)
    write_regions(tmp_path / "polygons/2.gpkg", truth[:, ::-1].copy(), EAST)
    info = dataset(train={"images": ("*.tif",), "labels": (by_class("polygons/*.gpkg"),)})
    for by_name in (False, True):
        east, west = find_samples(info, tmp_path, "train")
        labels = [read_mask(sample.masks["full"], info) for sample in (west, east)]
        np.testing.assert_array_equal(labels[0], truth)
        np.testing.assert_array_equal(labels[1], truth[:, ::-1])
        if not by_name:
            (tmp_path / "polygons/1.gpkg").rename(tmp_path / "polygons/west.gpkg")
            (tmp_path / "polygons/2.gpkg").rename(tmp_path / "polygons/east.gpkg")


def test_areas(tmp_path, truth):
    """An image may be in two splits; other images are in none."""
    write_scene(tmp_path / "a.tif", truth)
    write_scene(tmp_path / "b.tif", truth, EAST)
    write_regions(tmp_path / "labels.gpkg", truth)
    parts = [box(slice(0, 90), slice(0, 70)), box(slice(20, 80), slice(80, 110))]
    write_features(tmp_path / "areas.gpkg", parts, split=["train", "val"])
    area = {"path": Path("areas.gpkg"), "attribute": "split"}
    for split, rows, columns in (
        ("train", slice(0, 90), slice(0, 70)),
        ("val", slice(20, 80), slice(80, 110)),
    ):
        labels = drawn(tmp_path, labels=(by_class(),), areas=AreaFile(**area, only=(split,)))
        expected = np.full_like(truth, 255)
        expected[rows, columns] = truth[rows, columns]
        np.testing.assert_array_equal(labels, expected)
    areas = AreaFile(**area, only=("vall",))
    refused(
        tmp_path, "no area 'vall' in 'split'; did you mean 'val'", labels=(by_class(),), areas=areas
    )


def test_pixels_without_data_are_ignored(tmp_path, truth):
    write_regions(tmp_path / "labels.gpkg", truth)
    for options, value in (({"nodata": 10}, None), ({"photometric": "RGB", "alpha": "yes"}, 0)):
        image = np.stack([truth * 80 + 10] * 3, axis=2).astype(np.uint8)
        expected = truth.copy()
        if value is None:
            expected[truth == 0] = 255
        else:
            opaque = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
            opaque[30:40] = 0
            expected[30:40] = 255
            image = np.concatenate([image, opaque], axis=2)
        place = {"crs": "EPSG:32632", "transform": ORIGIN}
        write_bands(tmp_path / "a.tif", image, **place, **options)
        np.testing.assert_array_equal(drawn(tmp_path, labels=(by_class(),)), expected)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), width=st.integers(1, 4))
def test_borders_of_classes(seed, width):
    """A pixel is kept if no other class is in the disk around it."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.choice([0, 1, 2, 255], (5, 6)), np.ones((5, 7), int)).astype(np.uint8)
    found = without_borders(labels, width, 255)
    across = np.arange(-width, width + 1)
    disk = across[:, None] ** 2 + across**2 <= width**2
    for row, column in rng.integers(0, labels.shape, (40, 2)):
        near = [
            labels[row + down, column + right]
            for down in across
            for right in across
            if disk[down + width, right + width]
            and 0 <= row + down < labels.shape[0]
            and 0 <= column + right < labels.shape[1]
        ]
        is_border = len(set(near) - {255}) > 1
        assert found[row, column] == (255 if is_border else labels[row, column])


def test_strips_make_no_seam(tmp_path, monkeypatch, truth):
    write_scene(tmp_path / "a.tif", truth)
    write_regions(tmp_path / "labels.gpkg", truth)
    labels = drawn(tmp_path, labels=(by_class(),), border=2)
    np.testing.assert_array_equal(labels, without_borders(truth, 2, 255))
    monkeypatch.setattr(label_raster, "_STRIP", 16)
    monkeypatch.setattr(label_raster, "CELL", 16)
    monkeypatch.setattr(label_raster, "_VERSION", 0)
    np.testing.assert_array_equal(drawn(tmp_path, labels=(by_class(),), border=2), labels)


@pytest.mark.parametrize("size", [(300, 520), (CELL, 2 * CELL), (1, 1)])
def test_counts(tmp_path, size):
    labels = blocks(3, *size)
    write_scene(tmp_path / "a.tif", labels)
    write_regions(tmp_path / "labels.gpkg", labels)
    info = dataset(train={"images": ("a.tif",), "labels": (by_class(),)})
    (sample,) = find_samples(info, tmp_path, "train")
    assert sample.scene.resolution == 0.5
    cells = sample.scene.labels.cells
    for row, column in np.ndindex(cells.shape[:2]):
        inside = labels[CELL * row : CELL * (row + 1), CELL * column : CELL * (column + 1)]
        np.testing.assert_array_equal(cells[row, column], np.bincount(inside.ravel(), minlength=3))
    found = check_samples([sample], info, "train")
    assert found.pixels["full"] == tuple(np.bincount(labels.ravel(), minlength=3).tolist())


def test_drawn_labels_are_no_images(tmp_path, truth):
    write_scene(tmp_path / "a/a.tif", truth)
    write_regions(tmp_path / "labels.gpkg", truth)
    for _ in range(2):
        labels = drawn(tmp_path, images=("**/*.tif",), labels=(by_class(),))
        np.testing.assert_array_equal(labels, truth)


def test_archives(tmp_path, truth):
    """An image in a ZIP file is named by a VRT, as the error says."""
    write_scene(tmp_path / "a.tif", truth)
    write_regions(tmp_path / "labels.gpkg", truth)
    with ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "b.tif")
    image = f"/vsizip/{tmp_path}/images.zip/b.tif"
    refused(tmp_path, "gdal_translate -of VRT", images=(image,), labels=(by_class(),))
    rasterio.shutil.copy(image, tmp_path / "b.vrt", driver="VRT")
    np.testing.assert_array_equal(drawn(tmp_path, images=("b.vrt",), labels=(by_class(),)), truth)


@pytest.mark.parametrize("name", ["田野 [2024]", "a*b"])
def test_names(tmp_path, truth, name):
    """Brackets of a folder are no pattern, and names may have any letters."""
    root = tmp_path / name
    write_scene(root / "影像.tif", truth)
    write_regions(root / "标注.gpkg", truth)
    labels = drawn(root, labels=(by_class("*.gpkg"),))
    np.testing.assert_array_equal(labels, truth)


def test_data_that_are_read_only(tmp_path, truth, monkeypatch):
    """As on a cluster: the labels go into the user's caches, and are drawn once."""
    root = tmp_path / "data"
    write_scene(root / "a.tif", truth)
    write_regions(root / "labels.gpkg", truth)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    mount = ["mount", "--bind", "-o", "ro", str(root), str(root)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no folder can be made read-only here")
    try:
        for _ in range(2):
            np.testing.assert_array_equal(drawn(root, labels=(by_class(),)), truth)
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
    assert len(list((tmp_path / "caches/bicor-seg").glob("data-*/a-*.tif"))) == 1
    assert not (root / find.CACHE).exists()


def test_drawn_once(tmp_path, truth, capfd):
    write_scene(tmp_path / "a.tif", truth)
    write_regions(tmp_path / "labels.gpkg", truth)
    expected = drawn(tmp_path, labels=(by_class(),))
    (raster,) = (tmp_path / find.CACHE).glob("*.tif")
    (counts,) = (tmp_path / find.CACHE).glob("*.npz")
    first = raster.stat().st_mtime_ns
    drawn(tmp_path, labels=(by_class(),))
    assert raster.stat().st_mtime_ns == first
    for file in (raster, counts):  # damaged: drawn again
        file.write_bytes(file.read_bytes()[:-30])
        np.testing.assert_array_equal(drawn(tmp_path, labels=(by_class(),)), expected)
    for change in ("labels", "image", "settings"):
        before = set((tmp_path / find.CACHE).iterdir())
        if change == "labels":
            write_regions(tmp_path / "labels.gpkg", truth[::-1].copy())
        elif change == "image":
            os.utime(tmp_path / "a.tif", ns=(1, 1))
        options = {"background": "road"} if change == "settings" else {}
        drawn(tmp_path, labels=(by_class(**options),))
        assert len(set((tmp_path / find.CACHE).iterdir()) - before) == 2


def test_the_demo_data(tmp_path):
    """Polygons of the demo data give the masks that they were made from."""
    output = tmp_path / "demo"
    words = ["--georeferenced", "--output", str(output), "--size", "192", "160"]
    counts = [f"--scenes-{split}=1" for split in ("train", "val", "test")]
    make_demo_data(make_parser("").parse_args([*words, *counts]))
    experiment = load_experiment(ROOT / "config/demo/scenes.py", [f"data.root={output}"])
    for number, split in enumerate(("train", "val", "test")):
        (sample,) = find_samples(experiment.dataset, output, split)
        _, truth = make_scene(number * 1_000_000, 192, 160)
        np.testing.assert_array_equal(read_mask(sample.masks["full"], VAIHINGEN), truth)
        with rasterio.open(sample.image) as file:
            assert file.crs == "EPSG:32632"
    counts = ["--scenes-train=2", "--scenes-val=0", "--scenes-test=0"]
    make_demo_data(make_parser("").parse_args([*words, *counts]))
    made = {path.name for path in output.iterdir() if path.name != "made_by_make_demo_data.txt"}
    assert made == {"images", "labels.gpkg"}  # there are no areas to tell apart


def test_what_does_not_fit(tmp_path, truth):
    write_scene(tmp_path / "a.tif", truth)
    write_regions(tmp_path / "labels.gpkg", truth)
    labels = (by_class(),)
    refused(tmp_path, "b.tif: no such file", images=("b.tif",), labels=labels)
    refused(tmp_path, r"c\*.tif: matches no file", images=("c*.tif",), labels=labels)
    refused(tmp_path, "no.gpkg: no such file", labels=(by_class("no.gpkg"),))
    wrong = LabelFile(path=Path("labels.gpkg"), attribute="klass")
    refused(tmp_path, "no attribute 'klass'; did you mean 'class'", labels=(wrong,))
    write_features(
        tmp_path / "odd.gpkg",
        [box(slice(0, 9), slice(0, 9)), box(slice(20, 30), slice(0, 9))],
        **{"class": ["hut", "house"]},
    )
    unknown = r"values without a class, with the number of their features: 'hut' \(1\)"
    refused(tmp_path, unknown, labels=(by_class("odd.gpkg"),))
    refused(tmp_path, "has no band 7", labels=labels, bands=(1, 2, 7))
    refused(tmp_path, "2 bands", labels=labels, bands=(1, 2))


def test_labels_elsewhere(tmp_path, truth):
    write_scene(tmp_path / "a.tif", truth)
    far = ORIGIN @ Affine.translation(0, -40_200)  # 20 km to the north
    write_regions(tmp_path / "labels.gpkg", truth, far)
    refused(
        tmp_path,
        "no labels touch any of its 1 images; labels.gpkg is 20 km away",
        labels=(by_class(),),
    )


def test_images_without_labels_are_left_out(tmp_path, truth, capfd):
    write_scene(tmp_path / "a.tif", truth)
    write_scene(tmp_path / "b.tif", truth, EAST)
    write_regions(tmp_path / "labels.gpkg", truth)
    drawn(tmp_path, labels=(by_class(),))
    assert "1 of 2 images have no labels, left out: b.tif" in capfd.readouterr().err


def test_mixed_resolutions(tmp_path, truth, capfd):
    write_scene(tmp_path / "a.tif", truth)
    write_scene(tmp_path / "b.tif", truth, EAST @ Affine.scale(2))
    write_regions(tmp_path / "labels.gpkg", truth)
    info = dataset(train={"images": ("*.tif",), "labels": (by_class(background="road"),)})
    assert len(find_samples(info, tmp_path, "train")) == 2
    assert "pixels of 0.5 m and" in capfd.readouterr().err


def test_an_image_that_two_patterns_match_counts_once(tmp_path, truth):
    write_scene(tmp_path / "a.tif", truth)
    write_regions(tmp_path / "labels.gpkg", truth)
    info = dataset(train={"images": ("a.tif", "*.tif"), "labels": (by_class(),)})
    assert len(find_samples(info, tmp_path, "train")) == 1


def test_images_that_are_left_out(tmp_path, truth):
    for name in ("a", "b", "c"):
        write_scene(tmp_path / f"{name}.tif", truth)
    write_regions(tmp_path / "labels.gpkg", truth)
    scenes = {"images": ("*.tif",), "labels": (by_class(),)}
    info = dataset(
        train={**scenes, "leave_out": ("a.tif", "[c].tif")}, val={**scenes, "leave_out": ("*",)}
    )
    assert [sample.name for sample in find_samples(info, tmp_path, "train")] == ["b"]
    with pytest.raises(InputError, match="leaves out all images"):
        find_samples(info, tmp_path, "val")


@pytest.mark.parametrize("paths", [("labels/*.gpkg",), ("labels/a.gpkg", "labels/b.gpkg")])
def test_images_of_two_dates(tmp_path, truth, paths):
    """Each has its own labels, also if it alone is in a split; a third image has none."""
    other = np.roll(truth, 40, axis=1)
    for name, labels in (("a", truth), ("b", other), ("c", truth)):
        write_scene(tmp_path / f"{name}.tif", truth)
        if name != "c":
            write_regions(tmp_path / f"labels/{name}.gpkg", labels)
    files = tuple(by_class(path, background="field") for path in paths[:1])
    files += tuple(by_class(path) for path in paths[1:])
    scenes = {"labels": files}
    info = dataset(
        train={"images": ("a.tif", "c.tif"), **scenes}, val={"images": ("b.tif",), **scenes}
    )
    for split, expected in (("train", truth), ("val", other)):
        (sample,) = find_samples(info, tmp_path, split)
        labels = read_mask(sample.masks["full"], info)
        is_known = expected != 255
        np.testing.assert_array_equal(labels[is_known], expected[is_known])


def test_one_file_with_the_name_of_an_image_may_be_for_all(tmp_path, truth):
    write_scene(tmp_path / "a.tif", truth)
    write_scene(tmp_path / "b.tif", truth, EAST)
    both = np.concatenate([truth, truth], axis=1)
    write_regions(tmp_path / "a.gpkg", both)
    info = dataset(train={"images": ("*.tif",), "labels": (by_class("a.gpkg"),)})
    for sample in find_samples(info, tmp_path, "train"):
        np.testing.assert_array_equal(read_mask(sample.masks["full"], info), truth)


def test_a_file_without_features(tmp_path, truth):
    """The image has no objects: all of it is the background."""
    write_scene(tmp_path / "a.tif", truth)
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    labels = drawn(tmp_path, labels=(by_class("*.geojson", background="road"),))
    assert (labels == dataset(train={"images": ()}).classes.index("road")).all()


def test_drawn_labels_belong_to_one_place(tmp_path, truth):
    """Images of one name, size and time, as tiles of an archive may have them."""
    write_regions(tmp_path / "labels.gpkg", truth)
    write_regions(tmp_path / "east.gpkg", truth[::-1], EAST)
    files = (by_class("labels.gpkg"), by_class("east.gpkg"))
    for folder, place, expected in (("one", ORIGIN, truth), ("two", EAST, truth[::-1])):
        path = tmp_path / folder / "a.tif"
        write_scene(path, truth, place)
        os.utime(path, ns=(10**18, 10**18))
        info = dataset(train={"images": (f"{folder}/a.tif",), "labels": files})
        (sample,) = find_samples(info, tmp_path, "train")
        np.testing.assert_array_equal(read_mask(sample.masks["full"], info), expected)


def test_the_background_of_files_that_an_image_lacks(tmp_path, truth):
    """It has no roads, so there is no file of them; all but its houses is the background."""
    for name in ("a", "b", "c"):
        write_scene(tmp_path / f"{name}.tif", truth)
    corner = [box(slice(0, 10), slice(0, 10))]
    for name in ("roads/a", "roads/b", "houses/a", "houses/b", "houses/c"):
        write_features(tmp_path / f"{name}.gpkg", corner)
    files = (
        LabelFile(path="roads/*.gpkg", all_are="road", background="field"),
        LabelFile(path="houses/*.gpkg", all_are="house"),
    )
    info = dataset(train={"images": ("*.tif",), "labels": files})
    for sample in find_samples(info, tmp_path, "train"):
        labels = read_mask(sample.masks["full"], info)
        expected = np.full_like(truth, info.classes.index("field"))
        expected[:10, :10] = info.classes.index("house")
        np.testing.assert_array_equal(labels, expected)
