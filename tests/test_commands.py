"""The commands of the README as processes: train, test, and every kind of wrong input."""

import csv
import json
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.info import LOVEDA, VAIHINGEN
from tests.commands import Command, error_of, run, succeed
from tests.conftest import ROOT
from tests.scenes import make_dataset

pytestmark = pytest.mark.slow

OVERRIDES = [
    "model.encoder=test_convnext",
    "model.weights=None",
    "model.drop_path=0",
    "data.root=data",
    "data.crop=32",
    "data.batch_size=2",
    "data.workers=1",
    "optim.epochs=1",
]
VAIHINGEN_CONFIG = str(ROOT / "config/vaihingen/bicor.py")
UPERNET_CONFIG = str(ROOT / "config/baselines/vaihingen.py")
UPERNET = [
    "model.architecture=upernet",
    "model.encoder=test_resnet",
    "data.batch_size=1",
]
LOVEDA_CONFIG = str(ROOT / "config/loveda/bicor.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with Vaihingen-like data and a model trained on it by the command line."""
    cwd = tmp_path_factory.mktemp("vaihingen")
    make_dataset(cwd / "data", VAIHINGEN, {"train": 4, "val": 2, "test": 3}, ((64, 64), (32, 64)))
    flags = ["--accelerator", "cpu", "--accumulate", "2", "--channels-last"]
    succeed("train.py", "-c", VAIHINGEN_CONFIG, *flags, *OVERRIDES, cwd=cwd)
    return cwd


def test_train(trained):
    version = trained / "model_weights/vaihingen/bicor/version_0"
    assert (version / "best.ckpt").is_file()
    settings = (version / "experiment.txt").read_text().splitlines()
    chosen = ["model.encoder=test_convnext", "optim.accumulate=2", "compute.channels_last=True"]
    assert set(chosen) <= set(settings)
    assert (trained / "lightning_logs/vaihingen/bicor/version_0/metrics.csv").is_file()


@pytest.fixture(scope="module")
def tested(trained) -> Path:
    args = ["-c", VAIHINGEN_CONFIG, "-o", "fig_results/labels", "-t", "dihedral", *OVERRIDES]
    out = succeed("test_vaihingen.py", *args, "--report", cwd=trained)
    assert "mean of 5" in out
    assert "mean of all 6" in out
    return trained / "fig_results/labels"


def test_masks_are_the_scored_ones(trained, tested):
    """Scores of the written masks, by scikit-learn, are those in scores.json."""
    document = json.loads((tested / "scores.json").read_text())
    names = [f"test-0-{i}" for i in range(3)]
    masks = [read_mask(tested / f"{name}.png", VAIHINGEN) for name in names]
    assert [m.shape for m in masks] == [(64, 64), (32, 64), (64, 64)]
    for kind, folder in (("eroded", "masks_1024"), ("full", "masks_1024_rgb")):
        truth = [read_mask(trained / "data/test" / folder / f"{n}.png", VAIHINGEN) for n in names]
        flat = (
            np.concatenate([m.ravel() for m in masks]),
            np.concatenate([t.ravel() for t in truth]),
        )
        prediction, labels = (values[flat[1] != 6] for values in flat)
        scores = document["scores"][kind]
        assert scores["OA"] == pytest.approx(accuracy_score(labels, prediction))
        iou = jaccard_score(labels, prediction, average=None, labels=range(6), zero_division=0)
        named = [scores["classes"][name]["IoU"] for name in VAIHINGEN.classes]
        assert named == pytest.approx(iou.tolist())
        assert scores["mIoU"] == pytest.approx(iou[:5].mean())
        assert scores["intervals_95"] == {}  # three tiles are too few
        assert {image["name"] for image in scores["worst_images"]} == set(names)
        assert 0 < scores["calibration_error"] < 1
        assert (tested / f"figures/reliability_{kind}.png").is_file()


def test_report(trained, tested):
    """The flag and the tool write the same page, the tool from what the test has recorded."""
    page = (tested / "report.html").read_text()
    assert page.count('class="stage"') == 3
    assert "Loss and its weighted parts" in page  # curves of the training
    assert 'class="heat"' in page
    args = ["fig_results/labels", "-o", "pages/again.html"]
    succeed("tools/make_report.py", *args, cwd=trained)
    assert (trained / "pages/again.html").read_text() == page


def test_results_carry_their_protocol(tested):
    protocol = json.loads((tested / "scores.json").read_text())["protocol"]
    assert protocol["data_set"] == "vaihingen"
    assert protocol["split"] == "test"
    assert protocol["label_kinds"] == ["eroded", "full"]
    # Not cut by our tool, but no patch has a black margin.
    assert protocol["masks"]["eroded"]["padding_policy"] == "none"
    assert protocol["training"]["data.padding"] == "none"
    assert protocol["trained_on"] is False
    assert protocol["training"]["optim.epochs"] == 1
    assert (protocol["tta"], protocol["views"]) == ("dihedral", 8)
    assert protocol["classes_in_mean"] == ["ImSurf", "Building", "LowVeg", "Tree", "Car"]
    assert len(protocol["checkpoint_sha256"]) == 64
    assert protocol["settings"]["model.encoder"] == "test_convnext"
    assert protocol["software"]["torch"]
    table = (tested / "scores.csv").read_text().splitlines()
    assert table[0].startswith("data_set,split,trained_on,tta,views,checkpoint_sha256,labels,")
    assert table[1].startswith("vaihingen,test,False,dihedral,8,")
    assert len(table) == 1 + 2 * (6 + 2)


def test_rgb_masks_are_the_label_masks_in_color(trained, tested):
    args = ["-c", VAIHINGEN_CONFIG, "-o", "fig_results/rgb", "-t", "dihedral", "--rgb"]
    succeed("test_vaihingen.py", *args, "--batch-size", "2", *OVERRIDES, cwd=trained)
    for path in sorted(tested.glob("*.png")):
        rgb = read_rgb(trained / "fig_results/rgb" / path.name)
        labels = read_mask(path, VAIHINGEN)
        # Sums in another order, in a batch: a pixel may fall on the other side.
        assert (VAIHINGEN.to_rgb(labels) == rgb).all(axis=2).mean() > 0.999


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the records, whose order is that of prediction."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_an_interrupted_test_goes_on(trained, tested):
    """Masks that are there stay, the others and the scores come anew, and are the same."""
    before = contents(tested)
    (tested / "scores.json").unlink()
    (tested / "test-0-1.png").unlink()
    records = (tested / "images.jsonl").read_text().splitlines()
    # The last record is cut off, as by a process that was killed.
    (tested / "images.jsonl").write_text("\n".join(records[:2]) + "\n" + records[2][:40])
    # An image that was replaced since: its mask is another.
    next((trained / "data/test/images_1024").glob("test-0-2.*")).touch()
    kept, old = ((tested / f"test-0-{n}.png").stat().st_mtime_ns for n in (0, 2))
    args = ["-c", VAIHINGEN_CONFIG, "-o", "fig_results/labels", "-t", "dihedral", *OVERRIDES]
    succeed("test_vaihingen.py", *args, cwd=trained)
    del before["report.html"]  # shows what has just been predicted anew
    assert contents(tested) == before
    assert (tested / "test-0-0.png").stat().st_mtime_ns == kept
    assert (tested / "test-0-2.png").stat().st_mtime_ns > old


def test_precision(trained, tested):
    """bf16 masks are nearly the float32 ones, and the protocol says how they were computed."""
    args = ["-c", VAIHINGEN_CONFIG, "-o", "fig_results/bf16", "-t", "dihedral", *OVERRIDES]
    succeed("test_vaihingen.py", *args, "--precision", "bf16-mixed", "--channels-last", cwd=trained)
    bf16 = trained / "fig_results/bf16"
    assert json.loads((bf16 / "scores.json").read_text())["protocol"]["precision"] == "bf16-mixed"
    same = [
        (read_mask(path, VAIHINGEN) == read_mask(bf16 / path.name, VAIHINGEN)).mean()
        for path in tested.glob("*.png")
    ]
    assert len(same) == 3
    assert np.mean(same) > 0.9


def test_val_split(trained):
    """The test script's scores of the val split are those that training logged."""
    args = ["-c", VAIHINGEN_CONFIG, "-o", "fig_results/val", "--val", *OVERRIDES]
    out = succeed("test_vaihingen.py", *args, cwd=trained)
    assert "val (CHECKPOINT CHOSEN ON)" in out
    document = json.loads((trained / "fig_results/val/scores.json").read_text())
    protocol, scores = document["protocol"], document["scores"]["full"]
    assert (protocol["split"], protocol["label_kinds"]) == ("val", ["full"])
    log = trained / "lightning_logs/vaihingen/bicor/version_0/metrics.csv"
    with log.open() as file:
        logged = next(row for row in csv.DictReader(file) if row["val/mIoU"])
    for name in ("mIoU", "mF1", "OA"):
        assert scores[name] == pytest.approx(float(logged[f"val/{name}"]), abs=1e-5)


def test_metrics_are_those_of_all_processes(tmp_path):
    """Two processes validate five images of two sizes to the scores of one process.

    At a learning rate of almost nothing both have the same weights.
    """
    make_dataset(tmp_path / "data", VAIHINGEN, {"train": 4, "val": 5}, ((64, 64), (32, 64)))
    args = ["-c", VAIHINGEN_CONFIG, "--accelerator", "cpu", *OVERRIDES]
    args += ["optim.lr=1e-12", "optim.min_lr=0", "data.workers=0", "data.val_batch_size=2"]
    rows = {}
    for devices in ("1", "2"):
        run_args = [*args, "--devices", devices, f"name=processes/{devices}"]
        succeed("train.py", *run_args, cwd=tmp_path)
        log = tmp_path / f"lightning_logs/processes/{devices}/version_0/metrics.csv"
        with log.open() as file:
            rows[devices] = next(row for row in csv.DictReader(file) if row["val/mIoU"])
    names = [name for name in rows["1"] if name.startswith("val/")]
    assert len(names) >= 6
    for name in names:
        assert float(rows["2"][name]) == pytest.approx(float(rows["1"][name]), abs=1e-5), name
    folders = [path.name for path in (tmp_path / "model_weights/processes/2").iterdir()]
    assert folders == ["version_0"]


def test_loveda(tmp_path):
    """Without labels the test split gets masks and a protocol, and no scores; --val gets both."""
    make_dataset(tmp_path / "data", LOVEDA, {"train": 1, "val": 1, "test": 1})
    train_args = ["-c", LOVEDA_CONFIG, "--accelerator", "cpu", *OVERRIDES]
    succeed("train.py", *train_args, cwd=tmp_path)
    args = ["-c", LOVEDA_CONFIG, "-t", "d4", *OVERRIDES]
    succeed("test_loveda.py", *args, "-o", "out", cwd=tmp_path)
    names = {path.name for path in (tmp_path / "out").iterdir()} - {"images.jsonl"}
    assert names == {"test-0-0.png", "test-1-0.png", "protocol.json"}
    with Image.open(tmp_path / "out/test-0-0.png") as mask:
        assert (mask.mode, mask.size) == ("L", (64, 64))
        assert np.asarray(mask).max() <= 6
    submit = ["loveda", "out", "-o", "loveda.zip", "--data-root", "data"]
    message = error_of("tools/make_submission.py", *submit, cwd=tmp_path)
    assert "2 test images, loveda has 1796" in message
    succeed("tools/make_submission.py", *submit, "--any-count", cwd=tmp_path)
    with zipfile.ZipFile(tmp_path / "loveda.zip") as archive:
        assert sorted(archive.namelist()) == ["test-0-0.png", "test-1-0.png"]
    succeed("test_loveda.py", *args, "-o", "val", "--val", cwd=tmp_path)
    protocol = json.loads((tmp_path / "val/scores.json").read_text())["protocol"]
    assert protocol["views"] == 8


def test_interrupted_training_says_so(trained):
    """Ctrl-C ends with one line and exit code 130, and the run can be resumed."""
    args = ["-c", VAIHINGEN_CONFIG, *OVERRIDES, "--accelerator", "cpu"]
    process = Command("train.py", *args, "optim.epochs=500", "name=interrupted", cwd=trained)
    last = trained / "model_weights/interrupted/version_0/last.ckpt"
    for _ in range(2400):  # four minutes, on a busy machine
        if last.is_file():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors[-2000:]
    assert "Traceback" not in errors
    assert last.is_file()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-c", "none.py"], ["none.py", "no such config"]),
        (["-c", VAIHINGEN_CONFIG, "data.batchsize=4"], ["data.batch_size"]),
        (["-c", VAIHINGEN_CONFIG, "data.root=nowhere"], ["nowhere", "no such folder"]),
        (["-c", VAIHINGEN_CONFIG, *OVERRIDES, "--devices", "999"], ["--devices 999"]),
        (["-c", UPERNET_CONFIG, *UPERNET], ["data.batch_size=1", "at least 2"]),
        (["-c", VAIHINGEN_CONFIG, *OVERRIDES, "--resume", "no.ckpt"], ["no.ckpt", "no such"]),
        (["-c", VAIHINGEN_CONFIG, *OVERRIDES, "model.encoder=convnxt"], ["convnxt", "timm"]),
    ],
)
def test_wrong_training_input(trained, args, words):
    message = error_of("train.py", "--accelerator", "cpu", *args, cwd=trained)
    assert all(word in message for word in words), message


