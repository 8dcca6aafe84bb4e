"""Every config is loaded, built with a small encoder, and trained one step."""

import pytest
import torch

from network.config import load_experiment, settings
from network.errors import InputError
from network.training.task import SegmentationTask
from tests.conftest import ROOT

CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "config").rglob("*.py")
    if path.parent.name != "weak"
)
SMALL = ["model.encoder=test_convnext", "model.weights=None", "data.crop=64"]


@pytest.mark.parametrize("config", CONFIGS)
def test_config(config):
    known = settings(load_experiment(ROOT / config))
    small = [word for word in SMALL if word.partition("=")[0] in known]  # some have no encoder
    experiment = load_experiment(ROOT / config, small)
    name = config.removeprefix("config/").removesuffix(".py")
    assert experiment.name == (f"{name}/unet" if "baselines" in name else name)
    info = experiment.dataset
    # A loss needs no such attribute; ours have it.
    assert getattr(experiment.loss(), "ignore_index", info.ignore_index) == info.ignore_index
    task = SegmentationTask(experiment)
    labels = torch.randint(0, info.num_classes, (2, 64, 64), dtype=torch.uint8)
    labels[:, :5] = info.ignore_index
    images = torch.randint(0, 256, (2, info.bands, 64, 64), dtype=torch.uint8)
    batch = {"image": images, "labels": labels}
    (optimizer,), _ = task.configure_optimizers()
    before = [parameter.clone() for parameter in task.model.parameters()]
    task.log = task.log_dict = lambda *args, **kwargs: None  # there is no trainer
    loss = task.training_step(batch, 0)
    assert loss.isfinite()
    loss.backward()
    optimizer.step()
    unused = [
        name for name, p in task.model.named_parameters() if p.requires_grad and p.grad is None
    ]
    assert unused == []
    assert any((p != b).any() for p, b in zip(task.model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("vaihingen", (2, 1.0, 5e-5, 4, 45)),
        ("potsdam", (3, 1.0, 1e-4, 4, 45)),
        ("loveda", (2, 0.02, 8e-5, 8, 30)),
    ],
)
def test_reference_column(config, expected):
    """The released settings: layers, ratio, learning rate, batch, epochs; fixed alpha."""
    experiment = load_experiment(ROOT / f"config/{config}/bicor_reference.py", SMALL)
    values = settings(experiment)
    keys = ("model.layers", "model.topk_ratio", "optim.lr", "data.batch_size", "optim.epochs")
    assert tuple(values[key] for key in keys) == expected
    assert not any(layer.alpha_logit.requires_grad for layer in experiment.build_model().layers)
    assert experiment.loss().fisher_pairwise
    assert experiment.loss().fisher_last == (1.0 if config == "loveda" else 0.0)


@pytest.mark.parametrize(("config", "epochs"), [("vaihingen", 45), ("potsdam", 45), ("loveda", 30)])
def test_default_column(config, epochs):
    experiment = load_experiment(ROOT / f"config/{config}/bicor.py", SMALL)
    values = settings(experiment)
    expected = {
        "model.layers": 2,
        "model.topk_ratio": 0.02,
        "optim.lr": 8e-5,
        "optim.min_lr": 1e-6,
        "optim.weight_decay": 0.01,
        "optim.lookahead": True,
        "optim.epochs": epochs,
        "data.batch_size": 8,
        "loss.smoothing": 0.05,
        "loss.aux": 0.4,
        "loss.heatmap": 0.1,
        "loss.fisher": 0.1,
    }
    assert {key: values[key] for key in expected} == expected
    assert all(layer.alpha_logit.requires_grad for layer in experiment.build_model().layers)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("loveda", (3, 8e-5, 8, 30, 512)),
        ("vaihingen", (2, 1e-4, 4, 45, 512)),
        ("potsdam", (3, 1e-4, 4, 45, 768)),
        ("uavid", (3, 1e-4, 4, 45, 1024)),
        ("cloud", (3, 1e-4, 4, 100, 512)),
        ("grass", (3, 1e-4, 4, 100, 256)),
    ],
)
def test_d2ls_column(config, expected):
    """The released settings: layers, learning rate, batch, epochs, crop; loss and optimizer."""
    values = settings(load_experiment(ROOT / f"config/{config}/d2ls.py"))
    keys = ("model.layers", "optim.lr", "data.batch_size", "optim.epochs", "data.crop")
    assert tuple(values[key] for key in keys) == expected
    common = {"loss.smoothing": 0.05, "loss.aux": 0.4, "loss.contrastive": 1.0}
    common |= {"optim.lookahead": True, "optim.weight_decay": 0.01, "data.mosaic": 0.25}
    assert {key: values[key] for key in common} == common


def test_baselines_are_named_by_their_architecture():
    """So that no two of one config share a folder."""
    path = ROOT / "config/baselines/vaihingen.py"
    experiment = load_experiment(path, ["model.architecture=fpn"])
    assert experiment.name == "baselines/vaihingen/fpn"
    with pytest.raises(
        InputError, match=r"name=.*no setting 'model\.arch'; did you mean 'model\.arch"
    ):
        load_experiment(path, ["name=x/{model.arch}"])


def test_decoders_have_the_width_of_the_papers():
    """With 128 channels, BiCoR-Seg and D2LS fall behind other decoders (docs/results.md)."""
    widths = {
        config: settings(load_experiment(ROOT / config)).get("model.dim")
        for config in CONFIGS
        if "bicor" in config or "d2ls" in config
    }
    # The configs of the demo are small, to be trained in minutes.
    assert {c: width for c, width in widths.items() if width != 256 and "/demo/" not in c} == {}
    assert len(widths) > 10


def test_no_config_selects_on_the_test_split():
    for config in CONFIGS:
        data = load_experiment(ROOT / config).data
        assert "test" not in (data.train, data.val)
