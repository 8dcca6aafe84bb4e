"""Training for real, on tiny data: logs, checkpoints, resuming, devices."""

import csv
import os
import re
import signal
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment

from network.config import Experiment, load_experiment, override, settings
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.evaluation.protocol import PROCESSES_KEY
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.models.checkpoint import SETTINGS_KEY, load_weights
from network.predictor import Predictor
from network.settings import Data, Optim
from network.training.data import SegmentationData
from network.training.runs import LOGS_DIR, WEIGHTS_DIR, log_folders, reserved_run, resumed_run
from network.training.task import SegmentationTask
from network.training.train import _warn_of_normalization, check_devices, train
from network.writing import beside
from tests.conftest import ROOT
from tests.scenes import make_dataset

pytestmark = pytest.mark.slow


RARE = ["data.rare_share=0.5", "loss.weights=sqrt_inverse", "loss.hard_share=0.5"]
RECIPE = ["optim.ema=0.9", "optim.warmup=3", "optim.clip=0.1"]
DOUBLE = "compute.precision=64-true"
TEACHER = ["data.unlabeled=test", "teacher.weight=0.5", "teacher.threshold=0.1"]


def small_model(weights: str | None = None) -> BiCoRSeg:
    # Stochastic depth: resuming must also resume what is random in the network.
    return BiCoRSeg(6, "test_convnext", weights=weights, dim=32, drop_path=0.3)


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> Experiment:
    """Six images, two steps an epoch; results go to a folder of their own."""
    monkeypatch.chdir(tmp_path)
    make_dataset(Path("data"), VAIHINGEN, {"train": 6, "val": 3, "test": 3}, ((64, 64), (48, 80)))
    return Experiment(
        dataset=VAIHINGEN,
        model=small_model,
        loss=partial(BiCoRLoss, 6),
        data=Data(root="data", crop=32, batch_size=3, val_batch_size=2, workers=0),
        optim=Optim(lr=1e-3, epochs=3),
        name="tiny/bicor",
        config="config/tiny/bicor.py",
    )


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / name, weights_only=True)["state_dict"]


