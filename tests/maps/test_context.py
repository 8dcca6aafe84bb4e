"""Maps whose windows are seen in the context of the whole image."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

from network.datasets.files import read_valid_image
from network.datasets.info import VAIHINGEN, DatasetInfo
from network.errors import InputError
from network.maps import context
from network.maps.options import MapOptions
from network.maps.plan import Plan
from network.models.bicor import BiCoRSeg
from network.models.d2ls import D2LS
from network.predictor import Predictor
from network.rasters.pixels import network_values
from network.settings import Compute
from tests.maps.local import PLACE, Local, contents, heights, predict, random_image, whole
from tests.scenes import write_bands

pytestmark = pytest.mark.slow

OPTIONS = MapOptions(window=224, halo=64, context="image")


def build(tta: str = "none", network: str = "bicor", info: DatasetInfo = VAIHINGEN) -> Predictor:
    torch.manual_seed(0)
    model = (
        D2LS(6, "test_convnext", weights=None, dim=32, layers=1)
        if network == "d2ls"
        else BiCoRSeg(6, "test_convnext", weights=None, dim=32, topk_ratio=0.1)
    )
    return Predictor(
        model,
        info,
        ((128,) * 3, (60,) * 3),
        patch=None,
        device="cpu",
        tta=tta,
        # An untrained network has classes that differ by less than float32 rounds.
        compute=Compute(precision="64-true"),
    )


@pytest.fixture
def image(tmp_path):
    write_bands(tmp_path / "in/a.tif", random_image(450, 400), photometric="RGB", **PLACE)
    return tmp_path / "in/a.tif"


def labels(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize("network", ["bicor", "d2ls"])
def test_the_map_does_not_depend_on_the_windows(image, tmp_path, network):
    predictor = build(network=network)
    expected = whole(predictor, random_image(450, 400))
    for window, batch in ((224, 1), (288, 3)):
        out, options = tmp_path / f"out{window}", replace(OPTIONS, window=window, batch_size=batch)
        predict(predictor, image, out=out, options=options)
        np.testing.assert_array_equal(labels(out / "a.tif"), expected)
    predict(predictor, image, out=tmp_path / "alone", options=replace(OPTIONS, context="window"))
    assert (labels(tmp_path / "alone/a.tif") != expected).any()


def test_measurements(tmp_path):
    """Neither NaN nor a no-data value gets into the context."""
    info = replace(VAIHINGEN, bits=32, values="float")
    write_bands(tmp_path / "in/a.tif", heights(300, 260), nodata=-9999, **PLACE)
    image, valid = read_valid_image(tmp_path / "in/a.tif", info)
    predictor = build(info=info)
    predict(predictor, tmp_path / "in/a.tif", out=tmp_path / "out", options=OPTIONS)
    expected = whole(predictor, network_values(image, valid))
    np.testing.assert_array_equal(labels(tmp_path / "out/a.tif"), np.where(valid, expected, 255))


def test_processes_share_one_context(image, tmp_path, monkeypatch):
    predict(build(), image, out=tmp_path / "whole", options=OPTIONS)
    for shard in ((0, 2), (1, 2)):
        predict(build(), image, out=tmp_path / "out", options=replace(OPTIONS, shard=shard))
        monkeypatch.setattr(context, "_compute", None)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_image_without_a_valid_pixel(tmp_path):
    pixels = np.zeros((300, 300, 3), np.uint8)
    write_bands(tmp_path / "in/a.tif", pixels, nodata=0, photometric="RGB", **PLACE)
    predict(build(), tmp_path / "in/a.tif", out=tmp_path / "out", options=OPTIONS)
    assert (labels(tmp_path / "out/a.tif") == 255).all()


def test_windows_for_a_large_image_are_spread(monkeypatch):
    plan = Plan(20_000, 30_000)
    everything = [part for block in plan.blocks() for part in block.parts]
    seen = context.seen_parts(plan)
    assert len(seen) / len(everything) == pytest.approx(2**25 / 6e8, rel=0.15)
    quarters = [(p.core[0].start > 10_000, p.core[1].start > 15_000) for p in seen]
    assert min(quarters.count(q) for q in set(quarters)) > 0.15 * len(seen)
    monkeypatch.setattr(context, "SEEN_PIXELS", 6e8)
    assert context.seen_parts(plan) == everything


def test_a_part_of_an_image_gives_nearly_its_context(image, tmp_path, monkeypatch):
    expected = whole(build(), random_image(450, 400))
    monkeypatch.setattr(context, "SEEN_PIXELS", 450 * 400 // 2)
    predict(build(), image, out=tmp_path / "out", options=OPTIONS)
    predict(build(), image, out=tmp_path / "alone", options=replace(OPTIONS, context="window"))
    near, alone = ((labels(tmp_path / f"{n}/a.tif") == expected).mean() for n in ("out", "alone"))
    assert alone < near < 1


@pytest.mark.parametrize("valid", [3, 1])
def test_data_outside_the_windows_of_a_large_image(tmp_path, monkeypatch, valid):
    """Then other windows are seen, those that have data; of much data, so many as else."""
    plan = Plan(800, 800, OPTIONS.window, OPTIONS.halo)
    monkeypatch.setattr(context, "SEEN_PIXELS", 800 * 800 // 8)
    everything = [part for block in plan.blocks() for part in block.parts]
    chosen = context.seen_parts(plan)
    others = [part for part in everything if part not in chosen]
    pixels = np.zeros((800, 800, 3), np.uint8)
    for part in others[: len(others) if valid == 3 else 1]:
        pixels[part.core] = np.maximum(random_image(800, 800)[part.core], 1)
    # In strips, the file would get another plan.
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    write_bands(tmp_path / "in/a.tif", pixels, nodata=0, photometric="RGB", **tiled, **PLACE)
    seen, compute = [], context._compute

    def spy(found, predictor, source, parts):
        compute(found, predictor, source, parts)
        seen.append((found.state(), parts))

    monkeypatch.setattr(context, "_compute", spy)
    predictor = build()
    predict(predictor, tmp_path / "in/a.tif", out=tmp_path / "out", options=OPTIONS)
    ((state, parts),) = seen
    if valid == 1:
        assert parts == others[:1]
    else:
        assert set(map(str, parts)) <= set(map(str, others))
        areas = [sum(context._pixels(part) for part in some) for some in (parts, chosen)]
        assert areas[0] == pytest.approx(areas[1], abs=max(map(context._pixels, everything)))
    before = predictor.model.class_embeddings.detach()
    assert state
    assert not any(torch.equal(refined.view_as(before), before) for refined in state)


@pytest.mark.parametrize(
    ("predictor", "options", "words"),
    [
        (build, {"context": "tile"}, "context=tile: must be one of window, image"),
        (lambda: build("lr"), {}, "without test-time augmentation"),
        (
            lambda: Predictor(Local(), VAIHINGEN, ((0,) * 3, (1,) * 3), patch=None, device="cpu"),
            {},
            "Local cannot be given the context",
        ),
    ],
)
def test_what_has_no_context(image, tmp_path, predictor, options, words):
    with pytest.raises(InputError, match=words):
        predict(predictor(), image, out=tmp_path / "out", options=replace(OPTIONS, **options))
    assert not (tmp_path / "out").exists()
