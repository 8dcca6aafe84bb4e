"""The layer that tells how much the views of test-time augmentation disagree."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.maps.layers import CONFIDENCE, DISAGREEMENT
from network.predictor import Predictor
from tests.maps.local import SMALL, Local, predict

pytestmark = pytest.mark.slow


@pytest.fixture
def flipped() -> Predictor:
    torch.manual_seed(0)
    means = (128,) * 3, (60,) * 3
    return Predictor(Local(), VAIHINGEN, means, patch=None, device="cpu", tta="lr")


@pytest.mark.parametrize("blend", ["crop", "hann"])
def test_the_layer(flipped, image, tmp_path, blend):
    """That of the whole image, without data where the image has none; and the same labels."""
    plain = replace(SMALL, blend=blend, layers=(CONFIDENCE,))
    predict(flipped, image, out=tmp_path / "plain", options=plain)
    options = replace(plain, layers=(CONFIDENCE, DISAGREEMENT))
    predict(flipped, image, out=tmp_path / "out", options=options)
    for name in ("a.tif", "a_confidence.tif"):
        one, other = (rasterio.open(tmp_path / out / name).read(1) for out in ("plain", "out"))
        np.testing.assert_array_equal(one, other)
    with rasterio.open(image) as source, rasterio.open(tmp_path / "out/a_disagreement.tif") as file:
        pixels, found = torch.from_numpy(source.read())[None], file.read(1)
        assert file.scales == (1 / 250,)
    with torch.inference_mode():
        expected = 250 * flipped.logits_and_disagreement(pixels)[0, -1].numpy()
    hole = np.zeros(found.shape, bool)
    hole[:200, :200] = True
    assert (found[hole] == 255).all()
    # The halo is larger than what the network sees, so windows change nothing but the rounding. If
    # they are blended, those near whose border a pixel lies count a little, too.
    assert np.abs(found - expected)[~hole].max() < (0.51 if blend == "crop" else 2)
    assert expected[~hole].max() > 10


def test_it_needs_several_views(predictor, image, tmp_path):
    with pytest.raises(InputError, match="there is only one view; use tta=lr or tta=dihedral"):
        predict(
            predictor, image, out=tmp_path / "out", options=replace(SMALL, layers=(DISAGREEMENT,))
        )
    assert not (tmp_path / "out").exists()
