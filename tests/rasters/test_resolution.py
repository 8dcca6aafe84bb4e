"""Warnings for pixels of other sizes on the ground."""

from pathlib import Path

import pytest

from network.rasters.resolution import TrainedResolution, compare_resolutions


@pytest.mark.parametrize(
    ("side", "trained", "is_told"),
    [
        (0.5, 0.1, True),
        (0.1, 0.5, True),
        (0.5, 0.42, False),
        (None, 0.1, False),
        (0.5, None, False),
    ],
)
def test_pixels_of_another_size_than_in_the_training(capsys, side, trained, is_told):
    resolution = TrainedResolution()
    for name in ("a.tif", "b.tif"):
        resolution.compare(name, side, trained)
    told = capsys.readouterr().err
    assert told.count("warning") == is_told
    if is_told:
        assert f"a.tif has pixels of {side} m" in told
        assert f"trained on pixels of {trained} m" in told


def test_images_of_one_training(capsys):
    images = [(0.2, Path("a.tif")), (None, Path("b.tif")), (0.1, Path("c.tif"))]
    compare_resolutions(images[:2])
    compare_resolutions([(None, Path("b.tif"))])
    assert not capsys.readouterr().err
    compare_resolutions(images)
    assert "c.tif has pixels of 0.1 m and a.tif of 0.2 m" in capsys.readouterr().err