def rows(log_folder: Path) -> list[dict[str, str]]:
    with (log_folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_run(experiment):
    run = train(experiment, accelerator="cpu")
    assert run == Path("model_weights/tiny/bicor/version_0")
    assert {p.name for p in run.iterdir()} == {"best.ckpt", "last.ckpt", "experiment.txt"}
    assert "optim.epochs=3\n" in (run / "experiment.txt").read_text()

    logged = rows(Path("lightning_logs/tiny/bicor/version_0"))
    parts = ["ce", "dice", "aux_ce", "heatmap_ce", "heatmap_dice", "fisher", "loss"]
    expected = {f"train/{name}" for name in [*parts, "mIoU", "mF1", "OA"]}
    expected |= {f"val/{name}" for name in ("loss", "mIoU", "mF1", "OA")}
    expected |= {f"val/IoU/{name}" for name in VAIHINGEN.classes}
    assert expected <= logged[0].keys()
    by_epoch = {row["epoch"]: row for row in logged if row["val/mIoU"]}
    assert by_epoch.keys() == {"0", "1", "2"}
    best = max(by_epoch.values(), key=lambda row: float(row["val/mIoU"]))
    assert torch.load(run / "best.ckpt", weights_only=True)["epoch"] == int(best["epoch"])
    rates = [float(row["lr"]) for row in logged if row["lr"]]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[1] == pytest.approx(1e-6 + (1e-3 - 1e-6) * 0.75)  # (1 + cos 60 degrees) / 2


def test_a_second_run_leaves_the_first_alone(experiment):
    first = train(replace(experiment, optim=Optim(epochs=1)), accelerator="cpu")
    before = (first / "best.ckpt").read_bytes()
    second = train(replace(experiment, optim=Optim(epochs=1)), accelerator="cpu")
    assert second.name == "version_1"
    assert (first / "best.ckpt").read_bytes() == before


def test_runs_that_start_together_have_folders_of_their_own(experiment, monkeypatch):
    with reserved_run(experiment) as first, reserved_run(experiment) as second:
        assert (first.name, second.name) == ("version_0", "version_1")
        (second / "last.ckpt").touch()
    assert [path.name for path in first.parent.iterdir()] == ["version_1"]
    monkeypatch.setenv("SLURM_PROCID", "1")  # not the first process: it makes no folder
    with reserved_run(experiment) as told_later:
        assert not told_later.exists()


def test_a_resumed_run_removes_what_dead_processes_left_in_its_logs(experiment):
    run = WEIGHTS_DIR / experiment.name / "version_0"
    run.mkdir(parents=True)
    resumed = LOGS_DIR / experiment.name / "version_0_resumed_1"
    for folder in (LOGS_DIR / experiment.name / "version_0", resumed):
        folder.mkdir(parents=True)
    with subprocess.Popen(["true"]) as ended:
        pass
    own = beside(resumed / "metrics.csv", "partial").name
    (resumed / own.replace(str(os.getpid()), str(ended.pid))).touch()
    (resumed / "metrics.csv").touch()
    with resumed_run(run):
        assert [path.name for path in resumed.iterdir()] == ["metrics.csv"]
    assert log_folders(run)[-1].resolve() == resumed.resolve()


def test_slurm_goes_on_from_no_other_run(experiment, monkeypatch):
    """What a requeued job would have left in the current folder is not looked at."""
    for key, value in {
        **{"JOB_ID": "7", "JOB_NAME": "train", "NTASKS": "1", "NTASKS_PER_NODE": "1"},
        **{"PROCID": "0", "LOCALID": "0", "NODEID": "0", "NNODES": "1"},
    }.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    assert SLURMEnvironment.detect()
    Path("hpc_ckpt_1.ckpt").write_bytes(b"of another run")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    run = train(replace(experiment, optim=Optim(epochs=1)), accelerator="cpu", devices="1")
    assert (run / "last.ckpt").is_file()
    assert handlers == {number: signal.getsignal(number) for number in handlers}


def test_resuming_with_another_number_of_processes(experiment):
    run = train(replace(experiment, optim=Optim(epochs=1)), accelerator="cpu")
    last = torch.load(run / "last.ckpt", weights_only=True)
    assert last[SETTINGS_KEY][PROCESSES_KEY] == 1
    last[SETTINGS_KEY][PROCESSES_KEY] = 4
    torch.save(last, run / "last.ckpt")
    longer = replace(experiment, optim=Optim(epochs=2))
    with pytest.raises(InputError, match=r"was trained by 4 processes.*give devices=4"):
        train(longer, accelerator="cpu", resume="latest")


@pytest.mark.parametrize(
    ("workers", "changes"), [(0, []), (2, RARE + RECIPE + TEACHER), (0, [*RECIPE, DOUBLE])]
)
def test_resuming_equals_an_uninterrupted_run(experiment, monkeypatch, workers, changes):
    """Weights, to the last bit: order, augmentation, stochastic depth, Lookahead, schedule."""
    resumes_equally(override(experiment, [f"data.workers={workers}", *changes]), monkeypatch)
    logged = rows(Path("lightning_logs/tiny/bicor/version_0"))
    assert ("train/unlabeled" in logged[0]) == (TEACHER[0] in changes)


def test_resuming_lora_in_a_plain_transformer(experiment, monkeypatch):
    """The same, with rates that fall with depth; a prediction merges what a checkpoint keeps."""
    model = partial(BiCoRSeg, 6, "test_vit", None, dim=32, drop_path=0.3, lora=2)
    optim = Optim(lr=1e-2, layer_decay=0.9, epochs=2)
    run = resumes_equally(replace(experiment, model=model, optim=optim), monkeypatch)
    network = model()
    load_weights(network, run / "last.ckpt")
    predictor = Predictor.load(run / "last.ckpt", device="cpu")  # reads the card only
    assert not any("lora" in name for name in predictor.model.state_dict())
    image = torch.randn(1, 3, 40, 72)
    with torch.no_grad():
        expected, found = network.eval()(image).logits, predictor.model(image).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def resumes_equally(experiment: Experiment, monkeypatch) -> Path:
    whole = weights(train(experiment, accelerator="cpu"), "last.ckpt")
    with monkeypatch.context() as patch:
        patch.setattr("pytorch_lightning.Trainer.__init__", _stop_after_one_epoch())
        run = train(experiment, accelerator="cpu")
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 0
    assert train(experiment, accelerator="cpu", resume="latest") == run
    resumed = weights(run, "last.ckpt")
    different = [name for name in whole if not whole[name].equal(resumed[name])]
    assert different == []
    logs = sorted(p.name for p in Path("lightning_logs/tiny/bicor").iterdir())
    assert logs == ["version_0", "version_1", "version_1_resumed_1"]
    return run


def test_the_average_is_validated_and_saved_and_changes_no_training(experiment):
    experiment = override(experiment, ["optim.epochs=2"])
    plain = weights(train(experiment, accelerator="cpu"), "last.ckpt")
    run = train(override(experiment, ["optim.ema=0.9"]), accelerator="cpu")
    last = torch.load(run / "last.ckpt", weights_only=True)
    trained = {f"model.{name}": value for name, value in last["training_state"].items()}
    assert [n for n, value in trained.items() if not value.equal(plain[n])] == []
    assert "training_state" not in torch.load(run / "best.ckpt", weights_only=True)

    task = SegmentationTask(experiment)
    task.load_state_dict(last["state_dict"])
    assert not all(value.equal(plain[n]) for n, value in task.state_dict().items())
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    (found,) = trainer.validate(task, SegmentationData(experiment), verbose=False)
    logged = [row for row in rows(Path(f"lightning_logs/tiny/bicor/{run.name}")) if row["val/loss"]]
    assert float(logged[-1]["val/loss"]) == pytest.approx(found["val/loss"], rel=1e-5)

    # A longer run needs the weights that are trained.
    longer = override(experiment, ["optim.ema=0.9", "optim.epochs=3"])
    state = last.pop("training_state")
    name = next(name for name, value in state.items() if value.is_floating_point())
    for damaged in (
        {},
        {"training_state": 3},
        {"training_state": {key: value for key, value in state.items() if key != name}},
        {"training_state": state | {name: state[name][:1]}},
        {"training_state": state | {name: state[name].long()}},
    ):
        torch.save(last | damaged, run / "last.ckpt")
        with pytest.raises(InputError, match=r"last\.ckpt: .*training_state, .* is not complete"):
            train(longer, accelerator="cpu", resume="latest")
    broken = {"training_state": state | {name: state[name] * torch.nan}}
    torch.save(last | broken, run / "last.ckpt")
    with pytest.raises(InputError, match=rf"last\.ckpt: .*{re.escape(name)} is not finite"):
        train(longer, accelerator="cpu", resume="latest")


def test_warmup(experiment):
    """At the beginning of an endless warm-up the rate is almost 0."""
    pl.seed_everything(experiment.seed, verbose=False)
    first = dict(SegmentationTask(experiment).model.named_parameters())
    slow = override(experiment, ["optim.epochs=1", "optim.warmup=1000000000"])
    run = train(slow, accelerator="cpu")
    moved = weights(run, "last.ckpt")
    for name, value in first.items():
        torch.testing.assert_close(moved[f"model.{name}"], value.detach(), rtol=0, atol=1e-8)
    logged = rows(Path(f"lightning_logs/tiny/bicor/{run.name}"))
    (rate,) = [float(row["lr"]) for row in logged if row["lr"]]
    assert rate == pytest.approx(1e-3)  # of the schedule


def test_clipped_gradients_move_nothing(experiment):
    """Adam divides by the size of the gradients, but not far below its epsilon."""
    pl.seed_everything(experiment.seed, verbose=False)
    first = dict(SegmentationTask(experiment).model.named_parameters())
    clipped = override(experiment, ["optim.epochs=1", "optim.clip=1e-20", "optim.weight_decay=0"])
    moved = weights(train(clipped, accelerator="cpu"), "last.ckpt")
    for name, value in first.items():
        torch.testing.assert_close(moved[f"model.{name}"], value.detach(), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("monitor", "best"), [("val/loss", min), ("val/mIoU", max)])
def test_the_best_epoch(experiment, monitor, best):
    run = train(replace(experiment, monitor=monitor), accelerator="cpu")
    logged = rows(Path(f"lightning_logs/tiny/bicor/{run.name}"))
    scores = {float(row[monitor]): int(row["epoch"]) for row in logged if row[monitor]}
    assert len(scores) == 3
    found = torch.load(run / "best.ckpt", weights_only=True)
    assert found["epoch"] == scores[best(scores)]


def test_class_weights(experiment, capsys):
    """They are those of the training masks, told in one line, and change the training."""
    plain = weights(train(experiment, accelerator="cpu"), "last.ckpt")
    assert "class weights" not in capsys.readouterr().out
    weighted = override(experiment, ["loss.weights=(1,1,1,1,1,30)"])
    found = weights(train(weighted, accelerator="cpu"), "last.ckpt")
    pixels = SegmentationData(experiment).class_counts("labels")
    unit = sum(pixels) / (sum(pixels) + 29 * pixels[5])
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "class weights" in x]
    assert line.startswith(f"class weights: ImSurf {unit:.3g}, Building {unit:.3g}, ")
    assert line.endswith(f" {30 * unit:.3g}")
    assert found.keys() == plain.keys()
    assert not all(found[name].equal(plain[name]) for name in plain)
    with pytest.raises(InputError, match="2 numbers, but there are 6 classes"):
        train(override(experiment, ["loss.weights=(1,2)"]), accelerator="cpu")


