"""Advice on files that are stored so that their windows are slow to read."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from network.datasets import read_speed
from network.datasets.files import write_image
from network.datasets.read_speed import advise_on_storage, measure_speed
from network.datasets.segmentation import Sample
from network.rasters.reader import read_raster
from tests.scenes import write_bands

SIDE = 1000
MANY = 12
"""So many pictures do not stay decoded in memory."""


def picture() -> np.ndarray:
    """Smooth colors with a little noise, like those of a photo."""
    rng, lines = np.random.default_rng(0), np.linspace(0, 12, SIDE)
    waves = 100 + 60 * np.sin(lines)[:, None, None] * np.cos(lines * [[1], [2], [3]]).T[None]
    return (waves + rng.integers(0, 8, (SIDE, SIDE, 3))).astype(np.uint8)


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    monkeypatch.setattr(read_speed, "WINDOWS", 4)


def sample_of(path: Path) -> Sample:
    return Sample(name=path.stem, image=path, size=(SIDE, SIDE))


def stored(folder: Path, form: str) -> Path:
    """The picture in a form of files."""
    path = folder / f"{form}.tif"
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "pixel"}
    if form == "png":
        path = folder / "png.png"
        write_image(path, picture())
    elif form == "jp2":
        path = folder / "jp2.jp2"
        options = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"}
        with rasterio.open(
            *(path, "w"), width=SIDE, height=SIDE, count=3, dtype="uint8", **options
        ) as file:
            file.write(picture().transpose(2, 0, 1))
    else:
        options = {
            "lzma": {**tiles, "blockxsize": 512, "blockysize": 512, "compress": "lzma"},
            "one block": {**tiles, "blockxsize": 1008, "blockysize": 1008, "compress": "deflate"},
            "zstd": {**tiles, "compress": "zstd"},
            "plain": tiles,
        }[form]
        write_bands(path, picture(), **options)
    return path


@pytest.mark.parametrize("form", ["lzma", "one block", "jp2", "png"])
def test_slow_files(tmp_path, form, capfd):
    path = stored(tmp_path, form)
    advise_on_storage(MANY * [sample_of(path)], 64)
    told = capfd.readouterr().err.strip()
    assert told.count("\n") == 0
    words = {"lzma": "compressed by LZMA", "jp2": "compressed by JPEG 2000"}
    words["one block"] = "is stored in blocks of 1008 x 1008 pixels and compressed by DEFLATE"
    words["png"] = "is stored in blocks of 1 x 1000 pixels"
    assert words[form] in told
    before, after = re.search(
        r"takes (\d+) ms; in .* it would take (\d+|less than 1) ms", told
    ).groups()
    assert int(before) > 2.5 * (int(after) if after.isdigit() else 0.5)


@pytest.mark.parametrize("form", ["zstd", "plain"])
def test_good_files(tmp_path, form, capfd):
    advise_on_storage(MANY * [sample_of(stored(tmp_path, form))], 256)
    assert capfd.readouterr().err == ""


def test_the_worst_of_several_forms_is_told_once(tmp_path, capfd):
    paths = [stored(tmp_path, "zstd"), stored(tmp_path, "lzma")]
    paths += [Path(shutil.copy(paths[1], tmp_path / f"copy{n}.tif")) for n in range(3)]
    advise_on_storage(MANY * [sample_of(path) for path in paths], 64)
    told = capfd.readouterr().err
    assert told.count("gdal_translate") == 1
    assert "lzma.tif: is stored" in told
    advise_on_storage([], 64)
    advise_on_storage([sample_of(paths[1])], 64)  # which stays decoded
    assert capfd.readouterr().err == ""


def test_the_command_keeps_its_promise(tmp_path, capfd):
    """Pixels stay, windows are read faster, and the file is as large as is said."""
    path = stored(tmp_path, "lzma")
    before = measure_speed(sample_of(path), 64)
    advise_on_storage(MANY * [sample_of(path)], 64)
    command = capfd.readouterr().err.partition("gdal_translate")[2]
    options = dict(word.split("=") for word in command.split() if "=" in word)
    assert command.split()[-2:] == ["lzma.tif", "tiled.tif"]
    tiled = tmp_path / "tiled.tif"
    rasterio.shutil.copy(path, tiled, driver=command.split()[1], **options)
    np.testing.assert_array_equal(read_raster(tiled).values, picture())
    assert measure_speed(sample_of(tiled), 64).seconds < before.seconds / 2
    grown = tiled.stat().st_size / path.stat().st_size
    assert before.growth == pytest.approx(grown, rel=0.2)
