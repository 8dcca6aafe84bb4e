"""Going on from a checkpoint: what it must hold, and longer schedules."""

import csv
import shutil
from copy import deepcopy
from dataclasses import replace
from math import cos, pi
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn

from network.config import override
from network.errors import InputError
from network.evaluation.protocol import EXTENDED_KEY
from network.models.checkpoint import SETTINGS_KEY
from network.settings import Optim
from network.training.optim import build_optimizer
from network.training.resume import open_run
from network.training.train import train, train_once


@pytest.fixture
def trained(tiny, finished):
    """A run of one epoch that is to have two, and its last checkpoint."""
    for name in ("model_weights", "lightning_logs"):
        shutil.copytree(finished / name, name)
    last = Path("model_weights/tiny/version_0/last.ckpt")
    return replace(tiny, optim=replace(tiny.optim, epochs=2)), last


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def remove(*keys):
    def change(checkpoint):
        for key in keys[:-1]:
            checkpoint = checkpoint[key]
        del checkpoint[keys[-1]]

    return change


def put(value, *keys):
    def change(checkpoint):
        for key in keys[:-1]:
            checkpoint = checkpoint[key]
        checkpoint[keys[-1]] = value

    return change


OPTIMIZER = ("optimizer_states", 0)
SCHEDULE = ("lr_schedulers", 0)
PROGRESS = ("loops", "fit_loop", "epoch_progress", "current")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put([], "optimizer_states"), "optimizer has no state"),
        (put({}, *OPTIMIZER), "optimizer has no 'state'"),
        (put({}, *OPTIMIZER, "state"), "optimizer has no state, or the state of other"),
        (put({0: {}}, *OPTIMIZER, "state"), "optimizer has no moments of parameter 0"),
        (
            put(torch.zeros(3), *OPTIMIZER, "state", 0, "exp_avg"),
            "exp_avg does not have",
        ),
        (put(torch.zeros(()).expand(6, 32), *OPTIMIZER, "state", 0, "exp_avg"), "exp_avg does"),
        (put(torch.full((6, 32), torch.inf), *OPTIMIZER, "state", 0, "exp_avg_sq"), "not finite"),
        (remove(*OPTIMIZER, "param_groups", 0, "lr"), "optimizer has no 'lr'"),
        (put([0], *OPTIMIZER, "param_groups", 0, "params"), "other groups of parameters"),
        (remove(*OPTIMIZER, "slow_params"), "optimizer has no 'slow_params'"),
        (put([], *OPTIMIZER, "slow_params"), "slow weights"),
        (remove("lr_schedulers"), "schedule of the learning rate has no state"),
        (put([{}], "lr_schedulers"), "schedule of the learning rate has no 'last_epoch'"),
        (put(7, *SCHEDULE, "last_epoch"), "is at epoch 7, not 1"),
        (put(7, *SCHEDULE, "T_max"), "length of 7, not 1"),
        (put([1.0], *SCHEDULE, "base_lrs"), "other learning rates"),
        (remove("loops"), "count of epochs and steps"),
        (put({}, "loops", "fit_loop"), "count of epochs says 0, not 1"),
        (put(0, *PROGRESS, "processed"), "count of epochs says 0, not 1"),
        (remove("callbacks"), "best val/mIoU is not known"),
        (put({}, "callbacks"), "best val/mIoU is not known"),
        (put("first", "epoch"), "epoch is 'first'"),
        (remove("epoch"), "epoch is None"),
        (put("all", SETTINGS_KEY, "optim.epochs"), "optim.epochs is 'all'"),
        (put([1], SETTINGS_KEY), "are no settings of a run"),
        (put({"a": torch.zeros(1)}, SETTINGS_KEY), "are no settings of a run"),
        (remove("state_dict"), "not from a run of this project"),
        (put({3: torch.zeros(1)}, "state_dict"), "not from a run of this project"),
        (put(torch.full((6, 32), torch.nan), "state_dict", "model.class_embeddings"), "not finite"),
    ],
)
def test_checkpoints_that_cannot_be_gone_on_from(trained, change, told):
    longer, last = trained
    checkpoint = load(last)
    change(checkpoint)
    torch.save(checkpoint, last)
    before = last.read_bytes()
    with pytest.raises(InputError) as caught:
        train(longer, accelerator="cpu", resume="latest")
    assert told in str(caught.value)
    assert str(last) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert last.read_bytes() == before
    assert sorted(p.name for p in last.parent.iterdir()) == [
        "best.ckpt",
        "experiment.txt",
        "last.ckpt",
    ]
    assert [p.name for p in Path("lightning_logs/tiny").iterdir()] == ["version_0"]


@pytest.mark.slow
def test_from_a_wrapped_network(trained):
    """As DDP and torch.compile save it; the training goes on as with its own names."""
    longer, last = trained
    own = load(last)
    plain = train(longer, accelerator="cpu", resume=str(last))
    expected = load(plain / "last.ckpt")["state_dict"]
    wrapped = deepcopy(own)
    wrapped["state_dict"] = {
        name.replace("model.", "model._orig_mod.module.", 1): value
        for name, value in own["state_dict"].items()
    }
    torch.save(wrapped, last)
    found = load(train(longer, accelerator="cpu", resume=str(last)) / "last.ckpt")["state_dict"]
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)