def test_damage_found_while_training_is_one_line(trained, tmp_path):
    """A PNG that has its end but not its middle is only found when a worker decodes it."""
    data = make_dataset(tmp_path / "data", VAIHINGEN, {"train": 2, "val": 1})
    image = data / "train/images_1024/train-0-0.png"
    content = bytearray(image.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    image.write_bytes(content)
    result = run(
        "train.py", "-c", VAIHINGEN_CONFIG, "--accelerator", "cpu", *OVERRIDES, cwd=tmp_path
    )
    assert result.returncode == 2, result.stderr[-3000:]
    assert [x for x in result.stderr.splitlines() if x.startswith("error: ")] == [
        f"error: {image.relative_to(tmp_path)}: damaged pixels (a checksum in the file is wrong); "
        "copy or extract it again"
    ]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--checkpoint", "none.ckpt"], ["none.ckpt", "no such checkpoint"]),
        (["--checkpoint", "data/test/masks_1024/test-0-0.png"], ["test-0-0.png"]),
        (
            ["model.encoder=test_resnet"],
            ["best.ckpt", "trained with model.encoder=test_convnext, not test_resnet"],
        ),
        (["model.topk_ratio=1"], ["best.ckpt", "trained with model.topk_ratio=0.02, not 1.0"]),
        (["name=never/trained"], ["never/trained", "train it first"]),
        (["data.test=train_val", "data.root=nowhere"], ["nowhere", "no such folder"]),
        (["--device", "cuda:77"], ["--device cuda:77"]),
        (["--batch-size", "0"], ["--batch-size 0"]),
    ],
)
def test_wrong_test_input(trained, args, words):
    command = ["-c", VAIHINGEN_CONFIG, "-o", "fig_results/never", *OVERRIDES, *args]
    message = error_of("test_vaihingen.py", *command, cwd=trained)
    assert all(word in message for word in words), message


