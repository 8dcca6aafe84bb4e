"""Corrections: polygons over other labels, which weigh more, and which may not be there yet."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from network.config import Experiment
from network.datasets.loaders import EpochSampler, make_loader
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.scene_windows import SceneWindows, count_windows, weights_digest
from network.datasets.segmentation import check_samples, find_samples
from network.datasets.transforms import TrainTransform
from network.errors import InputError
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.settings import Data
from network.training.data import SegmentationData
from tests.datasets.on_earth.scenes import (
    box,
    by_class,
    dataset,
    write_features,
    write_regions,
    write_scene,
)
from tests.rasters.earth import blocks

PLAIN = Data(crop=32, scales=(1.0,), mosaic=0, rotate=0, flip=0, max_class_share=1.0)
HEIGHT, WIDTH = 300, 400


def corrected(weight: float = 1.0, **scenes):
    """A data set with labels, and with corrections over them."""
    labels = (by_class(), by_class("corrections.gpkg", weight=weight, optional=True))
    return dataset(train={"images": ("*.tif",), "labels": labels, **scenes})


def windows_of(root: Path, info, side: int = 32, **options) -> SceneWindows:
    samples = find_samples(info, root, "train")
    return SceneWindows(samples, info, TrainTransform(PLAIN, 255), side, **options)


def middles(windows: SceneWindows, count: int) -> list[tuple[int, int]]:
    """Rows and columns of the middles of windows."""
    found = []
    for index in range(count):
        _, middle, _ = windows._draw_middle(np.random.default_rng([7, index]))
        found.append(middle)
    return found


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.fixture
def truth(tmp_path) -> np.ndarray:
    """Labels of a scene, whose lower rows have none."""
    labels = blocks(0, HEIGHT, WIDTH, 20)
    labels[200:] = 255
    write_scene(tmp_path / "a.tif", labels)
    write_regions(tmp_path / "labels.gpkg", labels)
    return labels


def write_corrections(root: Path) -> np.ndarray:
    """One over the labels, one where there are none; the pixels of both."""
    places = np.zeros((HEIGHT, WIDTH), bool)
    shapes = [slice(40, 70), slice(100, 140)], [slice(250, 270), slice(300, 360)]
    for rows, columns in shapes:
        places[rows, columns] = True
    write_features(
        root / "corrections.gpkg", [box(*s) for s in shapes], **{"class": ["house", "road"]}
    )
    return places


def test_they_are_drawn_over_the_labels(tmp_path, truth):
    """And also where there were none. Without them, the first labels count."""
    (before,) = find_samples(corrected(), tmp_path, "train")
    np.testing.assert_array_equal(read(before.masks["full"]), truth)
    places = write_corrections(tmp_path)
    (sample,) = find_samples(corrected(5), tmp_path, "train")
    labels = sample.scene.labels
    expected = truth.copy()
    expected[40:70, 100:140], expected[250:270, 300:360] = 1, 0
    np.testing.assert_array_equal(read(labels.path), expected)
    origins = np.where(places, 1, np.where(truth == 255, 255, 0))
    np.testing.assert_array_equal(read(labels.origins.path), origins)
    assert labels.origins.cells.shape == (2, 2, 2, 3)
    for number in (0, 1):
        for row, column in np.ndindex(2, 2):
            cell = slice(256 * row, 256 * row + 256), slice(256 * column, 256 * column + 256)
            own = expected[cell][origins[cell] == number]
            counted = labels.origins.cells[number, row, column]
            assert counted.tolist() == np.bincount(own, minlength=3).tolist()
    np.testing.assert_array_equal(labels.cells, labels.origins.cells.sum(axis=0))


def test_a_correction_may_remove_a_label(tmp_path, truth):
    write_features(
        tmp_path / "corrections.gpkg", [box(slice(0, 50), slice(0, 50))], **{"class": ["nobody"]}
    )
    files = by_class(), by_class("corrections.gpkg", values={"nobody": "ignore"}, weight=3)
    info = dataset(train={"images": ("*.tif",), "labels": files})
    (sample,) = find_samples(info, tmp_path, "train")
    expected = truth.copy()
    expected[:50, :50] = 255
    np.testing.assert_array_equal(read(sample.masks["full"]), expected)
    assert sample.scene.labels.origins.cells[1].sum() == 0
    assert {row < 200 for row, _ in middles(windows_of(tmp_path, info), 20)} == {True}


@pytest.mark.parametrize("border", [0, 2])
def test_they_stay_in_the_areas_of_the_split(tmp_path, truth, border):
    write_corrections(tmp_path)
    write_features(tmp_path / "areas.gpkg", [box(slice(0, 260), slice(0, 330))])
    info = corrected(5, areas=AreaFile(path=Path("areas.gpkg")), border=border)
    (sample,) = find_samples(info, tmp_path, "train")
    origins = read(sample.scene.labels.origins.path)
    labels = read(next(iter(sample.masks.values())))
    np.testing.assert_array_equal(origins == 255, labels == 255)
    assert (origins[260:] == 255).all()
    assert (origins[:, 330:] == 255).all()
    assert (origins[252:258, 302:328] == 1).all()


@pytest.mark.parametrize("weight", [0.5, 5, 40])
def test_their_pixels_are_drawn_more_often(tmp_path, truth, weight):
    """By chance, within four deviations."""
    places = write_corrections(tmp_path)
    windows = windows_of(tmp_path, corrected(weight))
    others = (truth != 255) & ~places
    heavy = weight * places.sum()
    share = heavy / (heavy + others.sum())
    found = middles(windows, 800)
    assert all(places[middle] or others[middle] for middle in found)
    drawn = np.mean([places[middle] for middle in found])
    assert abs(drawn - share) < 4 * np.sqrt(share * (1 - share) / len(found))
    # Within the corrections, all pixels are equal: 1200 in one, 1200 in the other.
    upper = [middle[0] < 200 for middle in found if places[middle]]
    if len(upper) > 100:
        assert abs(np.mean(upper) - 0.5) < 2 / np.sqrt(len(upper))


def test_rare_classes_keep_their_share(tmp_path, truth):
    """A class is drawn first; then the weight counts among its pixels."""
    places = write_corrections(tmp_path)
    windows = windows_of(tmp_path, corrected(30), rare=1.0)
    (sample,) = windows.samples
    labels = read(sample.masks["full"])
    found = middles(windows, 600)
    counts = Counter(int(labels[middle]) for middle in found)
    assert all(150 < counts[label] < 250 for label in range(3))
    houses = [places[middle] for middle in found if labels[middle] == 1]
    own = 30 * (places & (labels == 1)).sum()
    share = own / (own + (~places & (labels == 1)).sum())
    assert abs(np.mean(houses) - share) < 4 * np.sqrt(share * (1 - share) / len(houses))


def test_the_number_of_windows_is_that_of_the_area(tmp_path, truth):
    places = write_corrections(tmp_path)
    samples = find_samples(corrected(40), tmp_path, "train")
    area = ((truth != 255) | places).sum()
    assert count_windows(samples, 32) == -(-area // 32**2)


def test_equal_weights_draw_as_ever(tmp_path, truth):
    """Bit for bit as without weights, so older trainings go on."""
    write_corrections(tmp_path)
    files = by_class(weight=5), by_class("corrections.gpkg", weight=5)
    info = dataset(train={"images": ("*.tif",), "labels": files})
    windows, plain = windows_of(tmp_path, info), windows_of(tmp_path, corrected())
    assert windows.samples[0].scene.labels.origins is None
    assert middles(windows, 20) == middles(plain, 20)
    assert weights_digest(plain.samples) is None


def test_any_number_of_workers(tmp_path, truth):
    write_corrections(tmp_path)
    batches = []
    for workers in (0, 2):
        windows = windows_of(tmp_path, corrected(5))
        sampler = EpochSampler(12, 1)
        loader = make_loader(windows, batch_size=4, sampler=sampler, num_workers=workers)
        batches.append([batch["labels"] for batch in loader])
    assert all(torch.equal(one, other) for one, other in zip(*batches, strict=True))


def test_another_weight_draws_no_labels_again(tmp_path, truth):
    """But it is another training, and corrections of another time are drawn."""
    write_corrections(tmp_path)
    digests = []
    for weight in (5, 6):
        samples = find_samples(corrected(weight), tmp_path, "train")
        digests.append(weights_digest(samples))
        assert len(list((tmp_path / "label_cache").glob("*.npz"))) == 1
    assert len(set(digests)) == 2
    find_samples(corrected(), tmp_path, "train")
    assert len(list((tmp_path / "label_cache").glob("*.npz"))) == 2
    shape = box(slice(0, 9), slice(0, 9))
    write_features(tmp_path / "corrections.gpkg", [shape], **{"class": ["road"]})
    (sample,) = find_samples(corrected(6), tmp_path, "train")
    assert (read(sample.scene.labels.origins.path) == 1).sum() == 81
    # A damaged file is drawn again.
    sample.scene.labels.origins.path.write_bytes(b"")
    (sample,) = find_samples(corrected(6), tmp_path, "train")
    assert (read(sample.scene.labels.origins.path) == 1).sum() == 81


def test_a_resumed_training_needs_the_same_weights(tmp_path, truth):
    """Since the digest of its labels differs, as for other labels."""
    write_corrections(tmp_path)
    digests = []
    for weight in (1, 1, 5, 6):
        info = corrected(weight)
        experiment = Experiment(
            dataset=info,
            model=partial(BiCoRSeg, 3, "test_convnext", weights=None, dim=32),
            loss=partial(BiCoRLoss, 255),
            data=replace(PLAIN, root=str(tmp_path), window=32, val=None, test="train"),
        )
        digests.append(SegmentationData(experiment).train_digests["full"])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    (sample,) = find_samples(corrected(), tmp_path, "train")
    assert digests[0] == check_samples([sample], corrected(), "train").digests["full"]


def test_a_layer_without_any_polygon(tmp_path, truth):
    """As the tool makes it for a start."""
    empty = geopandas.GeoDataFrame({"class": []}, geometry=[], crs="EPSG:32632")
    empty.to_file(tmp_path / "corrections.gpkg", geometry_type="Polygon")
    (sample,) = find_samples(corrected(5), tmp_path, "train")
    np.testing.assert_array_equal(read(sample.masks["full"]), truth)
    assert {places[0] < 200 for places in middles(windows_of(tmp_path, corrected(5)), 20)} == {True}


def test_wrong_descriptions(tmp_path, truth):
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a number above 0"):
            LabelFile(path=Path("a.gpkg"), weight=weight)
    files = by_class("no.gpkg", optional=True), by_class("no*.gpkg", optional=True)
    info = dataset(train={"images": ("*.tif",), "labels": files})
    with pytest.raises(InputError, match="no such file; all files of labels are missing"):
        find_samples(info, tmp_path, "train")
    info = dataset(train={"images": ("*.tif",), "labels": (by_class(), by_class("no.gpkg"))})
    with pytest.raises(InputError, match=r"no\.gpkg: no such file"):
        find_samples(info, tmp_path, "train")


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(
    weights=st.lists(st.sampled_from([0.5, 1, 2, 7]), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
def test_files_of_any_weights(tmp_path_factory, weights, seed):
    """Each label has the origin of the last file that covers it, whatever is where."""
    root = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(seed)
    write_scene(root / "a.tif", np.zeros((60, 70), np.uint8))
    expected, origins = np.full((60, 70), 255), np.full((60, 70), 255)
    for number in range(3):
        row, column = rng.integers(0, 50, 2)
        place = slice(row, row + 8), slice(column, column + 12)
        shapes, names = [box(*place)], [("road", "house", "field")[number]]
        write_features(root / f"{number}.gpkg", shapes, **{"class": names})
        expected[place], origins[place] = number, number
    files = tuple(by_class(f"{n}.gpkg", weight=weight) for n, weight in enumerate(weights))
    info = dataset(train={"images": ("*.tif",), "labels": files})
    (sample,) = find_samples(info, root, "train")
    np.testing.assert_array_equal(read(sample.masks["full"]), expected)
    found = sample.scene.labels.origins
    assert (found is None) == (len(set(weights)) == 1)
    if found is None:
        return
    np.testing.assert_array_equal(read(found.path), origins)
    windows = windows_of(root, replace(info), side=16)
    shares = np.array([weights[n] * (origins == n).sum() for n in range(3)])
    counts = np.bincount([origins[m] for m in middles(windows, 300)], minlength=3)
    deviation = np.sqrt(300 * shares / shares.sum() * (1 - shares / shares.sum()))
    assert (np.abs(counts - 300 * shares / shares.sum()) <= 4.5 * deviation + 1e-9).all()
