"""Trackers of a training: what TensorBoard gets, and one line where a library is missing."""

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pytorch_lightning.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from network.config import Experiment, Log, override
from network.datasets.files import read_mask, read_photo
from network.datasets.info import VAIHINGEN
from network.differences import changes_training
from network.errors import InputError
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.settings import Data, Optim
from network.training import trackers
from network.training.data import SegmentationData
from network.training.task import SegmentationTask
from network.training.trackers import Tracker, mlflow_names, picture_of
from network.training.train import train
from tests.scenes import make_dataset

LOGS = Path("lightning_logs/tiny/bicor/version_0")


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    make_dataset(Path("data"), VAIHINGEN, {"train": 2, "val": 3}, ((32, 64),))
    return Experiment(
        dataset=VAIHINGEN,
        model=partial(BiCoRSeg, 6, "test_convnext", weights=None, dim=32),
        loss=partial(BiCoRLoss, 6),
        data=Data(root="data", crop=32, batch_size=2, workers=0),
        optim=Optim(lr=1e-3, epochs=2),
        name="tiny/bicor",
    )


@pytest.mark.slow
def test_tensorboard_gets_what_the_csv_gets_and_pictures(experiment):
    train(override(experiment, ["log.to=tensorboard", "log.images=2"]), accelerator="cpu")
    found = EventAccumulator(str(LOGS), size_guidance={"images": 0})
    found.Reload()
    with (LOGS / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/mIoU"]]
    scalars = found.Scalars("val/mIoU")
    assert [s.value for s in scalars] == pytest.approx([float(row["val/mIoU"]) for row in rows])
    assert {"lr", "train/loss", "train/fisher", "val/loss"} <= set(found.Tags()["scalars"])
    names = [sample.name for sample in SegmentationData(experiment).val_samples]
    assert found.Tags()["images"] == [f"val/1_{names[0]}", f"val/2_{names[2]}"]
    assert [image.step for image in found.Images(f"val/1_{names[0]}")] == [0, 1]


class Breaking(Logger):
    """A logger whose server stops after the first values."""

    name, version, calls = "breaking", "", 0

    def log_hyperparams(self, *_):
        pass

    def log_metrics(self, *_):
        self.calls += 1
        if self.calls > 1:
            raise ConnectionError("the server has stopped")


@pytest.mark.slow
def test_a_training_goes_on_without_a_tracker_that_is_lost(experiment, monkeypatch, capfd):
    logger = Breaking()
    monkeypatch.setitem(trackers._MAKERS, "mlflow", lambda *_: logger)
    monkeypatch.setattr("network.extras.find_spec", lambda name: name)
    run = train(override(experiment, ["log.to=mlflow", "log.images=0"]), accelerator="cpu")
    assert (run / "last.ckpt").is_file()
    told = capfd.readouterr().err
    assert told.count("warning: log.to=mlflow: no longer used (the server has stopped)") == 1
    assert logger.calls == 2


def test_a_picture_shows_image_truth_and_prediction(experiment):
    data = SegmentationData(experiment)
    task = SegmentationTask(experiment).eval()
    item = data.val_dataloader().dataset[1]
    picture = picture_of(task, item, VAIHINGEN)
    sample = data.val_samples[1]
    photo, truth, prediction = np.split(picture, 3, axis=1)
    np.testing.assert_array_equal(photo, read_photo(sample.image, VAIHINGEN))
    mask = read_mask(next(iter(sample.masks.values())), VAIHINGEN)
    np.testing.assert_array_equal(truth, VAIHINGEN.to_rgb(mask))
    labels = task.output_of({"image": item["image"][None]}).logits[0].argmax(dim=0).numpy()
    np.testing.assert_array_equal(prediction, VAIHINGEN.to_rgb(labels.astype(np.uint8)))


def test_names_for_mlflow():
    names = ("forêt", "foret", "дорога", "Low veg. / grass", "9")
    found = mlflow_names(names)
    assert list(found) == [f"val/IoU/{name}" for name in names]
    plain = ["foret", "class 1", "class 2", "Low veg. grass", "9"]
    assert list(found.values()) == [f"val/IoU/{name}" for name in plain]
    sent = []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: sent.append((metrics, step)))
    Tracker("mlflow", logger, found).log_metrics({"val/IoU/дорога": 0.5, "lr": 0.1}, 7)
    assert sent == [({"val/IoU/class 2": 0.5, "lr": 0.1}, 7)]


def test_a_library_that_is_missing(experiment, monkeypatch):
    monkeypatch.setattr("network.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"log.to=wandb: needs the library wandb, .*\[wandb\]"):
        train(replace(experiment, log=Log(to="wandb")), accelerator="cpu")
    assert not Path("lightning_logs").exists()
    assert not list(Path().rglob("*.ckpt"))


def test_settings_of_trackers(experiment):
    assert Log(to="mlflow, wandb,mlflow").trackers == ("mlflow", "wandb")
    assert Log().trackers == ()
    with pytest.raises(InputError, match=r"log.to=tensorbord: must be one of .*did you mean"):
        override(experiment, ["log.to=tensorbord"])
    assert not changes_training("log.to")