def _stop_after_one_epoch():
    """A Trainer that stops early while schedule and epochs are those of the whole run."""
    original = pl.Trainer.__init__

    def patched(self, *args, **kwargs):
        original(self, *args, **{**kwargs, "max_epochs": 1})

    return patched


@pytest.mark.parametrize(
    ("size", "together", "groups"),
    [(3, 2, [2]), (2, 2, [2, 1]), (3, 4, [2]), (1, 4, [4, 2])],
)
def test_accumulated_gradients_make_one_step(experiment, size, together, groups):
    """A step of AdamW has the mean gradient of its batches, also where few are left; by hand."""
    experiment = replace(
        experiment,
        model=partial(BiCoRSeg, 6, "test_convnext", weights=None, dim=32),
        data=replace(experiment.data, batch_size=size),
        optim=Optim(lr=1e-3, epochs=1, accumulate=together, lookahead=False),
    )
    pl.seed_everything(experiment.seed)
    task = SegmentationTask(experiment)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-3, weight_decay=0.01)
    batches = list(SegmentationData(experiment).train_dataloader())
    assert len(batches) == sum(groups)
    for count in groups:
        optimizer.zero_grad()
        for batch in batches[:count]:
            output = task.model(task.normalize(batch["image"]))
            (sum(task.loss(output, batch["labels"].long()).values()) / count).backward()
        del batches[:count]
        optimizer.step()

    run = train(experiment, accelerator="cpu")
    trained = weights(run, "last.ckpt")
    for name, value in task.model.state_dict().items():
        torch.testing.assert_close(trained[f"model.{name}"], value)


