"""Configs: loading, overriding, and what is said of a wrong one."""

import argparse
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from network.commands.arguments import parse_with_overrides
from network.config import describe, load_experiment, override, settings
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.models.bicor import BiCoRSeg
from network.models.smp import SMPSegmenter
from network.settings import IMAGENET_MEAN, IMAGENET_STD, Data, Optim
from tests.conftest import ROOT

CONFIG = """
from functools import partial
from network.config import Data, Experiment, Optim
from network.datasets.info import VAIHINGEN
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg

def loss(fisher: float = 0.1) -> BiCoRLoss:
    return BiCoRLoss(6, fisher=fisher)

experiment = Experiment(
    dataset=VAIHINGEN,
    model=partial(BiCoRSeg, 6, encoder="test_convnext", dim=32, layers=2),
    loss=loss,
    data=Data(crop=256),
    optim=Optim(lr=1e-3),
)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config" / "vaihingen" / "bicor.py"
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG)
    return path


def changed(config: Path, old: str, new: str) -> Path:
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new))
    return config


def error_of(config: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        load_experiment(config, overrides)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_load(config):
    experiment = load_experiment(config)
    assert experiment.dataset is VAIHINGEN
    assert (experiment.data.crop, experiment.optim.lr) == (256, 1e-3)
    assert experiment.name == "vaihingen/bicor"
    assert experiment.config == config.as_posix()
    assert experiment.root == Path("data/vaihingen")


def test_overrides(config):
    experiment = load_experiment(
        config,
        [
            "data.batch_size=4",
            "optim.lr=1e-4",
            "optim.lookahead=false",
            "data.scales=0.5,1,2",
            "data.root=/data/1e3",
            "data.val=None",
            "model.layers=1",
            "model.weights=None",
            "loss.fisher=0",
            "seed=7",
            "name=mine",
        ],
    )
    assert experiment.data == Data(
        crop=256, batch_size=4, scales=(0.5, 1.0, 2.0), root="/data/1e3", val=None
    )
    assert experiment.optim == Optim(lr=1e-4, lookahead=False)
    assert (experiment.seed, experiment.name) == (7, "mine")
    assert len(experiment.build_model().layers) == 1
    assert experiment.loss().fisher == 0


def test_names_of_digits_and_values_of_one_band(config):
    words = ["data.root=2024", "data.train_labels=0200", "data.mean=0.5", "data.std=0.2"]
    data = load_experiment(config, words).data
    assert (data.root, data.train_labels) == ("2024", "0200")
    assert (data.mean, data.std) == ((0.5,), (0.2,))
    assert load_experiment(config, ["data.root=None"]).data.root is None


def test_values_by_position_are_settings(config):
    """Otherwise, a run with another loss would pass as the same."""
    text = CONFIG.replace("loss=loss", "loss=partial(BiCoRLoss, 6, 0.1, 0.3)")
    config.write_text(text.replace('6, encoder="test_convnext", ', '6, "test_convnext", '))
    found = settings(load_experiment(config))
    assert (found["loss.smoothing"], found["loss.aux"]) == (0.1, 0.3)
    assert found["model.encoder"] == "test_convnext"
    assert "loss.ignore_index" not in found  # the data set has it
    changed = load_experiment(config, ["loss.smoothing=0", "model.encoder=resnet18"])
    assert (changed.loss().smoothing, changed.loss().aux) == (0, 0.3)


def test_values_that_only_fit_together(config):
    for overrides in (["optim.lr=1e-9", "optim.min_lr=0"], ["optim.min_lr=0", "optim.lr=1e-9"]):
        assert load_experiment(config, overrides).optim == Optim(lr=1e-9, min_lr=0)


def test_later_overrides_win(config):
    experiment = load_experiment(config, ["model.layers=1", "model.topk_ratio=1", "model.layers=3"])
    values = settings(experiment)
    assert (values["model.layers"], values["model.topk_ratio"]) == (3, 1.0)
    assert isinstance(values["model.topk_ratio"], float)


def test_pretrained_weights_are_not_asked_for_where_a_checkpoint_follows(config):
    assert load_experiment(config).build_model(pretrained=False)


def test_description_names_every_setting_and_can_be_read_back(config):
    experiment = load_experiment(config, ["model.layers=3", "data.scales=0.5,1"])
    text = describe(experiment)
    assert "optim.lr=0.001\n" in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    again = load_experiment(config, [line for line in lines if not line.startswith("config")])
    assert settings(again) == settings(experiment)


def test_none_may_be_a_value():
    experiment = load_experiment(ROOT / "config/drone/resnet18_points.py", ["loss.weights=none"])
    assert settings(experiment)["loss.weights"] == "none"


def test_none_in_small_letters(config):
    experiment = load_experiment(config, ["model.weights=none", "data.val=none"])
    assert settings(experiment)["model.weights"] is None
    assert experiment.data.val is None


def test_a_config_of_another_one_has_a_name_of_its_own(tmp_path, config):
    """Otherwise its runs would be taken for those of the other config."""
    other = config.with_name("other.py")
    text = "from network.config import load_experiment\n"
    other.write_text(f"{text}experiment = load_experiment({str(config)!r}, ['optim.lr=0.5'])\n")
    experiment = load_experiment(other)
    assert (experiment.name, experiment.config) == ("vaihingen/other", other.as_posix())
    assert experiment.optim.lr == 0.5
    other.write_text(f"{text}experiment = load_experiment({str(config)!r}, ['name=mine'])\n")
    assert load_experiment(other).name == "mine"


def test_lines_of_errors_for_relative_paths(config, monkeypatch):
    changed(config, "import BiCoRSeg", "import BiCoRSag")
    monkeypatch.chdir(config.parent)
    assert "line 6" in error_of(Path(config.name))


def test_configs_of_one_name_do_not_collide(tmp_path, config):
    other = tmp_path / "config" / "potsdam" / "bicor.py"
    other.parent.mkdir()
    other.write_text(CONFIG.replace("crop=256", "crop=64"))
    first, second = load_experiment(config), load_experiment(other)
    assert (first.data.crop, second.data.crop) == (256, 64)
    assert (first.name, second.name) == ("vaihingen/bicor", "potsdam/bicor")


@pytest.mark.slow
def test_importing_a_config_builds_and_opens_nothing():
    """No data, no network, no weights: not even a download is tried, whatever the config says."""
    script = (
        "import sys, torch, network.config as c\n"
        "torch.nn.Module.__init__ = lambda self, *a, **k: sys.exit('built a module')\n"
        f"c.load_experiment({str(ROOT / 'config/loveda/bicor.py')!r})\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_overrides_anywhere_on_the_command_line():
    def parse(line: str):
        parser = argparse.ArgumentParser()
        parser.add_argument("-c", nargs="+")
        parser.add_argument("--resume", nargs="?", const="latest")
        parser.add_argument("--size", type=int, nargs="+")
        return parse_with_overrides(parser, line.split())

    for line in (
        "model.dim=32 -c a b --size 1 2 --resume",
        "-c a b model.dim=32 --resume --size 1 2",
        "--resume model.dim=32 --size 1 2 -c a b",
        "--resume --size 1 2 model.dim=32 -c a b",
    ):
        args = parse(line)
        assert (args.c, args.size, args.resume) == (["a", "b"], [1, 2], "latest")
        assert args.overrides == ["model.dim=32"]
    assert parse("seed=1 --resume last.ckpt").resume == "last.ckpt"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.batchsize=4", ["data.batchsize", "did you mean 'data.batch_size'?"]),
        ("optim.epoch=1", ["did you mean 'optim.epochs'?"]),
        ("model.layer=1", ["did you mean 'model.layers'?"]),
        ("loss.fischer=1", ["did you mean 'loss.fisher'?"]),
        ("batch_size=4", ["batch_size", "data.batch_size"]),
        ("data.batch_size=four", ["data.batch_size=four", "int"]),
        ("data.batch_size=4.5", ["data.batch_size=4.5", "int"]),
        ("data.batch_size=0", ["data.batch_size=0", "at least 1"]),
        ("data.batch_size", ["key=value"]),
        ("optim.accumulate=0", ["optim.accumulate=0", "at least 1"]),
        ("compute.precision=bf16", ["compute.precision=bf16", "did you mean 'bf16-mixed'?"]),
        ("compute.compiled=True", ["did you mean 'compute.compile'?"]),
        ("optim.lr=fast", ["optim.lr=fast", "float"]),
        ("optim.lr={[1]:2}", ["optim.lr={[1]:2}", "float"]),
        ("optim.lr=" + 9999 * "-" + "1", ["optim.lr=---", "float"]),
        ("optim.lookahead=maybe", ["optim.lookahead", "bool"]),
        ("data.scales=", ["data.scales"]),
        ("data.mosaic=2", ["data.mosaic=2", "0 to 1"]),
        ("data.train=tarin", ["data.train=tarin", "did you mean 'train'?"]),
        ("optim.min_lr=1", ["optim.min_lr", "optim.lr"]),
        ("seed=-1", ["seed=-1", "at least 0"]),
        ("name=", ["name=", "must name a folder", "relative path"]),
        ("name=../other", ["name=../other", "relative path"]),
        ("name=/other", ["name=/other", "relative path"]),
    ],
)
def test_wrong_override(config, override, words):
    message = error_of(config, override)
    assert all(word in message for word in words), message


def test_overrides_that_do_not_go_together(config):
    message = error_of(config, "data.paste=0.5", "data.label_share=0.2")
    assert "data.paste=0.5: must be 0 with data.label_share below 1" in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("crop=256", "corp=256", ["corp", "did you mean 'crop'?"]),
        ("dataset=VAIHINGEN", "data_set=VAIHINGEN", ["data_set", "did you mean 'dataset'?"]),
        ("lr=1e-3", "lr=-1", ["optim.lr=-1", "above 0"]),
        ("layers=2", "layer=2", ["model has no parameter 'layer'", "did you mean 'layers'?"]),
        ("experiment = ", "experimant = ", ["experiment = Experiment"]),
        ("network.models.bicor", "network.models.former", ["line 6", "docs/changelog.md"]),
        ("import BiCoRSeg", "import BiCoRSag", ["line 6", "BiCoRSag"]),
        ("experiment = Experiment(", "experiment = Experiment((", ["not Python", "line 11"]),
        ("optim=Optim(lr=1e-3)", "optim={'lr': 1e-3}", ["optim={'lr': 0.001}", "optim=Optim(...)"]),
        ("optim=Optim(lr=1e-3)", "optim=Optim", ["must be optim=Optim(...)"]),
        ("data=Data(crop=256)", "log='tensorboard'", ["log='tensorboard'", "log=Log(...)"]),
        ("lr=1e-3", "lookahead='False'", ["optim.lookahead='False': must be bool"]),
        ("lr=1e-3", "epochs=1.5", ["optim.epochs=1.5: must be int"]),
        ("crop=256", "scales=(1, '2')", ["data.scales=(1, '2'): must be tuple[float, ...]"]),
        ("dim=32", "dim='64'", ["model.dim='64' must be int"]),
        ("dim=32", "dim=64.0", ["model.dim=64.0 must be int"]),
        ("loss=loss", "loss=loss()", ["must be a class or a function", "loss=partial(CLASS, ...)"]),
        ("loss=loss", "loss=None", ["loss=None: must be a class or a function"]),
        ("data=Data(crop=256)", "name=5", ["name=5: must be a text"]),
        ("data=Data(crop=256)", "seed=2**32", ["seed=4294967296", "below 2 ** 32"]),
        ("data=Data(crop=256)", "seed=1.5", ["seed=1.5"]),
        *(
            (
                "dataset=VAIHINGEN",
                f"dataset=__import__('dataclasses').replace(VAIHINGEN, scored={scored!r})",
                ["dataset.scored=", "different labels of 0 to 5"],
            )
            for scored in ((0, 0, 1), (-1,), (6,), ("Car",))
        ),
    ],
)
def test_wrong_config(config, old, new, words):
    message = error_of(changed(config, old, new))
    assert message.startswith(str(config))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("kind", "override", "words"),
    [
        ({}, "data.mean=(0.5,0.5,1.5)", "data.mean=(0.5, 0.5, 1.5): must be shares of the largest"),
        ({}, "data.std=(0.5,0.5,1.5)", "data.std=(0.5, 0.5, 1.5): must be shares of the largest"),
        ({}, "data.std=(0.5,0,0.5)", "must be one number above 0 for each band"),
        ({"bits": 16}, "data.mean=(-1,0,0)", "must be shares of the largest value, 0 to 1"),
        ({"bits": 32}, "data.sharpen=0.1", "data.sharpen=0.1: is for brightness of 8 or 16 bits"),
        ({"bits": 32, "values": "float"}, "data.brighten=1", "vaihingen has float32; give data.b"),
        ({"bits": 16, "values": "signed"}, "data.mean=()", "must be one number for each band"),
    ],
)
def test_values_and_types_of_pixels(config, kind, override, words):
    dataset = f"replace(VAIHINGEN, **{kind})"
    text = CONFIG.replace("dataset=VAIHINGEN", f"dataset={dataset}")
    config.write_text(f"from dataclasses import replace\n{text}")
    assert words in error_of(config, override)


def test_units_of_the_normalization(config):
    """Shares of the largest value for brightness, pixel values for measurements."""
    experiment = load_experiment(config, ["data.mean=(0,0.5,1)", "data.std=(0.1,0.2,1)"])
    mean, std = (0.0, 0.5, 1.0), (0.1, 0.2, 1.0)
    for kind, unit in (
        ({}, 255),
        ({"bits": 16}, 65535),
        ({"bits": 32}, 1),
        ({"bits": 16, "values": "signed"}, 1),
        ({"bits": 32, "values": "float"}, 1),
    ):
        other = replace(experiment, dataset=replace(VAIHINGEN, **kind))
        expected = tuple(unit * v for v in mean), tuple(unit * v for v in std)
        assert other.normalization == expected
    floats = replace(VAIHINGEN, bits=32, values="float")
    defaults = replace(load_experiment(config), dataset=floats)
    words = r"data\.mean: has no values, vaihingen has 3 bands of float32; only 3 bands of uint8"
    with pytest.raises(InputError, match=words):
        defaults.check_normalization()
    of_imagenet = replace(defaults, data=Data(mean=IMAGENET_MEAN, std=IMAGENET_STD))
    words = r"data\.mean: has ImageNet's values for 8 bits, vaihingen has float32"
    with pytest.raises(InputError, match=words):
        of_imagenet.check_normalization()


@pytest.mark.parametrize(
    ("encoder", "mean", "std"),
    [
        ("convnext_base.fb_in1k", IMAGENET_MEAN, IMAGENET_STD),
        ("tf_efficientnet_lite2", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("efficientnet_b0", IMAGENET_MEAN, IMAGENET_STD),
        ("tf_efficientnet_b0.ap_in1k", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("vit_large_patch16_dinov3.sat493m", (0.43, 0.411, 0.296), (0.213, 0.156, 0.143)),
        ("convnext_base.none", IMAGENET_MEAN, IMAGENET_STD),  # building it raises the error
    ],
)
def test_normalization_of_the_encoder(config, encoder, mean, std):
    """It is the default, and a setting like others; values in the config come first."""
    words = [f"model.encoder={encoder}", "model.weights=imagenet"]
    experiment = load_experiment(config, words)
    assert experiment.mean_and_std == (mean, std)
    scratch = override(experiment, ["model.weights=None"])
    assert scratch.mean_and_std == (IMAGENET_MEAN, IMAGENET_STD)
    assert experiment.normalization[0] == tuple(255 * value for value in mean)
    found = settings(experiment)
    assert (found["data.mean"], found["data.std"]) == (mean, std)
    given = override(experiment, ["data.std=(0.1,0.2,0.3)"])
    assert given.mean_and_std == (mean, (0.1, 0.2, 0.3))
    assert override(given, ["data.std=None"]).mean_and_std == (mean, std)


def test_normalization_of_other_factories(config):
    """An encoder may be bound by position, and a network may have none."""
    experiment = load_experiment(config)
    by_place = replace(experiment, model=partial(BiCoRSeg, 6, "tf_efficientnet_lite0"))
    assert by_place.mean_and_std == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    own = replace(experiment, model=partial(SMPSegmenter, 6, encoder="mit_b0"))  # not timm's
    assert own.mean_and_std == (IMAGENET_MEAN, IMAGENET_STD)
    none = replace(experiment, model=partial(torch.nn.Conv2d, 3, 6, 1))
    assert none.mean_and_std == (IMAGENET_MEAN, IMAGENET_STD)


def test_missing_config(tmp_path):
    assert "no such config" in error_of(tmp_path / "none.py")
    (tmp_path / "bicor.yaml").write_text("")
    assert "must end in .py" in error_of(tmp_path / "bicor.yaml")


@pytest.mark.parametrize(
    "word",
    [
        f"model.{'x' * 5000}=1",
        f"data.crop={'x' * 5000}",
        f"data.train={'x' * 5000}",
        f"compute.precision={'x' * 5000}",
        "x" * 5000,
    ],
)
def test_long_words_are_cut(config, word):
    assert len(error_of(config, word)) < 600
