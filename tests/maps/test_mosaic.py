"""One map of many: which pixel comes from which map, also on other grids."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from rasterio.warp import transform as to_other_crs

from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.maps import mosaic
from network.maps.layers import CONFIDENCE
from network.maps.mosaic import MosaicOptions, check_target, make_mosaic, map_files
from network.maps.records import MapRecord, MapRecords
from network.writing import locked
from tests.commands import error_of, succeed
from tests.maps.local import COMMAND, SMALL, predict, random_image
from tests.scenes import write_bands

pytestmark = pytest.mark.slow

CRS, RESOLUTION, LEFT, TOP = "EPSG:32632", 0.5, 500_000.0, 5_400_000.0
SIZE = 100


def write_map(
    path: Path,
    labels: np.ndarray,
    row: float,
    column: float,
    confidence: np.ndarray | None = None,
    flips: tuple[bool, bool] = (False, False),
) -> Path:
    """Write a map whose first pixel is at a row and column of one grid; 255 is no data.

    With ``flips``, the file has its rows, or its columns, from the last one to the first one.
    """
    place = from_origin(LEFT + column * RESOLUTION, TOP - row * RESOLUTION, RESOLUTION, RESOLUTION)
    order = np.s_[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    (height, width), (down, across) = labels.shape, flips
    place @= Affine.translation(width * across, height * down)
    place @= Affine.scale(1 - 2 * across, 1 - 2 * down)
    about = {"crs": CRS, "transform": place, "nodata": 255}
    write_bands(path, labels[order][..., None], **about)
    if confidence is not None:
        file = path.with_name(f"{path.stem}_confidence.tif")
        write_bands(file, confidence[order][..., None], **about)
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
    flipped=st.sampled_from([(False, False), (True, False), (False, True), (True, True)]),
)
def test_maps_on_one_grid(tmp_path_factory, corners, rule, side, seed, flipped):
    """Pixel by pixel what NumPy gives, in blocks of any size; a VRT shows the same.

    Rows that go north and columns that go west make no difference, in all maps or in every second.
    """
    folder, rng = tmp_path_factory.mktemp("mosaic"), np.random.default_rng(seed)
    expected = np.full((SIZE, SIZE), 255, np.uint8)
    best = np.full(expected.shape, -1)
    maps = []
    # The first one tells the corner, and the last one the size, of the mosaic.
    for number, (row, column) in enumerate([(0, 0), *corners, (60, 60)]):
        labels = rng.choice([0, 1, 2, 3, 4, 5, 255], (40, 40)).astype(np.uint8)
        confidence = rng.integers(0, 251, (40, 40), dtype=np.uint8)
        flips = flipped if seed % 2 or number % 2 else (False, False)
        maps.append(write_map(folder / f"{number}.tif", labels, row, column, confidence, flips))
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
    if any(flipped):
        with pytest.raises(
            InputError, match=r"\d.tif: lies on another grid than (the mosaic|0.tif)"
        ):
            make_mosaic(maps, VAIHINGEN, MosaicOptions(folder / "all.vrt"))
    elif rule == "last":
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


@pytest.mark.parametrize("crs", [None, "EPSG:32633"])
@pytest.mark.parametrize("degrees", [0, 45, 90, 200])
def test_a_turned_map_keeps_its_number_of_pixels(tmp_path, degrees, crs):
    """Also if it is the first one, which tells the size of the pixels."""
    place = Affine.translation(LEFT, TOP) @ Affine.rotation(degrees) @ Affine.scale(0.5, -0.5)
    labels = np.full((120, 160), 3, np.uint8)
    about = {"crs": CRS, "transform": place, "nodata": 255}
    write_bands(tmp_path / "a.tif", labels[..., None], **about)
    make_mosaic([tmp_path / "a.tif"], VAIHINGEN, MosaicOptions(tmp_path / "all.tif", crs=crs))
    with rasterio.open(tmp_path / "all.tif") as file:
        found, turned = file.read(1), (file.transform.b, file.transform.d)
        assert file.transform.a == pytest.approx(0.5, rel=0.02)
    assert turned == (0, 0)
    assert (found == 3).sum() == pytest.approx(labels.size, rel=0.02)
    if crs is None and degrees % 90 == 0:
        assert (found == 3).all()
        assert found.shape == (labels.T.shape if degrees else labels.shape)


def test_pixels_of_a_turned_map_that_are_not_square(tmp_path):
    place = Affine.translation(LEFT, TOP) @ Affine.rotation(90) @ Affine.scale(0.5, -2)
    about = {"crs": CRS, "transform": place, "nodata": 255}
    labels = np.random.default_rng(0).integers(0, 6, (12, 30), dtype=np.uint8)
    write_bands(tmp_path / "a.tif", labels[..., None], **about)
    make_mosaic([tmp_path / "a.tif"], VAIHINGEN, MosaicOptions(tmp_path / "all.tif"))
    with rasterio.open(tmp_path / "all.tif") as file:
        assert (file.transform.a, file.transform.e) == (2, -0.5)
        # Its columns go north and its rows go east.
        np.testing.assert_array_equal(file.read(1), labels.T[::-1])


def test_other_maps_of_the_same_number_and_corner(tmp_path):
    """They do not replace a mosaic unless told to; the same maps, made anew, do."""
    maps = {}
    for label, folder in enumerate("xy"):
        labels = np.full((30, 30), label, np.uint8)
        corners = enumerate([(0, 0), (30, 0)])
        maps[folder] = [write_map(tmp_path / folder / f"{n}.tif", labels, *c) for n, c in corners]
    options = MosaicOptions(tmp_path / "all.tif")
    make_mosaic(maps["x"], VAIHINGEN, options)
    with pytest.raises(InputError, match=r"all.tif: is the map of another image, mosaic of 2 maps"):
        make_mosaic(maps["y"], VAIHINGEN, options)
    with pytest.raises(InputError, match=r"all.tif: was made with other settings .its size is"):
        make_mosaic(maps["x"][:1], VAIHINGEN, options)
    assert (read(options.target) == 0).all()
    write_map(maps["x"][0], np.full((30, 30), 4, np.uint8), 0, 0)
    make_mosaic(maps["x"], VAIHINGEN, options)
    assert set(read(options.target)[:30].ravel()) == {4}
    make_mosaic(maps["y"], VAIHINGEN, replace(options, overwrite=True))
    assert (read(options.target) == 1).all()


def test_a_mosaic_that_moves_with_its_maps(tmp_path):
    labels = np.zeros((30, 30), np.uint8)
    maps = [write_map(tmp_path / "old" / f"{n}.tif", labels, 20 * n, 0) for n in range(2)]
    make_mosaic(maps, VAIHINGEN, MosaicOptions(tmp_path / "old/all.tif"))
    moved = (tmp_path / "old").rename(tmp_path / "new")
    before = (moved / "all.tif").stat().st_mtime_ns
    make_mosaic([moved / m.name for m in maps], VAIHINGEN, MosaicOptions(moved / "all.tif"))
    assert (moved / "all.tif").stat().st_mtime_ns == before


def test_a_record_of_an_older_version(tmp_path):
    """It has neither the size nor the names of the maps: it is refused, and made again if told."""
    maps = [write_map(tmp_path / "a.tif", np.ones((30, 30), np.uint8), 0, 0)]
    options = MosaicOptions(tmp_path / "all.tif")
    make_mosaic(maps, VAIHINGEN, options)
    records = MapRecords(tmp_path)
    found = records.find(options.target)
    identity = {key: value for key, value in found.identity.items() if key != "size"}
    records.add(options.target, MapRecord("0", "mosaic of 1 maps", identity), {})
    with pytest.raises(InputError, match=r"its size is none, not \[30, 30\]"):
        make_mosaic(maps, VAIHINGEN, options)
    assert make_mosaic(maps, VAIHINGEN, replace(options, overwrite=True))
    assert MapRecords(tmp_path).find(options.target) == found


MAKE = """
import sys
from pathlib import Path
from network.datasets.info import VAIHINGEN
from network.maps.mosaic import MosaicOptions, make_mosaic
print(make_mosaic([Path(sys.argv[1])], VAIHINGEN, MosaicOptions(Path(sys.argv[2]))))
"""


def test_another_process_makes_the_mosaic(tmp_path):
    """That is no error, and nothing is done twice; afterwards, the mosaic is there."""
    path = write_map(tmp_path / "a.tif", np.ones((30, 30), np.uint8), 0, 0)
    target = tmp_path / "out/all.tif"
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", MAKE, path, target]
    with locked(target, tmp_path / "out/.all.tif.lock"):  # as the other one does
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert done.stdout == "False\n"
        assert [p.name for p in target.parent.iterdir()] == [".all.tif.lock"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
    assert not list(target.parent.glob(".*"))
    with rasterio.open(target) as file:
        assert (file.read(1) == 1).all()


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
    with pytest.raises(InputError, match=r"a.png: is no georeferenced map, .*; choose a .tif"):
        check_target(MosaicOptions(out / "all.tif"), images[:1], out / "a.png")
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


def test_processes_of_one_command(project):
    """The first one sees unfinished maps; the last one makes the mosaic, unless another one does.

    After that, the command without a shard makes what is still missing.
    """
    argv, target = [*COMMAND, "-i", "in", "-o", "out", "--mosaic", "all.tif"], project / "all.tif"
    assert "mosaic" not in succeed(*argv, "--shard", "1/2", cwd=project)
    with locked(target, project / ".all.tif.lock"):
        said = succeed(*argv, "--shard", "2/2", cwd=project)
    assert said.endswith("another process is making all.tif\n")
    assert not target.exists()
    assert succeed(*argv, cwd=project).endswith("mosaic in all.tif\n")
    with rasterio.open(target) as file:
        assert file.shape == (70, 90)


def test_a_mosaic_of_masks_is_refused_before_anything_is_predicted(project):
    argv = [*COMMAND, "-o", "none", "--mosaic", "none.tif"]
    error = error_of(*argv, "-i", "in", "--format", "png", cwd=project)
    line = "--mosaic: needs georeferenced maps, which a PNG is not; leave out --format png"
    assert line in error
    argv[argv.index("none")] = "none.png"
    error = error_of(*argv, "-i", "in/a.tif", cwd=project)
    assert "none.png: is no georeferenced map, which a mosaic needs; choose a .tif" in error
    assert not list(project.glob("none*"))