def test_without_held_out_data_the_last_weights_are_kept(experiment):
    data = replace(experiment.data, train="train_val", val=None)
    run = train(replace(experiment, data=data, optim=Optim(epochs=1)), accelerator="cpu")
    assert {p.name for p in run.iterdir()} == {"last.ckpt", "experiment.txt"}
    logged = rows(Path("lightning_logs/tiny/bicor/version_0"))
    assert not any(name.startswith("val/") for name in logged[0])


def test_a_trial_resumes_nothing(experiment):
    train(replace(experiment, optim=Optim(epochs=1)), accelerator="cpu")
    with pytest.raises(InputError, match=r"resume and fast_dev_run: .* give only one of the two"):
        train(experiment, accelerator="cpu", resume="latest", fast_dev_run=True)


def test_an_average_goes_on_in_64_bits(experiment):
    words = ["optim.ema=0.9", "optim.epochs=1"]
    train(override(experiment, words), accelerator="cpu")
    longer = override(experiment, [words[0], "optim.epochs=2", DOUBLE])
    run = train(longer, accelerator="cpu", resume="latest")
    assert {v.dtype for n, v in weights(run, "last.ckpt").items() if "weight" in n} == {
        torch.float64
    }


def test_frozen_random_weights(experiment, capfd):
    model = partial(BiCoRSeg, 6, "test_convnext", weights=None, dim=32, freeze=True)
    train(replace(experiment, model=model), accelerator="cpu", fast_dev_run=True)
    assert "model.freeze=True keeps the weights of the encoder, which are random" in (
        capfd.readouterr().err
    )


