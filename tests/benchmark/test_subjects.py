"""Parts, loading, patches and testing, measured on tiny inputs: what they count, not how fast."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from network.benchmark import gpu, testing
from network.benchmark import model as model_module
from network.benchmark.engines import benchmark_engines
from network.benchmark.gpu import benchmark_gpu
from network.benchmark.loading import benchmark_loading
from network.benchmark.model import Case, benchmark_model
from network.benchmark.parts import Timeline, measure_parts
from network.benchmark.patches import benchmark_patches
from network.benchmark.testing import benchmark_testing
from network.commands import benchmark as command
from network.commands.arguments import parse_with_overrides
from network.config import Experiment, load_experiment
from network.datasets.info import POTSDAM, VAIHINGEN
from network.errors import InputError
from network.exported.programs import OpenVino
from network.models.adaptation import is_update
from tests.conftest import ROOT
from tests.exported.tiny import export_tiny
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


@pytest.mark.slow
def test_a_test_and_its_floor_see_the_same_images(monkeypatch):
    """Also if the last batch was not full: three images at once, and two are wanted."""
    seen, build = [], Experiment.build_model

    def watched(experiment, **options):
        model = build(experiment, **options)
        forward = model.forward
        model.forward = lambda images: (seen.append(len(images)), forward(images))[1]
        return model

    def once(functions, repeats, **_):
        for name, function in functions.items():
            function()
            counts[name], seen[:] = seen.copy(), []
        return {name: [1.0] for name in functions}

    counts: dict[str, list[int]] = {}
    monkeypatch.setattr(Experiment, "build_model", watched)
    monkeypatch.setattr(testing, "interleave", once)
    row = benchmark_testing(
        tiny(), tta="none", size=128, batch_size=3, repeats=1, device=torch.device("cpu")
    )
    assert counts == {"forward 128": [3], "test": [3]}
    assert row["images_per_s"] == 3


@pytest.mark.slow
def test_lora_is_merged_for_predictions_alone(monkeypatch):
    has_lora = {"_train": set(), "_forward": set()}

    def watched(name, step):
        def run(network, *args):
            has_lora[name].add(any(is_update(key) for key in network.state_dict()))
            return step(network, *args)

        return run

    for name in has_lora:
        monkeypatch.setattr(model_module, name, watched(name, getattr(model_module, name)))
    row = benchmark_model(
        Case(experiment=tiny("model.encoder=test_vit", "model.lora=2"), size=64, repeats=1)
    )
    assert has_lora == {"_train": {True}, "_forward": {False}}
    plain = tiny("model.encoder=test_vit").build_model(pretrained=False)
    assert row["params_m"] == sum(p.numel() for p in plain.parameters()) / 1e6
    assert 0 < row["encoder_params_m"] < row["params_m"]


def test_parts_of_another_network():
    config = ROOT / "config/vaihingen/d2ls.py"
    other = load_experiment(config, ["model.encoder=test_convnext", "model.dim=32"])
    with pytest.raises(InputError, match=r"d2ls\.py: has D2LS with .*; parts can be measured for"):
        measure_parts(Case(experiment=other, size=64, repeats=1))


@pytest.mark.slow
def test_files_that_cannot_be_compared(tmp_path):
    """Each is refused before anything is measured."""
    measure = partial(benchmark_engines, tiny(), size=64, repeats=1)
    with pytest.raises(InputError, match=r"best\.ckpt: is no exported file; these end in"):
        measure([tmp_path / "best.ckpt"])
    for size, batch, words in (
        ((96, 96), 1, r"net\.pt2: takes 96 x 96 pixels, not 64 x 64; give size=96"),
        ((64, 64), 2, r"net\.pt2: takes 2 images at once, and one is measured; export it with"),
    ):
        file = export_tiny(tmp_path / "net.pt2", size, batch)
        with pytest.raises(InputError, match=words):
            measure([file])


def test_a_program_that_is_not_installed(tmp_path, monkeypatch, capsys):
    """The others are measured, and a line names it."""
    file = export_tiny(tmp_path / "net.pt2", (64, 64))
    monkeypatch.setattr(OpenVino, "endings", (".pt2",))
    monkeypatch.setattr(OpenVino, "package", "no_such_package")
    rows = benchmark_engines(tiny(), [file], size=64, repeats=1)
    assert [row["backend"] for row in rows if row["what"] == "net.pt2"] == ["torch"]
    told = capsys.readouterr().err
    assert "warning: net.pt2 is not measured by one program: backend=openvino: needs" in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("patches --size 256", "--size 256: changes nothing in 'patches'; leave it out"),
        ("patches data.root=x", "data.root=x: changes nothing in 'patches'; leave it out"),
        ("loading -t lr", "--tta lr: changes nothing in 'loading'; leave it out"),
        ("parts --compile", "--compile: changes nothing in 'parts'; leave it out"),
        ("parts --size 64 96", "--size 64 96: 'parts' takes one value; give one of them"),
        ("gpu --batch 1 2", "--batch 1 2: 'gpu' takes one value; give one of them"),
        ("engines -c a.py b.py", "--config a.py b.py: 'engines' takes one value; give one of them"),
        ("models -c a.py", "--config a.py: 'models' has configs of its own; leave it out, or add"),
        ("model --classes 300", "--classes 300: must be at most 254"),
    ],
)
def test_flags_that_would_change_nothing(line, words):
    args = parse_with_overrides(command.make_parser(""), line.split())
    with pytest.raises(InputError) as error:
        command.run(args)
    assert str(error.value).startswith(words)


def test_as_many_classes_as_labels():
    found = command.with_classes(tiny(), 254)
    assert (found.dataset.num_classes, found.dataset.ignore_index) == (254, 255)


def test_every_flag_has_its_subjects():
    flags = set(vars(command.make_parser("").parse_args([]))) - {*command.COMMON_FLAGS}
    assert command.FLAGS.keys() == set(command.SUBJECTS)
    assert {
        one for both in command.FLAGS.values() for word in both for one in word.split()
    } == flags


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
