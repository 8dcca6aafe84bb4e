"""One map of many: which pixel comes from which map, also on other grids."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from rasterio.warp import transform as to_other_crs

from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.maps import mosaic
from network.maps.layers import CONFIDENCE
from network.maps.mosaic import MosaicOptions, check_target, make_mosaic, map_files
from tests.maps.local import SMALL, predict, random_image
from tests.scenes import write_bands

pytestmark = pytest.mark.slow

CRS, RESOLUTION, LEFT, TOP = "EPSG:32632", 0.5, 500_000.0, 5_400_000.0
SIZE = 100


def write_map(
    path: Path, labels: np.ndarray, row: float, column: float, confidence: np.ndarray | None = None
) -> Path:
    """Write a map whose first pixel is at a row and column of one grid; 255 is no data."""
    place = from_origin(LEFT + column * RESOLUTION, TOP - row * RESOLUTION, RESOLUTION, RESOLUTION)
    about = {"crs": CRS, "transform": place, "nodata": 255}
    write_bands(path, labels[..., None], **about)
    if confidence is not None:
        write_bands(path.with_name(f"{path.stem}_confidence.tif"), confidence[..., None], **about)
    return path


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 32632
        assert (file.transform.c, file.transform.f) == (LEFT, TOP)
        return file.read(1)


@settings(max_examples=20, deadline=None)
@given(
    corners=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=5),
    rule=st.sampled_from(["last", "confidence"]),
    side=st.sampled_from([32, 64, 4096]),
    seed=st.integers(0, 9),
)
def test_maps_on_one_grid(tmp_path_factory, corners, rule, side, seed):
    """Pixel by pixel what NumPy gives, in blocks of any size; a VRT shows the same."""
    folder, rng = tmp_path_factory.mktemp("mosaic"), np.random.default_rng(seed)
    expected = np.full((SIZE, SIZE), 255, np.uint8)
    best = np.full(expected.shape, -1)
    maps = []
    # The first one tells the corner, and the last one the size, of the mosaic.
    for number, (row, column) in enumerate([(0, 0), *corners, (60, 60)]):
        labels = rng.choice([0, 1, 2, 3, 4, 5, 255], (40, 40)).astype(np.uint8)
        confidence = rng.integers(0, 251, (40, 40), dtype=np.uint8)
        maps.append(write_map(folder / f"{number}.tif", labels, row, column, confidence))
        part = np.s_[row : row + 40, column : column + 40]
        counts = labels != 255
        if rule == "confidence":
            counts &= confidence > best[part]
            best[part][counts] = confidence[counts]
        expected[part][counts] = labels[counts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mosaic, "SIDE", side)
        make_mosaic(maps, VAIHINGEN, MosaicOptions(folder / "out/all.tif", rule))
    np.testing.assert_array_equal(read(folder / "out/all.tif"), expected)
    with rasterio.open(folder / "out/all.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.colormap(1)[1][:3] == VAIHINGEN.palette[1]
    if rule == "last":
        make_mosaic(maps, VAIHINGEN, MosaicOptions(folder / "all.vrt"))
        np.testing.assert_array_equal(read(folder / "all.vrt"), expected)


def test_maps_between_the_pixels(tmp_path):
    """A map that is moved by a part of a pixel gives each pixel its nearest value."""
    labels = np.random.default_rng(0).integers(0, 6, (20, 20), dtype=np.uint8)
    maps = [
        write_map(tmp_path / "a.tif", np.full((30, 30), 255, np.uint8), 0, 0),
        write_map(tmp_path / "b.tif", labels, 4.3, 5.6),
    ]
    make_mosaic(maps, VAIHINGEN, MosaicOptions(tmp_path / "all.tif"))
    np.testing.assert_array_equal(read(tmp_path / "all.tif")[4:24, 6:26], labels)
    with pytest.raises(InputError, match=r"b.tif: lies on another grid than a.tif"):
        make_mosaic(maps, VAIHINGEN, MosaicOptions(tmp_path / "all.vrt"))


def test_another_reference_system(tmp_path):
    """Only if one is chosen; each pixel has the label of the place where it lies."""
    blocks = np.kron(np.arange(36).reshape(6, 6) % 6, np.ones((50, 50))).astype(np.uint8)
    here = write_map(tmp_path / "a.tif", blocks, 0, 0)
    x, y = LEFT + 400, TOP
    (east,), (north,) = to_other_crs(CRS, "EPSG:32633", [x], [y])
    there = tmp_path / "b.tif"
    place = {"crs": "EPSG:32633", "transform": from_origin(east, north, 0.5, 0.5), "nodata": 255}
    write_bands(there, blocks[..., None], **place)
    with pytest.raises(InputError, match=r"b.tif: has another reference system .EPSG:32633. than"):
        make_mosaic([here, there], VAIHINGEN, MosaicOptions(tmp_path / "all.tif"))
    assert not (tmp_path / "all.tif").exists()
    make_mosaic([here, there], VAIHINGEN, MosaicOptions(tmp_path / "all.tif", crs=CRS))
    with rasterio.open(tmp_path / "all.tif") as file:
        labels = file.read(1)
        rows, columns = (n.ravel() for n in np.mgrid[7:300:25, 7:300:25])
        own = [labels[file.index(x, y)] for x, y in zip(*centers(here, rows, columns), strict=True)]
        np.testing.assert_array_equal(own, blocks[rows, columns])
        xs, ys = to_other_crs("EPSG:32633", CRS, *centers(there, rows, columns))
        found = [labels[file.index(*point)] for point in zip(xs, ys, strict=True)]
        np.testing.assert_array_equal(found, blocks[rows, columns])


def centers(path: Path, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with rasterio.open(path) as file:
        return file.transform @ (columns + 0.5, rows + 0.5)


def test_strips_of_a_prediction(predictor, tmp_path):
    """Predicted, put together, and not done again; another rule is refused."""
    images, place = [], {"crs": CRS}
    for number, row in enumerate((0, 60)):
        path = tmp_path / f"in/{number}.tif"
        place["transform"] = from_origin(LEFT, TOP - row * RESOLUTION, RESOLUTION, RESOLUTION)
        write_bands(path, random_image(100, 90, number), photometric="RGB", **place)
        images.append(path)
    out = tmp_path / "out"
    predict(predictor, *images, out=out, options=replace(SMALL, layers=(CONFIDENCE,)))
    options = MosaicOptions(out / "all.tif", rule="confidence")
    make_mosaic(map_files(images, out), VAIHINGEN, options)
    labels, one = read(out / "all.tif"), read(out / "0.tif")
    assert labels.shape == (160, 90)
    np.testing.assert_array_equal(labels[:60], one[:60])
    before = (out / "all.tif").stat().st_mtime_ns
    make_mosaic(map_files(images, out), VAIHINGEN, options)
    assert (out / "all.tif").stat().st_mtime_ns == before
    with pytest.raises(InputError, match='its rule is "confidence", not "last"'):
        make_mosaic(map_files(images, out), VAIHINGEN, replace(options, rule="last"))
    with pytest.raises(InputError, match="has no georeferenced map"):
        map_files([*images, tmp_path / "in/photo.png"], out)


def test_a_map_that_lies_elsewhere(tmp_path):
    labels = np.zeros((30, 30), np.uint8)
    maps = [write_map(tmp_path / f"{n}.tif", labels, 20 * n, 0) for n in range(3)]
    maps.append(write_map(tmp_path / "far.tif", labels, 90_000, 70_000))
    with pytest.raises(InputError, match=r"far.tif: lies far from the other maps"):
        make_mosaic(maps, VAIHINGEN, MosaicOptions(tmp_path / "all.tif"))
    pole = {"crs": "EPSG:4326", "transform": from_origin(0, 90, 1, 1), "nodata": 255}
    write_bands(tmp_path / "pole.tif", np.zeros((180, 360, 1), np.uint8), **pole)
    options = MosaicOptions(tmp_path / "all.tif", crs="EPSG:3857")
    with pytest.raises(InputError, match=r"pole.tif: lies "):
        make_mosaic([maps[0], tmp_path / "pole.tif"], VAIHINGEN, options)
    assert not list(tmp_path.glob("all*"))


def test_nothing_else_is_replaced(tmp_path):
    """Neither an image, such as a VRT that was given, nor a map, nor a file of the user."""
    images, out = [tmp_path / "in/a.tif", tmp_path / "strips.vrt"], tmp_path / "out"
    for taken in (images[1], out / "a.tif"):
        with pytest.raises(InputError, match="is an image or a map of its own"):
            check_target(MosaicOptions(taken, overwrite=True), images, out)
    check_target(MosaicOptions(out / "all.tif"), images, out)
    path = write_map(tmp_path / "a.tif", np.zeros((9, 9), np.uint8), 0, 0)
    (tmp_path / "mine.vrt").write_text("mine")
    with pytest.raises(InputError, match=r"mine.vrt: is there already"):
        make_mosaic([path], VAIHINGEN, MosaicOptions(tmp_path / "mine.vrt"))
    assert (tmp_path / "mine.vrt").read_text() == "mine"
    for overwrite in (True, False):  # the same command again is no error
        make_mosaic([path], VAIHINGEN, MosaicOptions(tmp_path / "mine.vrt", overwrite=overwrite))
    assert [p.name for p in tmp_path.glob("*mine*")] == ["mine.vrt"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": Path("all.png")}, "a mosaic is a .tif or a .vrt"),
        ({"rule": "first"}, "rule=first: must be one of last, confidence"),
        ({"crs": "EPSG:1"}, "crs=EPSG:1: is not known"),
    ],
)
def test_options(options, words):
    with pytest.raises(InputError, match=words):
        MosaicOptions(**{"target": Path("all.tif")} | options)
