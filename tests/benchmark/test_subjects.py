"""Parts, loading, patches and testing, measured on tiny inputs: what they count, not how fast."""

from dataclasses import replace

import pytest
import torch

from network.benchmark import gpu
from network.benchmark.gpu import benchmark_gpu
from network.benchmark.loading import benchmark_loading
from network.benchmark.model import Case
from network.benchmark.parts import Timeline, measure_parts
from network.benchmark.patches import benchmark_patches
from network.benchmark.testing import benchmark_testing
from network.config import Experiment, load_experiment
from network.datasets.info import POTSDAM, VAIHINGEN
from network.errors import InputError
from tests.conftest import ROOT
from tests.scenes import make_dataset

TINY = ["model.encoder=test_convnext", "model.dim=32", "model.drop_path=0"]


def tiny(*overrides: str) -> Experiment:
    return load_experiment(ROOT / "config/vaihingen/bicor.py", [*TINY, *overrides])


def test_timeline_gives_the_gradients_of_the_whole():
    """Run part by part, the backward pass reaches every parameter as it does in one piece."""
    x = torch.randn(4, 8)
    one, two = torch.nn.Linear(8, 8), torch.nn.Linear(8, 1)
    timeline = Timeline()
    (hidden,) = timeline.run("one", lambda x: [one(x)], x)
    timeline.run("two", lambda h: [two(h).square().sum()], hidden)
    timeline.run("three", lambda h: [h.sum()], hidden)
    timeline.backward()
    actual = [p.grad.clone() for p in (*one.parameters(), *two.parameters())]
    one.zero_grad()
    two.zero_grad()
    hidden = one(x)
    (two(hidden).square().sum() + hidden.sum()).backward()
    expected = [p.grad for p in (*one.parameters(), *two.parameters())]
    torch.testing.assert_close(actual, expected)
    assert min(timeline.backward_seconds[name] for name in ("one", "two", "three")) > 0


def test_parts():
    shares = measure_parts(Case(experiment=tiny(), size=64, repeats=1))
    assert shares["encoder"] == (100, 100)
    assert {"aggregator", "HBIS layers", "head", "auxiliary head", "main loss"} < shares.keys()
    assert min(step for _, step in shares.values()) > 0


@pytest.mark.slow
def test_loading(tmp_path):
    make_dataset(tmp_path, VAIHINGEN, {"train": 4}, ((64, 64),))
    (row,) = benchmark_loading(tiny(f"data.root={tmp_path}", "data.crop=32"), repeats=1)
    # A mosaic, a quarter of the samples, reads four files.
    assert 1 < row["files_per_sample"] < 4
    assert row["images"] == str(tmp_path)
    assert row["ratio"] > 1
    assert row["gain_of_the_cache"] > 0


@pytest.mark.slow
def test_patches_do_the_work_of_their_floor():
    """Both write the same bytes, which the benchmark itself checks."""
    row = benchmark_patches(POTSDAM, tiles=1, size=1100, repeats=1)
    assert row["ratio"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("tta", "views"), [("none", 1), ("d4", 40)])
def test_testing(tta, views):
    device = torch.device("cpu")
    experiment = tiny()
    row = benchmark_testing(experiment, tta=tta, size=128, images=1, repeats=1, device=device)
    assert (row["views"], row["tta"]) == (views, tta)
    assert row["ratio"] > 0.5


def gpu_rows(seconds):
    def load(words):
        words = [*words, "model.dim=32", "model.drop_path=0"]
        return load_experiment(ROOT / "config/vaihingen/bicor.py", words)

    return benchmark_gpu(
        ["test_convnext", "test_vit"],
        load,
        size=64,
        batch=2,
        repeats=1,
        seconds=seconds,
        device=torch.device("cpu"),
    )


def test_gpu(monkeypatch):
    """Every mode but compilation, on the CPU, which knows no TensorFloat-32."""
    monkeypatch.setattr(gpu, "MODES", gpu.MODES[:-1])
    rows = gpu_rows(seconds=600)
    assert len(rows) == 2 * len(gpu.MODES)
    assert min(row["trained images/s"] for row in rows) > 0
    assert not torch.backends.cuda.matmul.allow_tf32


def test_gpu_in_time():
    """No row begins when the time is over, and each says so."""
    assert {row["note"] for row in gpu_rows(seconds=-1)} == {"no time left"}


def test_loading_without_images_or_tiles():
    info = replace(VAIHINGEN, tiles=None, root="nowhere")
    with pytest.raises(InputError, match=r"data\.root=PATH"):
        benchmark_loading(replace(tiny(), dataset=info), repeats=1)
