"""Files that take images of one size: in patches, and as windows of a map if these fit."""

from types import SimpleNamespace

import numpy as np
import pytest

from network.commands import export as command
from network.commands.arguments import parse_with_overrides
from network.errors import InputError
from network.exported.load import load_exported
from network.maps.options import MapOptions
from network.maps.run import check_options
from network.serving.limits import Limits
from network.serving.service import Service
from tests.exported.tiny import export_tiny
from tests.maps.local import random_image


@pytest.mark.slow
def test_larger_images_are_predicted_in_patches(tmp_path):
    """Each of the size of the file; this network sees each pixel alone."""
    file = load_exported(export_tiny(tmp_path / "net.pt2", (64, 80)))
    image = random_image(100, 130)
    found = file.predictor().predict(image).labels
    whole = file.predictor(patch=None)
    for rows, columns in ((0, 0), (36, 0), (0, 50), (36, 50)):
        part = np.s_[rows : rows + 64, columns : columns + 80]
        np.testing.assert_array_equal(found[part], whole.predict(image[part]).labels)
    assert len(np.unique(found)) > 1


@pytest.mark.parametrize("size", [(80, 80), (64, 96)])
def test_windows_of_no_map(size):
    words = f"takes {size[0]} x {size[1]} pixels, and windows are squares of multiples of 32"
    predictor = SimpleNamespace(fixed_size=size, info=None)
    with pytest.raises(InputError, match=f"the exported file: {words}; export it so"):
        check_options(MapOptions(), predictor)
    with pytest.raises(InputError, match=f"the exported file: {words}; export it so"):
        Service(predictor, {}, Limits())


@pytest.mark.parametrize(
    ("flags", "is_told"),
    [
        ("--size 80", True),
        ("--size 64 96", True),
        ("--size 64", False),
        ("--size 100 --dlpk", False),
    ],
)
def test_the_export_tells(tmp_path, monkeypatch, capsys, flags, is_told):
    """Before all else."""
    parsed = []
    monkeypatch.setattr(command, "execute", lambda parser, run: parsed.append(parser))
    command.main("Export a network.")
    args = parse_with_overrides(parsed[0], [str(tmp_path / "none.ckpt"), *flags.split()])
    with pytest.raises(InputError, match="no such checkpoint"):
        command.run(args)
    told = "squares of multiples of 32, so predict.py and serve.py will refuse it\n"
    assert (told in capsys.readouterr().err) is is_told