@pytest.mark.parametrize("devices", [1, "1"])
def test_numbers_of_devices(experiment, devices):
    train(experiment, accelerator="cpu", devices=devices, fast_dev_run=True)


def test_fast_dev_run_writes_nothing(experiment):
    train(experiment, accelerator="cpu", fast_dev_run=True)
    assert {p.name for p in Path().iterdir()} == {"data"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 7}, r"data\.batch_size=7: only 6 training images"),
        ({"root": "nowhere"}, "nowhere/train/images_1024: no such folder"),
    ],
)
def test_wrong_data_writes_nothing(experiment, change, words):
    wrong = replace(experiment, data=replace(experiment.data, **change))
    with pytest.raises(InputError, match=words):
        train(wrong, accelerator="cpu")
    assert {p.name for p in Path().iterdir()} == {"data"}


def test_best_survives_a_moved_folder(experiment, monkeypatch):
    """The best score is remembered: a worse epoch after resuming does not replace best.ckpt."""
    with monkeypatch.context() as patch:
        patch.setattr("pytorch_lightning.Trainer.__init__", _stop_after_one_epoch())
        run = train(experiment, accelerator="cpu")
    last = torch.load(run / "last.ckpt", weights_only=True)
    for key, state in last["callbacks"].items():
        if "val/mIoU" in key:
            state["best_model_score"] = torch.tensor(2.0)  # better than any epoch can be
            state["dirpath"] = "/elsewhere"
    torch.save(last, run / "last.ckpt")
    before = (run / "best.ckpt").read_bytes()
    train(experiment, accelerator="cpu", resume="latest")
    assert (run / "best.ckpt").read_bytes() == before


def test_trainer_options_that_lightning_refuses(experiment):
    for options in ({"accelerator": "cpu", "strategy": "fsdp"}, {"num_nodes": 0}):
        with pytest.raises(InputError, match=r"strategy=fsdp|num_nodes=0"):
            train(experiment, **options)


def test_wrong_monitor(experiment):
    with pytest.raises(InputError, match=r"val/mIuO.*did you mean 'val/mIoU'"):
        train(replace(experiment, monitor="val/mIuO"), accelerator="cpu")


def test_wrong_resume(experiment):
    with pytest.raises(InputError, match=r"no last\.ckpt of this experiment"):
        train(experiment, resume="latest")
    run = train(replace(experiment, optim=Optim(epochs=1)), accelerator="cpu")
    with pytest.raises(InputError, match=rf"best\.ckpt: holds only weights; .*{run}/last\.ckpt"):
        train(experiment, resume=str(run / "best.ckpt"))
    with pytest.raises(InputError, match=r"all 1 epochs are done; test it"):
        train(replace(experiment, optim=Optim(epochs=1)), resume="latest")
    for change in ({"lr": 2e-5}, {"lr": 2e-5, "epochs": 9}):
        wrong = replace(experiment, optim=Optim(**{"epochs": 1, **change}))
        with pytest.raises(InputError, match=r"was trained with optim\.lr=8e-05, not 2e-05"):
            train(wrong, resume="latest")


