"""The padding study: its geometry and formula by known numbers, and the whole of it in small."""

import pytest

from network.config import load_experiment
from network.datasets.info import POTSDAM, VAIHINGEN
from network.errors import InputError
from network.studies import padding
from network.studies.padding import (
    padding_share,
    results_table,
    run_study,
    write_study,
)
from network.training.train import train_once
from tests.conftest import ROOT

CONFIG = ROOT / "config/padding_study/bicor.py"
SETTINGS = [
    *("model.encoder=test_convnext", "model.dim=32", "data.crop=32", "data.scales=(1.0,)"),
    *("data.workers=0", "optim.epochs=1"),
]


def test_share_of_padding():
    """The figures that follow from the sizes of the official tiles."""
    for info in (VAIHINGEN, POTSDAM):
        assert info.tile_sizes.keys() == set(info.tile_splits["test"])
    assert padding_share(VAIHINGEN.tile_sizes.values()) == pytest.approx(0.239, abs=5e-4)
    assert padding_share(POTSDAM.tile_sizes.values()) == pytest.approx(1 - (6000 / 6144) ** 2)
    assert padding_share([(64, 128)], 64) == 0
    assert padding_share([(1, 64)], 64) == pytest.approx(63 / 64)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two tiles of 160 x 144, patches of 128: 65 % of them are padding."""
    scenes = tuple((split, area, (160, 144)) for area, split in enumerate(("train", "val", "test")))
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(padding, "SCENES", scenes)
        patch.setattr(padding, "PATCH", 128)
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def rows(small):
    """What a whole study has found."""
    return run_study(small / "work", CONFIG, None, SETTINGS)


@pytest.mark.slow
def test_whole_study(small, rows):
    assert [row.trained for row in rows] == ["ignore", "geoseg"]
    for row in rows:
        assert row.share == pytest.approx(1 - 160 * 144 / 256**2, abs=1e-6)
        # The padding adds to the score what of it the model calls ImSurf.
        is_gain = row.called_first > row.ignored.overall["OA"]
        assert (row.scored.overall["OA"] > row.ignored.overall["OA"]) == is_gain
    write_study(rows, small / "out")
    assert results_table(rows) in (small / "out/padding_study.md").read_text()
    assert (small / "out/padding_study.png").stat().st_size > 10_000

    files = [p for p in small.rglob("*") if p.suffix in (".ckpt", ".tif", ".png")]
    before = {
        path: path.stat().st_mtime_ns for path in files if not {"out", "figures"} & {*path.parts}
    }
    again = run_study(small / "work", CONFIG, None, SETTINGS)
    assert results_table(again) == results_table(rows)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
@pytest.mark.usefixtures("rows")
def test_another_setting_trains_anew(small):
    own = [*SETTINGS, "name=padding_study/ignore", f"data.root={small / 'work/ignore'}"]
    assert train_once(load_experiment(CONFIG, own)).name == "version_0"
    longer = load_experiment(CONFIG, [*own, "optim.epochs=2"])
    assert train_once(longer).name == "version_1"
    assert train_once(longer).name == "version_1"


def test_foreign_tiles_are_left_alone(small):
    mine = small / "other/tiles/train_images/mine.tif"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"tiles: holds other files .* train_images/mine\.tif; "):
        run_study(small / "other", CONFIG, None, SETTINGS)
    assert mine.read_bytes() == b"mine"


def test_a_missing_tile_is_made_again(small):
    folder = small / "again/tiles"
    padding.make_tiles(folder)
    content = {path: path.read_bytes() for path in folder.rglob("*.tif")}
    next(iter(content)).unlink()
    padding.make_tiles(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.tif")} == content