def test_test_script_of_another_data_set(trained):
    command = ["-c", VAIHINGEN_CONFIG, "-o", "fig_results/never", *OVERRIDES]
    assert "is for vaihingen, not for loveda" in error_of("test_loveda.py", *command, cwd=trained)


def test_checkpoint_with_another_class_count(trained, tmp_path):
    best = trained / "model_weights/vaihingen/bicor/version_0/best.ckpt"
    make_dataset(tmp_path / "data", LOVEDA, {"test": 1})
    command = ["-c", LOVEDA_CONFIG, "-o", "out", "--checkpoint", str(best), *OVERRIDES]
    message = error_of("test_loveda.py", *command, cwd=tmp_path)
    assert "(6, 256)" in message
    assert "(7, 256)" in message


def test_a_wrong_output_folder_is_left_alone(trained, tmp_path):
    """Not even where all names fit: these are the masks of the truth."""
    truth = trained / "data/test/masks_1024"
    before = {path.name: path.read_bytes() for path in truth.iterdir()}
    write_image(tmp_path / "out/other.png", np.zeros((4, 4), np.uint8))
    for output in (truth, tmp_path / "out"):
        command = ["-c", VAIHINGEN_CONFIG, "-o", str(output), *OVERRIDES]
        message = error_of("test_vaihingen.py", *command, cwd=trained)
        assert "holds images that are not of this evaluation" in message
    assert {path.name: path.read_bytes() for path in truth.iterdir()} == before


def test_scores_on_training_data_say_so(tmp_path):
    """Also where the config at test time does not know: the checkpoint does."""
    make_dataset(tmp_path / "data", LOVEDA, {"train": 1, "val": 1})
    args = ["-c", LOVEDA_CONFIG, *OVERRIDES]
    unheld = ["data.train=train_val", "data.val=None", "--seed", "7"]
    succeed("train.py", "--accelerator", "cpu", *args, *unheld, cwd=tmp_path)
    out = succeed("test_loveda.py", *args, "-o", "out", "--val", cwd=tmp_path)
    assert "TRAINED ON" in out
    protocol = json.loads((tmp_path / "out/scores.json").read_text())["protocol"]
    assert protocol["trained_on"] is True
    assert protocol["seed"] == 7
