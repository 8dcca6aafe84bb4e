"""Splits of scenes share no ground, use every labeled block, and lie apart, pixel by pixel."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.find import Scene, find_scenes
from network.datasets.on_earth.scenes import Scenes
from network.datasets.on_earth.split import (
    Division,
    all_scenes,
    fold_scenes,
    split_scenes,
    unlabeled_scenes,
    write_division,
)
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.reporting.split_picture import write_split_picture
from tests.datasets.on_earth.scenes import dataset, write_scene
from tests.rasters.earth import CLASSES, ORIGIN, PALETTE, UTM, blocks, write_labels

LABELS = LabelFile(path=Path("labels/*.tif"))


def write(root: Path, name: str, labels: np.ndarray, place: Affine = ORIGIN, crs: CRS = UTM):
    """An image and its labels as a raster."""
    write_scene(root / f"images/{name}.tif", labels, place, crs=crs)
    write_labels(root / f"labels/{name}.tif", labels, transform=place, crs=crs)


def fields(path: str = "areas.gpkg", layer: str | None = None) -> DatasetInfo:
    """A data set whose splits are areas of the same images."""
    area = AreaFile(path=Path(path), attribute="split", layer=layer)
    scenes = {"images": ("images/*.tif",), "labels": (LABELS,)}
    return dataset(
        **{
            split: {**scenes, "areas": replace(area, only=(split,))}
            for split in ("train", "val", "test")
        }
    )


def squares_of(
    root: Path, info: DatasetInfo, split: str, crs: CRS = UTM
) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 4, 2) of the labeled pixels of a split, in meters, and their labels (n,)."""
    corners, values = [np.zeros((0, 4, 2))], [np.zeros(0, np.uint8)]
    for scene in find_scenes(info, root, info.scenes(split)[0]):
        assert scene.labels is not None
        with rasterio.open(scene.labels.path) as file:
            labels, place, own = file.read(1), file.transform, file.crs
        rows, columns = np.nonzero(labels != 255)
        across = columns[:, None] + [0, 0, 1, 1]
        down = rows[:, None] + [0, 1, 1, 0]
        x, y = place @ (across.astype(float), down.astype(float))
        if own != crs:
            x, y = pyproj.Transformer.from_crs(own, crs, always_xy=True).transform(x, y)
        corners.append(np.stack([x, y], axis=2))
        values.append(labels[rows, columns])
    return np.concatenate(corners), np.concatenate(values)


def apart(ones: np.ndarray, others: np.ndarray) -> float:
    """The smallest distance between pixels, by their corners (n, 4, 2)."""
    tree = shapely.STRtree(shapely.polygons(others))
    _, meters = tree.query_nearest(shapely.polygons(ones), return_distance=True, all_matches=False)
    return float(meters.min())


def files_of(division: Division, folder: Path) -> bytes:
    write_division(division, folder / "areas.gpkg")
    return (folder / "areas.gpkg").read_bytes()


def scenes_of(root: Path, info: DatasetInfo | None = None) -> list[Scene]:
    return all_scenes(info or fields(), root)


@settings(max_examples=12, deadline=None)
@example(height=20, width=20, pixel=0.5, side=10.95, buffer=0.0, seed=0)  # borders at centers
@given(
    height=st.integers(20, 60),
    width=st.integers(20, 60),
    pixel=st.sampled_from([0.3, 0.5, 2.0]),
    side=st.floats(6, 20),
    buffer=st.floats(0, 3),
    seed=st.integers(0, 99),
)
def test_no_two_splits_are_closer_than_the_buffer(height, width, pixel, side, buffer, seed):
    """Side and buffer are in pixels here. Part of the image has no labels."""
    place = from_origin(500_000.1, 5_400_000.7, pixel, pixel)
    labels = blocks(seed, height, width)
    labels[: height // 4, : width // 3] = 255
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, "a", labels, place)
        options = {"block": side * pixel, "buffer": buffer * pixel, "seed": seed}
        try:
            division = split_scenes(scenes_of(root), **options)
        except InputError as error:
            assert "the guard bands leave no labeled pixel" in str(error)  # noqa: PT017
            return
        write_division(division, root / "areas.gpkg")
        info = fields()
        found = {split: squares_of(root, info, split) for split in info.splits}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert apart(found[one][0], found[other][0]) >= buffer * pixel - 1e-6
    every = np.concatenate([corners[:, 0] for corners, _ in found.values()])
    assert len(np.unique(every.round(3), axis=0)) == len(every)  # each pixel is in one split
    for part in division.parts:
        counts = np.bincount(found[part.name][1], minlength=3)
        assert counts.tolist() == part.counts.tolist()
    total = sum(part.counts + part.lost for part in division.parts)
    assert total.tolist() == [(labels == label).sum() for label in range(3)]
    if buffer == 0:
        assert len(every) == (labels != 255).sum()