@pytest.mark.parametrize(
    ("accelerator", "devices", "words"),
    [
        ("cpu", "4096", "devices=4096: this machine has .* CPU core"),
        ("cpu", "two", "expected a number of devices"),
        ("cpu", "0", "expected a number of devices"),
        ("cpu", "0,1", "expected a number of devices"),
        ("cpu", "-1", "expected a number of devices"),
    ],
)
def test_devices(accelerator, devices, words):
    with pytest.raises(InputError, match=words):
        check_devices(accelerator, devices)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_gpu():
    with pytest.raises(InputError, match="no GPU"):
        check_devices("gpu", "1")


_OTHER, _MEAN = "model.encoder=tf_efficientnet_b0.ap_in1k", "data.mean=(0.45,0.45,0.4)"


@pytest.mark.parametrize("devices", ["1", "auto"])
def test_devices_that_are_there(devices):
    check_devices("cpu", devices)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], ""),
        ([_OTHER], ""),
        ([_OTHER, _MEAN], "data.mean=(0.5,0.5,0.5) data.std=(0.5,"),
        ([_OTHER, _MEAN, "model.weights=None"], ""),
        ([_MEAN], "convnext_base.fb_in1k was pretrained with data.mean=(0.485,0.456,0.406)"),
        (["model.encoder=convnext_base.none"], ""),
    ],
)
def test_weights_of_another_normalization(capsys, words, told):
    _warn_of_normalization(load_experiment(ROOT / "config/vaihingen/bicor.py", words))
    warning = capsys.readouterr().err
    assert told in warning
    assert bool(warning) == bool(told)


class Wider(BiCoRSeg):
    def __init__(self, num_classes: int, **options):
        super().__init__(num_classes, **options)


def build_wider(num_classes: int, dim: int = 32, **options) -> Wider:
    return Wider(num_classes, dim=dim, **options)


def test_a_factory_with_options(experiment, monkeypatch):
    """It is trained, resumed and loaded; what stands behind its options is a setting as well."""
    factory = partial(build_wider, 6, encoder="test_convnext", weights=None)
    experiment = replace(experiment, model=factory, optim=Optim(epochs=1))
    run = train(experiment, accelerator="cpu")
    known = torch.load(run / "last.ckpt", weights_only=True)[SETTINGS_KEY]
    expected = {"model.encoder": "test_convnext", "model.dim": 32, "model.tau": 1.0}
    assert {key: known[key] for key in expected} == expected
    longer = override(experiment, ["optim.epochs=2"])
    assert train(longer, accelerator="cpu", resume="latest") == run
    with pytest.raises(InputError, match=r"was trained with model\.tau=1\.0, not 2\.0"):
        train(override(longer, ["model.tau=2", "optim.epochs=3"]), resume="latest")
    other = override(experiment, ["model.encoder=test_resnet"])
    assert settings(other)["model.encoder"] == "test_resnet"
    pretrained = override(experiment, ["model.weights=imagenet"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pretrained.build_model(pretrained=False).class_embeddings.shape == (6, 32)


class Normalized(BiCoRSeg):
    def __init__(self, num_classes: int, norm: type = torch.nn.LayerNorm, **options):
        super().__init__(num_classes, **options)


class Odd(BiCoRLoss):
    def __init__(self, ignore_index: int, reduce=torch.mean, **options):
        super().__init__(ignore_index, **options)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": partial(Normalized, 6, encoder="test_convnext")}, "model.norm=<class"),
        ({"model": partial(Wider, 6, encoder=Path("test_convnext"))}, "model.encoder=PosixPath"),
        ({"loss": partial(Odd, 6)}, "loss.reduce=<built-in"),
    ],
)
def test_settings_that_are_no_plain_values(experiment, change, told):
    with pytest.raises(InputError) as caught:
        train(replace(experiment, **change), accelerator="cpu")
    assert told in str(caught.value)
    assert "cannot be stored in a checkpoint" in str(caught.value)
    assert {p.name for p in Path().iterdir()} == {"data"}