@pytest.mark.slow
def test_settings_that_an_older_run_did_not_have(trained):
    """It trained as if they had their defaults, so it goes on with these alone."""
    longer, last = trained
    content = load(last)
    for key in ("loss.weights", "loss.max_ratio", "data.rare_share"):
        del content[SETTINGS_KEY][key]
    torch.save(content, last)
    for change in ("loss.weights=inverse", "data.rare_share=0.5"):
        key, _, value = change.partition("=")
        with pytest.raises(InputError, match=rf"was trained with {key}=[\w.]+, not {value}"):
            train(override(longer, [change]), accelerator="cpu", resume="latest")
    run = train(longer, accelerator="cpu", resume="latest")
    assert load(run / "last.ckpt")["epoch"] == 1


def test_the_loss_of_other_batches_chooses_no_checkpoint(trained):
    """Parts of it are of a batch. Scores are not, so they may be measured in other batches."""
    experiment, last = trained
    other = replace(experiment, data=replace(experiment.data, val_batch_size=1))
    open_run(other, last)
    checkpoint = load(last)
    checkpoint[SETTINGS_KEY]["monitor"] = "val/loss"
    torch.save(checkpoint, last)
    with pytest.raises(InputError, match=r"was trained with data.val_batch_size=4, not 1"):
        open_run(replace(other, monitor="val/loss"), last)


@pytest.mark.slow
def test_a_run_keeps_its_normalization(tiny, monkeypatch, tmp_path):
    """It goes on as one whose config gives the same values, also where the default is another."""
    monkeypatch.chdir(tmp_path)
    shares = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    given = replace(tiny, data=replace(tiny.data, **shares))
    assert given.normalization != tiny.normalization
    run = train(given, accelerator="cpu")
    assert train_once(tiny, accelerator="cpu") == run  # it is the same run
    shutil.copytree(run, "kept")
    two = Optim(lr=tiny.optim.lr, epochs=2)
    train(replace(given, optim=two), accelerator="cpu", resume="latest")
    expected = load(run / "last.ckpt")
    shutil.copytree("kept", run, dirs_exist_ok=True)
    train(replace(tiny, optim=two), accelerator="cpu", resume="latest")
    found = load(run / "last.ckpt")
    assert found["epoch"] == 1
    assert (found[SETTINGS_KEY], found["card"]) == (expected[SETTINGS_KEY], expected["card"])
    assert found[SETTINGS_KEY]["data.mean"] == (0.5, 0.5, 0.5)
    pairs = zip(found["state_dict"].values(), expected["state_dict"].values(), strict=True)
    assert all(value.equal(other) for value, other in pairs)


@pytest.mark.slow
def test_a_run_on_other_labels_does_not_count(tiny):
    run = train_once(tiny, accelerator="cpu")
    assert train_once(tiny, accelerator="cpu") == run
    mask = tiny.root / "train/masks_1024/train-0-0.png"
    colors = np.array(Image.open(mask))
    Image.fromarray(colors[::-1]).save(mask)
    anew = train_once(tiny, accelerator="cpu")
    assert anew != run
    assert train_once(tiny, accelerator="cpu") == anew

    # Nor is a run gone on with that was interrupted.
    Image.fromarray(colors[:, ::-1]).save(mask)
    longer = replace(tiny, optim=replace(tiny.optim, epochs=2))
    last = load(run / "last.ckpt")
    last[SETTINGS_KEY]["optim.epochs"] = 2
    torch.save(last, run / "last.ckpt")
    assert train_once(longer, accelerator="cpu") not in (run, anew)


def logged_rates(experiment) -> dict[int, float]:
    """The rate of each epoch; what a resumed run logged counts."""
    rates = {}
    for path in sorted(Path(f"lightning_logs/{experiment.name}").glob("*/metrics.csv")):
        with path.open() as file:
            rates |= {
                int(row["epoch"]): float(row["lr"]) for row in csv.DictReader(file) if row["lr"]
            }
    return rates


def saved_rates(last: Path) -> list[float]:
    return [group["lr"] for group in load(last)["optimizer_states"][0]["param_groups"]]


def cosine(base: float, epoch: int, epochs: int) -> float:
    return 1e-6 + (base - 1e-6) * (1 + cos(pi * epoch / epochs)) / 2


