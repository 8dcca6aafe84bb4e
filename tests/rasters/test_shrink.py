"""Smaller copies, against block means and majorities that NumPy computes."""

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.io import MemoryFile

from network.rasters import shrink as module
from network.rasters.memory import raster_in_memory
from network.rasters.shrink import has_overviews, shrink
from tests.scenes import write_bands

FACTOR = 8


def means(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the valid pixels of each block (h / 8, w / 8, bands), and where half are valid."""
    height, width, bands = values.shape
    shape = height // FACTOR, FACTOR, width // FACTOR, FACTOR
    cells = np.moveaxis(values.reshape(*shape, bands), 2, 1).astype(float)
    is_valid = np.moveaxis(valid.reshape(shape), 2, 1)
    count = is_valid.sum(axis=(2, 3))
    total = (cells * is_valid[..., None]).sum(axis=(2, 3))
    return total / np.maximum(count, 1)[..., None], count >= FACTOR**2 / 2


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "uint32"]),
    holes=st.sampled_from([0.0, 0.3, 1.0]),
    part=st.sampled_from([200, 2000, 10**6]),
    seed=st.integers(0, 99),
)
def test_means_of_valid_pixels(size, dtype, holes, part, seed):
    """For any size of the parts that are read."""
    rng = np.random.default_rng(seed)
    height, width = (FACTOR * side for side in size)
    values = rng.integers(0, 200, (height, width, 2)).astype(dtype)
    valid = rng.random((height, width)) >= holes
    with MemoryFile() as memory, pytest.MonkeyPatch.context() as patch:
        options = {"count": 2, "dtype": dtype, "tiled": True, "blockxsize": 16, "blockysize": 16}
        with memory.open(driver="GTiff", height=height, width=width, **options) as file:
            file.write(values.transpose(2, 0, 1))
            if holes:
                file.write_mask(valid)
        patch.setattr(module, "PART_BYTES", part)
        with memory.open() as file:
            assert not has_overviews(file, FACTOR)
            found, is_valid = shrink(file, [1, 2], *size, is_labels=False, what="a")
    expected, wanted = means(values, valid)
    np.testing.assert_array_equal(is_valid, wanted)
    assert found.dtype == dtype
    tolerance = 1e-3 if dtype == "float32" else 0.51
    np.testing.assert_allclose(found[wanted], expected[wanted], atol=tolerance)


@pytest.mark.parametrize("is_tiled", [True, False])
def test_most_frequent_label(tmp_path, is_tiled):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (128, 192, 1), dtype=np.uint8)
    labels[:32, :32] = 255
    block = {"tiled": True, "blockxsize": 16, "blockysize": 16} if is_tiled else {}
    write_bands(tmp_path / "a.tif", labels, nodata=255, **block)
    with rasterio.open(tmp_path / "a.tif") as file:
        found, valid = shrink(file, [1], 16, 24, is_labels=True, what="a")
    assert not valid[:4, :4].any()
    assert valid.sum() == 16 * 24 - 16
    cells = np.moveaxis(labels.reshape(16, 8, 24, 8), 2, 1).reshape(16, 24, 64)
    times = (cells[..., None] == np.arange(3)).sum(axis=2)
    chosen = np.take_along_axis(times, np.minimum(found, 2).astype(int), axis=2)[..., 0]
    assert (chosen == times.max(axis=2))[valid].all()


def test_overviews_are_used():
    """They differ from the pixels here, so the result shows where it comes from."""
    options = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint8"}
    with MemoryFile(ext=".tif") as memory:
        with memory.open(**options) as file:
            file.write(np.full((1, 64, 64), 90, np.uint8))
            file.build_overviews([4], Resampling.nearest)
        with rasterio.open(memory.name, "r+") as file:
            file.write(np.full((1, 64, 64), 10, np.uint8))
        with memory.open() as file:
            assert has_overviews(file, 8)
            found, valid = shrink(file, [1], 8, 8, is_labels=False, what="a")
    assert valid.all()
    assert (found == 90).all()


def test_a_wide_raster_in_odd_sizes():
    """Each pixel of the result is near the mean of the share of the raster that it stands for."""
    ramp = np.tile(np.linspace(0, 60_000, 1013), (37, 1)).astype(np.uint16)[..., None]
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", height=37, width=1013, count=1, dtype="uint16") as file:
            file.write(ramp.transpose(2, 0, 1))
        with memory.open() as file:
            found, _ = shrink(file, [1], 3, 101, is_labels=False, what="a")
    middle = (np.arange(101) + 0.5) / 101 * 60_000
    np.testing.assert_allclose(found[1, :, 0], middle, atol=600 / 5)


def test_a_raster_in_memory_has_its_pixels_and_mask():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**16, (700, 300, 4), dtype=np.uint16)
    valid = rng.random((700, 300)) > 0.5
    with raster_in_memory(values, valid) as memory, memory.open() as file:
        np.testing.assert_array_equal(file.read().transpose(1, 2, 0), values)
        np.testing.assert_array_equal(file.dataset_mask() > 0, valid)
        assert file.overviews(1) == [2, 4]
