"""Measurements: what counts as data, in whole images and in windows, and what a network gets."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from network.datasets.files import read_valid_image
from network.datasets.schema import PIXEL_TYPES, DatasetInfo
from network.rasters.pixels import finite_pixels, network_values
from network.rasters.source import Source
from tests.scenes import write_bands

DTYPES = list(PIXEL_TYPES.values())
MEASURED = [dtype for dtype in DTYPES if dtype not in ("uint8", "uint16")]
NO_DATA = {"uint8": 0, "uint16": 0, "uint32": 0, "int16": -32767, "int32": -(2**31)}
FLOAT_NO_DATA = [-32767, -3.4028234663852886e38, float("nan")]


def described(dtype: str, bands: int) -> DatasetInfo:
    (values, bits) = next(kind for kind, name in PIXEL_TYPES.items() if name == dtype)
    return DatasetInfo(
        name="heights",
        root="",
        classes=("a", "b"),
        palette=((0, 0, 0), (255, 255, 255)),
        ignore_index=255,
        splits={},
        bands=bands,
        bits=bits,
        values=values,
    )


@st.composite
def images(draw) -> tuple[np.ndarray, float | None]:
    """An image of any type, and its no-data value, which some of its bands have at some pixels."""
    dtype, bands = draw(st.sampled_from([*DTYPES, "float32", "float32"])), draw(st.integers(1, 4))
    height, width = draw(st.integers(3, 40)), draw(st.integers(3, 40))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    image = rng.integers(1, 200, (height, width, bands)).astype(dtype)
    nodata = None
    if draw(st.booleans()):
        is_float = dtype == "float32"
        nodata = draw(st.sampled_from(FLOAT_NO_DATA)) if is_float else NO_DATA[dtype]
        image[rng.random(image.shape) < 0.2] = nodata
        image[rng.random(image.shape[:2]) < 0.1] = nodata
    if dtype == "float32":
        for wrong in draw(st.sampled_from([(), (np.nan,), (np.inf, -np.inf)])):
            image[rng.random(image.shape) < 0.1] = wrong
    return image, nodata


def expected_validity(image: np.ndarray, nodata: float | None) -> np.ndarray:
    """By the rule: brightness lacks data if all bands do, measurements if any band does."""
    is_missing = np.zeros(image.shape, bool)
    if nodata is not None:
        is_missing = np.isnan(image) if np.isnan(nodata) else image == image.dtype.type(nodata)
    if image.dtype in (np.uint8, np.uint16):
        return ~is_missing.all(axis=2)
    return ~(is_missing | ~np.isfinite(image)).any(axis=2)


@settings(max_examples=80, deadline=None)
@given(
    drawn=images(),
    layout=st.sampled_from([{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}]),
    corners=st.tuples(*(st.floats(0, 1) for _ in range(4))),
)
def test_windows_are_parts_of_the_whole(tmp_path_factory, drawn, layout, corners):
    """Values and validity of any window, for each type of pixels."""
    image, nodata = drawn
    path = tmp_path_factory.mktemp("types") / "a.tif"
    write_bands(path, image, nodata=nodata, photometric="MINISBLACK", **layout)
    values, valid = read_valid_image(path, described(str(image.dtype), image.shape[2]))
    np.testing.assert_array_equal(values, image)
    everywhere = np.ones(image.shape[:2], bool)
    found = everywhere if valid is None else valid
    np.testing.assert_array_equal(found, expected_validity(image, nodata))
    with Source(path) as source:
        rows, columns = (
            slice(first := min(a, b), max(a, b, first + 1))
            for a, b in (
                (int(one * (n - 1)), int(other * (n - 1)) + 1)
                for one, other, n in zip(corners[:2], corners[2:], source.size, strict=True)
            )
        )
        part, part_valid = source.read(rows, columns)
    np.testing.assert_array_equal(part, image[rows, columns])
    part_valid = np.ones(part.shape[:2], bool) if part_valid is None else part_valid
    np.testing.assert_array_equal(part_valid, found[rows, columns])
    # The network sees the same in both.
    whole, window = network_values(values, valid), network_values(part, part_valid)
    np.testing.assert_array_equal(window, whole[rows, columns])


@given(values=arrays(np.float32, (3, 4, 2)))
def test_finite_pixels(values):
    finite = np.isfinite(values).all(axis=2)
    found = finite_pixels(values, None)
    assert (found is None) == finite.all()
    if found is not None:
        np.testing.assert_array_equal(found, finite)
    some = np.arange(12).reshape(3, 4) % 2 == 0
    np.testing.assert_array_equal(finite_pixels(values, some), some & finite)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_brightness_stays_as_it_is(dtype):
    """Also where it has no data, as in all results so far."""
    image, valid = np.full((2, 2, 3), 7, dtype), np.array([[True, False], [True, True]])
    assert network_values(image, valid) is image
    assert finite_pixels(image, valid) is valid


@pytest.mark.parametrize("dtype", MEASURED)
def test_measurements_become_floats(dtype):
    image = np.array([[[5, 7], [100, 2]]], dtype)
    before = image.copy()
    found = network_values(image, np.array([[True, False]]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[5, 7], [np.nan, np.nan]]])
    np.testing.assert_array_equal(image, before)  # which the caller may still need
    np.testing.assert_array_equal(network_values(image, None), before.astype(np.float32))


def test_integers_of_more_than_24_bits_are_rounded():
    values = np.array([2**24, 2**24 + 1, 2**31 - 1, -(2**31)], np.int32).reshape(1, 4, 1)
    found = network_values(values, None).astype(np.float64)
    np.testing.assert_allclose(found, values, rtol=1e-7)


def test_an_alpha_band_of_floats(tmp_path: Path):
    image = np.random.default_rng(0).random((6, 7, 4), np.float32)
    image[..., 3] = 1
    image[:2, :, 3] = 0
    write_bands(tmp_path / "a.tif", image, photometric="RGB", alpha="yes")
    values, valid = read_valid_image(tmp_path / "a.tif", described("float32", 3))
    np.testing.assert_array_equal(values, image[..., :3])
    np.testing.assert_array_equal(valid, image[..., 3] > 0)
