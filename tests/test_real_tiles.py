"""The commands on real tiles, where they lie beside the repository; they are not part of it.

One crop each of ISPRS Vaihingen and Potsdam, two LoveDA tiles, a drone orthophoto in tiles, and
data of other people in the forms in which they lie around.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from network.config import load_experiment
from network.datasets.files import list_images, read_mask, read_rgb
from network.datasets.info import LOVEDA, POTSDAM, VAIHINGEN
from network.datasets.segmentation import check_samples, find_samples
from tests.commands import error_of, succeed
from tests.conftest import ROOT
from tests.test_commands import OVERRIDES

TILES = Path(os.environ.get("REAL_TILES", ROOT.parent / "shared" / "data"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TILES.is_dir(), reason="no real tiles on this machine"),
]


def cut(cwd: Path, name: str, split: str, masks: str, *flags: str, patch: int = 256) -> None:
    """One crop into patches, under the folder names that the configs read."""
    kind = "masks_1024_rgb" if "--gt" in flags else "masks_1024"
    folders = {
        "--img-dir": TILES / name / "images",
        "--mask-dir": TILES / name / masks,
        "--output-img-dir": f"data/{split}/images_1024",
        "--output-mask-dir": f"data/{split}/{kind}",
    }
    paths = [str(word) for pair in folders.items() for word in pair]
    size = ["--split-size", str(patch), "--stride", str(patch)]
    succeed(f"tools/{name}_patch_split.py", *paths, *size, *flags, cwd=cwd)


@pytest.mark.parametrize(
    ("name", "info", "flags"), [("vaihingen", VAIHINGEN, []), ("potsdam", POTSDAM, ["--rgb-image"])]
)
def test_isprs(tmp_path, name, info, flags):
    for split in ("train", "val"):
        cut(tmp_path, name, split, "masks", "--mode", split, *flags)
    cut(tmp_path, name, "test", "masks", "--mode", "val", "--gt", *flags)
    cut(tmp_path, name, "test", "masks_eroded", "--mode", "val", "--eroded", *flags)
    (whole,) = list_images(TILES / name / "masks_eroded").values()
    expected = info.from_rgb(read_rgb(whole), str(whole))
    rows = [
        [
            read_mask(path, info)
            for path in sorted((tmp_path / "data/test/masks_1024").glob(pattern))
        ]
        for pattern in ("*_0_[01].png", "*_0_[23].png")
    ]
    np.testing.assert_array_equal(np.block(rows), expected)

    config = ["-c", str(ROOT / f"config/{name}/bicor.py"), *OVERRIDES]
    succeed("train.py", "--accelerator", "cpu", *config, cwd=tmp_path)
    succeed(f"test_{name}.py", *config, "-o", "out", "-t", "lr", "--rgb", cwd=tmp_path)
    document = json.loads((tmp_path / "out/scores.json").read_text())
    assert document["scores"].keys() == {"eroded", "full"}
    for kind in ("eroded", "full"):
        masks = document["protocol"]["masks"][kind]
        assert masks["padding_policy"] == "ignore"
        assert masks["tiling"] == "patches of 256, stride 256"


def test_loveda(tmp_path):
    for domain in ("Rural", "Urban"):
        source = TILES / "LoveDA/Train" / domain
        target = tmp_path / "data/Train" / domain
        target.mkdir(parents=True)
        (target / "images_png").symlink_to(source / "images_png")
        args = ["--mask-dir", str(source / "masks_png")]
        args += ["--output-mask-dir", str(target / "masks_png_convert")]
        succeed("tools/loveda_mask_convert.py", *args, cwd=tmp_path)
        again = ["--mask-dir", str(target / "masks_png_convert"), "--output-mask-dir", "again"]
        assert "masks_png_convert" in error_of("tools/loveda_mask_convert.py", *again, cwd=tmp_path)
        for path in (source / "masks_png").iterdir():
            raw, converted = read_rgb(path)[..., 0], target / "masks_png_convert" / path.name
            expected = np.where(raw == 0, LOVEDA.ignore_index, raw - 1)
            np.testing.assert_array_equal(read_mask(converted, LOVEDA), expected)
    config = ["-c", str(ROOT / "config/loveda/bicor.py"), *OVERRIDES, "data.val=None"]
    succeed("train.py", "--accelerator", "cpu", *config, cwd=tmp_path)
    seen = [*config, "data.test=train"]
    out = succeed("test_loveda.py", *seen, "-o", "out", cwd=tmp_path)
    assert "TRAINED ON" in out
    assert json.loads((tmp_path / "out/scores.json").read_text())["protocol"]["trained_on"]


def test_drone():
    experiment = load_experiment(ROOT / "config/drone/bicor.py", [f"data.root={TILES / 'drone'}"])
    counts = {}
    for split in ("train", "val", "test"):
        samples = find_samples(experiment.dataset, experiment.root, split)
        check_samples(samples, experiment.dataset, split)
        counts[split] = len(samples)
    assert counts == {"train": 23, "val": 4, "test": 5}


FOUND = {
    "drone": ((23, 4, 5), "class_0"),
    "uuad": ((693, 144, 153), "Unplanned Urban Areas"),
    "dubai": ((45, 9, 18), "blueviolet"),
    "vn_uav": ((36, 24, 24), "background"),
}
"""Images in train, val and test, and the first class."""


@pytest.mark.parametrize("name", FOUND)
def test_a_new_config_trains_without_an_edit(tmp_path, name):
    if not (TILES / name).is_dir():
        pytest.skip("not on this machine")
    # The labels of scenes are drawn into the folder of the data.
    (tmp_path / "data" / name).mkdir(parents=True)
    for path in (TILES / name).iterdir():
        (tmp_path / "data" / name / path.name).symlink_to(path)
    out = succeed("tools/new_dataset.py", f"data/{name}", "--workers", "1", cwd=tmp_path)
    counts, first = FOUND[name]
    assert "train {}, val {}, test {}".format(*counts) in out
    config = f"config/{name}/bicor.py"
    info = load_experiment(tmp_path / config).dataset
    assert info.classes[0] == first
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        samples = find_samples(info, tmp_path / info.root, split)
        assert len(samples) == count
        check_samples(samples, info, split)
    if name == "dubai":
        assert "masks have a color table whose indices are no labels" in out
        assert "classes.json: its colors are not those of the masks" in out
    tiny = [word for word in OVERRIDES if word != "data.root=data"]
    # Whole tiles of 2000 pixels are slow to validate.
    flags = ["--accelerator", "cpu", "--fast-dev-run", "data.repeat=1", "data.val=None"]
    succeed("train.py", "-c", config, *flags, *tiny, cwd=tmp_path)
