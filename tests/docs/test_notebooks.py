"""The notebooks run from top to bottom."""

import runpy
from dataclasses import replace

import matplotlib as mpl
import pytest
import timm
import torch

from network.config import load_experiment
from network.evaluation.evaluate import evaluate
from network.models.pretrained import PRETRAINED_DIR
from network.training.train import train
from tests.conftest import ROOT
from tests.scenes import make_dataset

pytestmark = pytest.mark.slow

NOTEBOOKS = ROOT / "docs/notebooks"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Tiny images where make demo puts its own, in a folder like that of the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mpl, "rcParams", mpl.rcParams.copy())
    mpl.use("Agg")
    (tmp_path / "config").symlink_to(ROOT / "config")
    words = ["model.dim=32", "optim.epochs=1", "data.workers=0", "data.crop=64"]
    experiment = load_experiment("config/demo/bicor.py", words)
    weights = PRETRAINED_DIR / "tf_efficientnet_lite0.pth"
    weights.parent.mkdir(parents=True)
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), weights)
    make_dataset(experiment.root, experiment.dataset, {"train": 8, "val": 1, "test": 2})
    return experiment


@pytest.mark.parametrize("name", ["train_and_look", "change_the_layer"])
def test_training_notebooks(demo, name, capsys):
    found = runpy.run_path(str(NOTEBOOKS / f"{name}.py"))
    assert (found["run"] / "best.ckpt").is_file()
    if name == "train_and_look":
        assert (demo.root.parents[1] / "fig_results/notebook_mask.png").is_file()


def test_scores_notebook(demo):
    checkpoint = train(replace(demo, name="demo/bicor"), accelerator="cpu") / "best.ckpt"
    output = demo.root.parents[1] / "fig_results/demo"
    summaries = evaluate(demo, checkpoint=checkpoint, output=output, split="test", device="cpu")
    found = runpy.run_path(str(NOTEBOOKS / "read_scores.py"))
    kind = found["kind"]
    images, scores = found["images"], summaries[kind].scores
    assert images["right"].sum() / images["pixels"].sum() == pytest.approx(scores.overall["OA"])
    iou = found["scores"]["IoU", kind]
    assert list(iou) == pytest.approx([value or 0 for value in scores.by_class["IoU"]], nan_ok=True)


def test_all_are_run():
    names = {path.stem for path in NOTEBOOKS.glob("*.py")}
    assert names == {"train_and_look", "change_the_layer", "read_scores"}