def test_every_labeled_block_is_used_once(tmp_path):
    """The image has 10 x 10 blocks of 5 m, and 30 of them have no label."""
    labels = blocks(1, 100, 100)
    labels[:30] = 255
    write(tmp_path, "a", labels)
    division = split_scenes(scenes_of(tmp_path), block=5, buffer=0)
    write_division(division, tmp_path / "areas.gpkg")
    frame = geopandas.read_file(tmp_path / "areas.gpkg")
    assert frame.crs.to_epsg() == 32632
    assert sorted(frame["block"]) == list(range(70))
    assert set(frame["split"]) == {"train", "val", "test"}
    np.testing.assert_allclose(frame.area, 25)
    assert shapely.union_all(frame.geometry).equals(
        shapely.box(500_000, 5_400_000 - 50, 500_050, 5_400_000 - 15)
    )
    # Shares of the labeled pixels, of which each block has a hundred.
    assert [len(part.blocks) for part in division.parts] == pytest.approx([49, 10.5, 10.5], abs=1)


def test_shares_of_the_classes(tmp_path):
    write(tmp_path, "a", blocks(5, 240, 240))
    division = split_scenes(scenes_of(tmp_path), block=5, buffer=0, shares=(60, 20, 20))
    total = division.blocks.counts.sum(axis=0)
    for part, share in zip(division.parts, (0.6, 0.2, 0.2), strict=True):
        np.testing.assert_allclose(part.counts / total, share, atol=0.01)


def test_the_same_seed_gives_the_same_file(tmp_path):
    write(tmp_path, "a", blocks(2, 80, 80))
    scenes = scenes_of(tmp_path)
    one, same, other = (
        files_of(split_scenes(scenes, block=5, buffer=1, seed=seed), tmp_path) for seed in (4, 4, 5)
    )
    assert one == same
    assert one != other
    for folds in (3, 3):
        division = fold_scenes(scenes, block=5, buffer=1, folds=folds)
        assert files_of(division, tmp_path) == files_of(division, tmp_path)


def test_scenes_in_several_systems(tmp_path):
    """Two images in different systems overlap, and a third one lies beside them, in degrees."""
    other = CRS.from_epsg(32633)
    at = pyproj.Transformer.from_crs(UTM, other, always_xy=True).transform(500_020, 5_399_990)
    degrees = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True)
    west, north = degrees.transform(500_041, 5_400_000)
    write(tmp_path, "a", blocks(1, 80, 80))
    write(tmp_path, "b", blocks(2, 60, 60), from_origin(*at, 0.5, 0.5), other)
    step = 0.5 / 111_195
    write(tmp_path, "c", blocks(3, 60, 60), from_origin(west, north, 1.5 * step, step), "EPSG:4326")
    info = fields()
    division = split_scenes(scenes_of(tmp_path), block=6, buffer=1.5, seed=1)
    write_division(division, tmp_path / "areas.gpkg")
    assert division.blocks.plane.crs == UTM  # the zone of their middle
    assert division.blocks.counts.sum() == 80 * 80 + 2 * 60 * 60
    found = {split: squares_of(tmp_path, info, split)[0] for split in info.splits}
    for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
        assert 1.5 <= apart(found[one], found[two]) < 3
    # Most is used, also where images overlap: twice.
    assert sum(map(len, found.values())) > 0.5 * (80 * 80 + 2 * 60 * 60)


def test_folds(tmp_path):
    write(tmp_path, "a", blocks(3, 120, 120))
    division = fold_scenes(scenes_of(tmp_path), block=5, buffer=1, folds=4)
    write_division(division, tmp_path / "folds.gpkg")
    frame = geopandas.read_file(tmp_path / "folds.gpkg", layer="folds")
    assert sorted(frame["block"]) == list(range(144))
    assert np.bincount(frame["fold"]).tolist() == pytest.approx([36] * 4, abs=1)
    tested = []
    for fold in range(4):
        info = fields("folds.gpkg", f"fold_{fold}")
        found = {split: squares_of(tmp_path, info, split)[0] for split in info.splits}
        for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
            assert apart(found[one], found[two]) >= 1
        layer = geopandas.read_file(tmp_path / "folds.gpkg", layer=f"fold_{fold}")
        for split, number in (("test", fold), ("val", (fold + 1) % 4)):
            assert set(layer[layer["split"] == split]["block"]) <= set(
                frame[frame["fold"] == number]["block"]
            )
        tested.append(found["test"][:, 0])
    every = np.concatenate(tested)  # over all folds, each pixel is tested once
    assert len(every) == len(np.unique(every.round(3), axis=0)) == 120 * 120


