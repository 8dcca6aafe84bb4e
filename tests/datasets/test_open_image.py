"""Images that are opened to be read in windows have the pixels of those that are read whole."""

from dataclasses import replace

import numpy as np
import pytest

from network.datasets.files import read_valid_image
from network.datasets.info import VAIHINGEN
from network.datasets.open_image import open_image
from tests.scenes import write_bands


@pytest.mark.parametrize("bands", [3, 4])
def test_an_alpha_band_or_a_fourth_band(tmp_path, bands):
    """The last of four bands is alpha if the training images have three bands."""
    info = replace(VAIHINGEN, bands=bands)
    pixels = np.random.default_rng(0).integers(0, 3, (20, 30, 4), dtype=np.uint8)
    write_bands(tmp_path / "a.tif", pixels, photometric="RGB", alpha="yes")
    with open_image(tmp_path / "a.tif", info) as source:
        values, valid = source.read(slice(0, 20), slice(0, 30))
        assert source.header.has_alpha
    expected, is_valid = read_valid_image(tmp_path / "a.tif", info)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(values, pixels[..., :bands])
    if bands == 3:
        np.testing.assert_array_equal(valid, is_valid)
        np.testing.assert_array_equal(valid, pixels[..., 3] > 0)
    else:
        assert valid is None
        assert is_valid is None