@pytest.mark.slow
@pytest.mark.parametrize("lookahead", [True, False])
def test_a_longer_cosine(tiny, lookahead, capsys):
    """Each rate, of both groups, is that of the schedule that was in force."""
    optim = Optim(lr=1e-3, encoder_lr=2e-4, epochs=3, lookahead=lookahead)
    run = train(replace(tiny, optim=optim), accelerator="cpu")
    longer = replace(tiny, optim=replace(optim, epochs=6))
    assert train(longer, accelerator="cpu", resume="latest") == run
    told = [x for x in capsys.readouterr().out.splitlines() if "extended from 3 to 6 epochs" in x]
    assert len(told) == 1
    assert f"from epoch 4 on, the learning rate is {cosine(1e-3, 3, 6):.3g}" in told[0]
    assert f"on the schedule of 3 it would have been {1e-6:.3g}" in told[0]
    expected = [cosine(1e-3, epoch, 3) for epoch in range(3)]
    expected += [cosine(1e-3, epoch, 6) for epoch in range(3, 6)]
    assert logged_rates(tiny) == pytest.approx(dict(enumerate(expected)))
    assert saved_rates(run / "last.ckpt") == pytest.approx([1e-6, 1e-6])
    known = load(run / "last.ckpt")[SETTINGS_KEY]
    assert known[EXTENDED_KEY] == [[3, 3, 6]]
    assert known["optim.epochs"] == 6
    # Once more, and it is remembered; another run of six epochs is not this one.
    train(replace(tiny, optim=replace(optim, epochs=7)), accelerator="cpu", resume="latest")
    assert load(run / "last.ckpt")[SETTINGS_KEY][EXTENDED_KEY] == [[3, 3, 6], [6, 6, 7]]
    assert saved_rates(run / "last.ckpt") == pytest.approx([1e-6, 1e-6])
    assert train_once(replace(tiny, optim=replace(optim, epochs=7)), accelerator="cpu") != run


@pytest.mark.slow
def test_rates_of_each_group_after_a_longer_cosine(tiny):
    optim = Optim(lr=1e-3, encoder_lr=2e-4, epochs=2)
    run = train(replace(tiny, optim=optim), accelerator="cpu")
    for epochs in (5, 9):
        longer = replace(tiny, optim=replace(optim, epochs=epochs))
        _stop_after(longer, load(run / "last.ckpt")["epoch"] + 2, run)
        done = load(run / "last.ckpt")["epoch"] + 1
        expected = [cosine(base, done, epochs) for base in (1e-3, 2e-4)]
        assert saved_rates(run / "last.ckpt") == pytest.approx(expected)
        if epochs == 5:
            _stop_after(longer, 5, run)


def _stop_after(experiment, epochs, run):
    """Go on with a run, and stop when so many epochs are done."""
    with pytest.MonkeyPatch.context() as patch:
        original = pl.Trainer.__init__
        patch.setattr(
            pl.Trainer,
            "__init__",
            lambda self, **options: original(self, **{**options, "max_epochs": epochs}),
        )
        train(experiment, accelerator="cpu", resume=str(run / "last.ckpt"))


@pytest.mark.slow
def test_longer_in_steps(tiny, capsys):
    """Rates in steps do not depend on the length."""
    optim = Optim(lr=1e-3, step=2, epochs=3)
    train(replace(tiny, optim=optim), accelerator="cpu")
    train(replace(tiny, optim=replace(optim, epochs=5)), accelerator="cpu", resume="latest")
    expected = {0: 1e-3, 1: 1e-3, 2: 1e-4, 3: 1e-4, 4: 1e-5}
    assert logged_rates(tiny) == pytest.approx(expected)
    assert "the learning rate is 0.0001 (schedule of 5 epochs)" in capsys.readouterr().out


@pytest.mark.slow
def test_shorter_is_refused(tiny):
    train(replace(tiny, optim=Optim(epochs=3)), accelerator="cpu")
    with pytest.raises(InputError, match=r"was trained with optim\.epochs=3, not 2"):
        train(replace(tiny, optim=Optim(epochs=2)), accelerator="cpu", resume="latest")


def test_the_closed_form_is_the_schedule():
    """What an uninterrupted run has, step by step."""
    optim = Optim(lr=1e-3, encoder_lr=1e-4, epochs=7)
    network = nn.ModuleDict({"encoder": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    network.encoder = network["encoder"]
    optimizer, scheduler = build_optimizer(network, optim)
    for epoch in range(8):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([cosine(base, epoch, 7) for base in (1e-3, 1e-4)])
        optimizer.step()
        scheduler.step()


@pytest.mark.slow
def test_missing_figures_are_drawn(tiny, capsys):
    """A training that was stopped while it drew them gets them by the same command."""
    run = train(tiny, accelerator="cpu")
    logs = Path("lightning_logs/tiny/version_0")
    curves = (logs / "curves.png").read_bytes()
    for remaining in (["panel.png"], ["curves.png", "panel.png"]):
        for name in remaining:
            (logs / name).unlink()
        before = (run / "last.ckpt").read_bytes()
        capsys.readouterr()
        assert train(tiny, accelerator="cpu", resume="latest") == run
        out = capsys.readouterr().out
        assert (
            out == f"all 1 epochs were done; drew {', '.join(f'{logs}/{x}' for x in remaining)}\n"
        )
        assert (run / "last.ckpt").read_bytes() == before
        assert (logs / "curves.png").read_bytes() == curves
    with pytest.raises(InputError, match=r"all 1 epochs are done; test it"):
        train(tiny, accelerator="cpu", resume="latest")
    (logs / "panel.png").unlink()
    assert train_once(tiny, accelerator="cpu") == run
    assert (logs / "panel.png").is_file()
    assert train_once(tiny, accelerator="cpu") == run
