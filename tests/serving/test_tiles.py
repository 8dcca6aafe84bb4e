"""Tiles against windows of the files: exact at the last zoom, and read by threads at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from network.errors import InputError
from network.rasters.place import Place
from network.rasters.view import on_grid, view_of
from network.serving import tiles as module
from network.serving.tiles import SIDE, Tiles
from tests.scenes import write_bands
from tests.serving.scene import PLACE


def window(array: np.ndarray, x: int, y: int, fill: int) -> np.ndarray:
    """The part of an array (h, w, bands) below a tile: (bands, 256, 256)."""
    part = array[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE]
    whole = np.full((SIDE, SIDE, array.shape[2]), fill, array.dtype)
    whole[: part.shape[0], : part.shape[1]] = part
    return whole.transpose(2, 0, 1)


def test_labels_are_exact(scene):
    tiles = Tiles(view_of(scene.map), is_labels=True)
    assert tiles.max_zoom == 2
    for y in range(3):
        for x in range(4):
            found = tiles.read(2, x, y, [1])
            expected = window(scene.labels[..., None], x, y, 255)
            np.testing.assert_array_equal(found.filled(255), expected)
            np.testing.assert_array_equal(np.ma.getmaskarray(found), expected == 255)


def test_labels_of_smaller_zooms_are_those_of_the_overviews(scene):
    tiles = Tiles(view_of(scene.map), is_labels=True)
    with rasterio.open(scene.map, overview_level=0) as file:
        small = file.read(1)
    found = tiles.read(1, 0, 0, [1]).filled(255)
    np.testing.assert_array_equal(found[0], small[:SIDE, :SIDE])


def test_shares_and_images_are_exact(scene):
    shares = Tiles(view_of(scene.map.with_name("town_probabilities.tif")))
    image = Tiles(view_of(scene.image))
    for x, y in ((0, 0), (1, 1), (3, 2)):
        found = shares.read(2, x, y, [3, 1]).filled(255)
        np.testing.assert_array_equal(found, window(scene.probabilities[..., [2, 0]], x, y, 255))
        found = image.read(2, x, y, [1, 2, 3]).filled(0)
        np.testing.assert_array_equal(found, window(scene.pixels, x, y, 0))


@pytest.mark.parametrize(
    "tile", [(3, 0, 0), (-1, 0, 0), (2, 4, 0), (2, 0, 3), (2, -1, 0), (0, 1, 0)]
)
def test_no_such_tile(scene, tile):
    assert Tiles(view_of(scene.map), is_labels=True).read(*tile, [1]) is None


def test_many_threads(scene):
    tiles = Tiles(view_of(scene.map), is_labels=True)
    jobs = [(x, y) for _ in range(20) for x in range(4) for y in range(3)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda job: tiles.read(2, *job, [1]).filled(255), jobs))
    for job, tile in zip(jobs, found, strict=True):
        np.testing.assert_array_equal(tile, window(scene.labels[..., None], *job, 255))


@settings(max_examples=15, deadline=None)
@given(size=st.tuples(st.integers(1, 700), st.integers(1, 700)), seed=st.integers(0, 9))
def test_any_size(tmp_path_factory, size, seed):
    """All tiles of the last zoom together are the raster, and zoom 0 is a single tile."""
    path = tmp_path_factory.mktemp("size") / "a.tif"
    values = np.random.default_rng(seed).integers(0, 255, (*size, 1), dtype=np.uint8)
    write_bands(path, values)
    tiles = Tiles(view_of(path), is_labels=True)
    height, width = (-(-side // SIDE) for side in size)
    rows = [
        np.ma.hstack([tiles.read(tiles.max_zoom, x, y, [1])[0] for x in range(width)])
        for y in range(height)
    ]
    whole = np.ma.vstack(rows)
    np.testing.assert_array_equal(whole[: size[0], : size[1]].filled(255), values[..., 0])
    assert whole.count() == values.size
    assert tiles.read(0, 0, 0, [1]).count() > 0
    assert tiles.read(0, 1, 0, [1]) is None


def test_a_pixel(scene):
    tiles = Tiles(view_of(scene.image))
    for row, column in ((400, 500), (699, 899)):
        found = tiles.pixel(row, column, [1, 2, 3])
        assert found.tolist() == scene.pixels[row, column].tolist()
    assert tiles.pixel(0, 0, [1, 2, 3]).tolist() == [None] * 3


@pytest.mark.parametrize("is_labels", [True, False])
def test_a_large_file_without_overviews_is_read_once(
    scene, tmp_path, monkeypatch, capsys, is_labels
):
    """Its small tiles are then made from a copy in memory, and still lie where they should."""
    monkeypatch.setattr(module, "SHRUNK", 2)
    monkeypatch.setattr(module, "has_overviews", lambda file, factor: False)
    values = scene.labels[..., None] if is_labels else scene.pixels
    bands = list(range(1, values.shape[2] + 1))
    write_bands(tmp_path / "a.tif", values, nodata=255 if is_labels else 0)
    tiles = Tiles(view_of(tmp_path / "a.tif"), is_labels=is_labels)
    assert "a.tif has no overviews" in capsys.readouterr().err
    (tmp_path / "a.tif").write_bytes(b"")  # what is read now comes from memory
    found = tiles.read(1, 1, 0, bands)
    part = values[: 2 * SIDE, 2 * SIDE :]
    cells = part.reshape(SIDE, 2, -1, 2, len(bands)).swapaxes(1, 2).astype(int)
    cells = cells.reshape(SIDE, cells.shape[1], 4, len(bands))
    shown = found.transpose(1, 2, 0)[:, : cells.shape[1]]
    assert not np.ma.getmaskarray(shown).any()
    if is_labels:
        assert (cells == shown.data[:, :, None]).any(axis=2).all()
    else:
        np.testing.assert_allclose(shown, cells.mean(axis=2), atol=0.51)
    assert tiles.read(1, 0, 0, bands)[:, :100, :100].mask.all()


def test_an_image_on_another_grid(scene):
    """Moved by whole pixels, it keeps its values."""
    view = view_of(scene.map)
    moved = Place(PLACE.crs, PLACE.transform @ Affine.translation(100, 40))
    image = on_grid(view_of(scene.image), replace(view, place=moved))
    found = Tiles(image).read(2, 1, 1, [1, 2, 3])
    expected = window(scene.pixels[40:, 100:], 1, 1, 0)
    np.testing.assert_array_equal(found.filled(0), expected)
    assert Tiles(image).read(2, 3, 2, [1, 2, 3]).mask[:, -60:, 120:].all()


def test_a_file_that_is_damaged_later(scene, tmp_path):
    path = tmp_path / "a.tif"
    write_bands(path, scene.pixels, compress="deflate")
    tiles = Tiles(view_of(path))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size // 4))
    with pytest.raises(InputError, match=r"a\.tif: unreadable image"):
        tiles.read(0, 0, 0, [1])
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tif: unreadable image"):
        tiles.read(0, 0, 0, [1])
