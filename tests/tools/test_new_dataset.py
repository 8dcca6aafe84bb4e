"""The command that writes a config: what it prints can be run, and bad input is one line."""

import re
import shlex

import numpy as np
import pytest
from affine import Affine

from network.config import IMAGENET_MEAN, IMAGENET_STD, load_experiment
from network.datasets.files import write_image
from tests.commands import error_of, succeed
from tests.datasets.discovery.found import COLORS, image_of, labels_of, write_pairs
from tests.datasets.on_earth.scenes import write_features, write_regions
from tests.rasters.earth import ORIGIN, UTM
from tests.scenes import write_bands

pytestmark = pytest.mark.slow

TOOL = "tools/new_dataset.py"
TINY = [
    "model.encoder=test_convnext",
    "model.weights=None",
    "model.drop_path=0",
    "data.crop=32",
    "data.repeat=1",
    "data.batch_size=1",
    "data.workers=0",
    "optim.epochs=1",
]


def write(cwd, *words):
    return succeed(TOOL, *words, "--workers", "1", cwd=cwd)


def next_commands(out):
    """The words of the three commands that are printed."""
    return [shlex.split(line)[1:] for line in out.partition("\nnext:\n")[2].splitlines()]


def follow(out, cwd, checked="0 findings"):
    """Run the three commands, with a tiny network."""
    check, train, test = next_commands(out)
    assert checked in succeed(*check, "--workers", "1", cwd=cwd)
    succeed(*train, *TINY, "--accelerator", "cpu", cwd=cwd)
    succeed(*test, *TINY, cwd=cwd)
    result = "report.html" if "--report" in test else "scores.json"
    assert (cwd / test[test.index("-o") + 1] / result).is_file()


def test_masks_of_colors(tmp_path):
    """A path with spaces, parents that stay together, and a config that is not replaced."""
    folder = tmp_path / "data/my fields"
    names = [f"area{tile}_{part}" for tile in range(5) for part in range(2)]
    write_pairs(folder / "images", folder / "masks", names, rgb=True)
    (folder / "class_dict.csv").write_text(
        "name,r,g,b\n" + "".join(f"c{n},{r},{g},{b}\n" for n, (r, g, b) in enumerate(COLORS))
    )
    out = write(tmp_path, "data/my fields", "-o", "config/my fields/bicor.py")
    assert "10 images of 64 x 64 pixels, 3 bands of uint8" in out
    assert re.search(r"│ 0 +│ c0 +│ \(0, 90, 200\) +│ #005ac8 │ +\d\d\.\d\d │", out)
    assert "'config/my fields/bicor.py'" in out
    assert "mean and std: those that the encoder was pretrained with" in out
    config = tmp_path / "config/my fields/bicor.py"
    assert "# No mean and std: images of 8-bit RGB are normalized" in config.read_text()
    experiment = load_experiment(config)
    assert experiment.mean_and_std == (IMAGENET_MEAN, IMAGENET_STD)
    info = experiment.dataset
    assert (info.name, info.root) == ("my_fields", "data/my fields")
    assert info.classes == ("c0", "c1", "c2")
    check = next_commands(out)[0]
    assert "0 findings in 10 images" in succeed(*check, "--workers", "1", cwd=tmp_path)

    again = "data/my fields", "-o", "config/my fields/bicor.py"
    line = error_of(TOOL, *again, cwd=tmp_path)
    assert "config/my fields/bicor.py: exists; give another -o, or --overwrite" in line
    assert write(tmp_path, *again, "--overwrite") == out


def test_reflectance_of_four_bands(tmp_path):
    """Scenes on Earth with polygons and no data, too few to be shared out."""
    for n in range(2):
        labels, place = labels_of(n, 128), ORIGIN @ Affine.translation(200 * n, 0)
        bands = np.dstack([image_of(labels, n), image_of(labels, n)[..., :1]])
        bands = (bands / np.float32(300)).astype(np.float32)
        bands[:30] = -9999
        path = tmp_path / f"data/river/images/{n}.tif"
        write_bands(path, bands, crs=UTM, transform=place, nodata=-9999)
        write_regions(tmp_path / f"data/river/labels/{n}.geojson", labels, place)
    out = write(tmp_path, "data/river")
    assert "4 bands of float32, 0.5 m a pixel" in out
    assert "config/river/bicor.py and config/river/areas.gpkg" in out
    experiment = load_experiment(tmp_path / "config/river/bicor.py")
    assert min(experiment.data.mean) > 0
    assert len(experiment.data.std) == 4
    assert set(experiment.dataset.classes) == {"field", "house", "road"}
    follow(out, tmp_path)


def test_values_of_two_classes(tmp_path):
    """Masks of 0 and 255 in 16-bit images of four bands, and a name and an attribute too many."""
    for n in range(4):
        labels = labels_of(n)
        bands = np.dstack([image_of(labels, n), 80 * labels]).astype(np.uint16) * 40
        write_bands(tmp_path / f"data/x/images/{n}.tif", bands)
        write_image(tmp_path / f"data/x/masks/{n}.png", 255 * (labels // 2))
    out = write(tmp_path, "data/x/images", "--labels", "data/x/masks", "--name", "clearings")
    assert "config/clearings/bicor.py" in out
    follow(out, tmp_path)
    line = error_of(TOOL, "data/x", "--attribute", "class", "--name", "y", cwd=tmp_path)
    assert "--attribute class: the labels are masks" in line
    assert "--name a/b: expected letters" in error_of(TOOL, "data/x", "--name", "a/b", cwd=tmp_path)


def test_bad_input(tmp_path):
    """One line, and nothing is written."""
    assert "none: no such file or folder" in error_of(TOOL, "data/none", cwd=tmp_path)
    (tmp_path / "data/empty").mkdir(parents=True)
    assert "data/empty: no image in it" in error_of(TOOL, "data/empty", cwd=tmp_path)
    write_image(tmp_path / "data/a/images/tile_01.png", image_of(labels_of(0)))
    assert "no labels in it" in error_of(TOOL, "data/a", cwd=tmp_path)
    assert "give --labels PATH" in error_of(TOOL, "data/a", cwd=tmp_path)
    write_image(tmp_path / "data/a/masks/tile1.png", labels_of(0))
    line = error_of(TOOL, "data/a", cwd=tmp_path)
    assert "the nearest are tile1.png and tile_01" in line
    words = "data/a", "-o", "config/a.json"
    assert "config/a.json: a config is a Python file" in error_of(TOOL, *words, cwd=tmp_path)

    labels = labels_of(0)
    write_bands(tmp_path / "data/b/s.tif", image_of(labels), crs=UTM, transform=ORIGIN)
    write_regions(tmp_path / "data/b/labels.gpkg", labels)
    line = error_of(TOOL, "data/b", "--attribute", "klass", cwd=tmp_path)
    assert "labels.gpkg: has no attribute 'klass'; did you mean 'class'?" in line
    write_features(tmp_path / "data/areas.gpkg", [], part=[])
    line = error_of(TOOL, "data/b", "--areas", "data/areas.gpkg", cwd=tmp_path)
    assert "areas.gpkg: no attribute of it has the names of splits" in line