def test_images_without_labels(tmp_path):
    write_scene(tmp_path / "a.tif", blocks(1, 100, 60))
    division = split_scenes(unlabeled_scenes([tmp_path / "a.tif"]), block=10, buffer=0)
    assert sum(part.area for part in division.parts) == pytest.approx(50 * 30)
    assert [part.counts[0] for part in division.parts] == [1100, 200, 200]


def test_projections_that_stretch_the_ground(tmp_path):
    """In Web Mercator, a meter at 49 degrees is 1.5 units; the blocks are meters."""
    place = from_origin(1_000_000, 6_200_000, 0.75, 0.75)
    write_scene(tmp_path / "a.tif", blocks(1, 100, 100), place, crs=CRS.from_epsg(3857))
    division = split_scenes(unlabeled_scenes([tmp_path / "a.tif"]), block=10, buffer=0)
    assert division.blocks.plane.crs == UTM
    side = 75 / np.cosh(6_200_000 / 6_378_137)
    assert sum(part.area for part in division.parts) == pytest.approx(side**2, rel=0.01)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"block": 0}, "block=0: expected a length in meters above 0"),
        ({"block": 0.6}, "block=0.6: has less than four pixels"),
        ({"block": 500}, "only 1 block of 500 m have labels"),
        ({"buffer": -1}, "buffer=-1: expected a length"),
        ({"buffer": float("nan")}, "buffer=nan: expected a length"),
        ({"buffer": 100}, "the guard bands leave no labeled pixel of train"),
        ({"shares": (1, 0, 0)}, "at least two splits need a share"),
        ({"shares": (1, 1, -1)}, "expected shares of train, val and test"),
    ],
)
def test_refused_values(tmp_path, options, problem):
    write(tmp_path, "a", blocks(1, 80, 80), from_origin(500_000, 5_400_000, 0.5, 0.5))
    with pytest.raises(InputError, match=problem):
        split_scenes(scenes_of(tmp_path), **{"block": 5, "buffer": 1, **options})


def test_scenes_that_are_too_far_apart(tmp_path):
    write(tmp_path, "a", blocks(1, 20, 20))
    write(tmp_path, "b", blocks(1, 20, 20), crs=CRS.from_epsg(32650))
    with pytest.raises(InputError, match="too far apart"):
        split_scenes(scenes_of(tmp_path), block=5, buffer=0)


def test_a_data_set_of_folders_has_no_scenes(tmp_path):
    from network.datasets.info import VAIHINGEN

    with pytest.raises(InputError, match="folders of images and masks"):
        all_scenes(VAIHINGEN, tmp_path)


def test_scenes_of_all_splits_count_once(tmp_path):
    write(tmp_path, "a", blocks(1, 20, 20))
    scenes = Scenes(images=("images/a.tif",), labels=(LABELS,))
    info = replace(fields(), splits={"train": (scenes,), "val": (replace(scenes, border=1),)})
    assert [scene.image.name for scene in all_scenes(info, tmp_path)] == ["a.tif"]


def test_the_picture(tmp_path):
    """Its map shows each split in its color, on as many pixels as its area is."""
    write(tmp_path, "a", blocks(3, 120, 120))
    division = split_scenes(scenes_of(tmp_path), block=10, buffer=3)
    write_split_picture(division, CLASSES, PALETTE, tmp_path / "areas.png", "fields")
    pixels = np.asarray(Image.open(tmp_path / "areas.png").convert("RGB")).reshape(-1, 3)
    counts = [
        (np.abs(pixels.astype(int) - color).max(axis=1) < 3).sum()
        for color in ((0x44, 0x77, 0xAA), (0xDD, 0xAA, 0x33), (0xBB, 0x55, 0x66))
    ]
    areas = np.array([part.area for part in division.parts])
    np.testing.assert_allclose(counts / np.sum(counts), areas / areas.sum(), atol=0.02)
