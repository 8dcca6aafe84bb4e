"""The chain from image-level labels to building masks: real processes on synthetic scenes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from network.buildings.activation import class_activation
from network.buildings.maps import load_classifier
from network.buildings.record import run_step
from network.buildings.settings import load_chain
from network.buildings.steps import (
    EVALUATE,
    MAKE_CAM,
    MAKE_LABELS,
    MAKE_REFINED,
    STEPS,
    TRAIN_CLASSIFIER,
)
from network.buildings.tiles import read_labels
from network.buildings.work import Work
from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.info import BUILDING
from network.datasets.synthetic.buildings import make_building_scenes
from network.errors import InputError
from tests.commands import Command, error_of, succeed
from tests.conftest import ROOT

CONFIG = (
    (ROOT / "config/weak/demo.py")
    .read_text()
    .replace('"data/demo/buildings"', '"scenes"')
    .replace("final=Final(", f'final=Final(config="{ROOT}/config/building/deeplabv3plus.py",')
    .replace("lr=2e-3,\n        epochs=8", "lr=2e-3,\n        epochs=4")
)
TOOL = "tools/weak/run_chain.py"
WORK = ["-c", "chain.py", "--work", "work", "--device", "cpu"]


def step(name: str, *words: str, cwd: Path) -> str:
    return succeed(TOOL, *WORK, "--only", name, *words, cwd=cwd)


def work_of(cwd: Path, *words: str, oracle: bool = False) -> Work:
    """The work folder in this process, which has ``cwd`` as its own."""
    chain = load_chain(cwd / "chain.py", words)
    if oracle:
        chain = replace(
            chain,
            refiner=replace(chain.refiner, oracle=True),
            pseudo=replace(chain.pseudo, oracle=True),
        )
    return Work(chain, Path("work"), torch.device("cpu"))


def run_steps(work: Work, until: str) -> None:
    for one in STEPS:
        run_step(one, work)
        if one.name == until:
            return


def record(cwd: Path, name: str) -> dict:
    return json.loads((cwd / f"work/steps/{name}.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """A folder with scenes and a config."""
    cwd = tmp_path_factory.mktemp("weak")
    made = succeed("tools/weak/make_demo_scenes.py", "--output", "scenes", "--test", "12", cwd=cwd)
    assert made == "scenes: 96 tiles to train, 12 to test on\n"
    (cwd / "chain.py").write_text(CONFIG)
    return cwd


OPENED = """
import os
import sys

def note(event, args):
    if event == "open" and "masks/" in str(args[0]):
        with open(os.environ["OPENED"], "a") as file:
            file.write(f"{args[0]}\\n")

sys.addaudithook(note)
"""


@pytest.fixture(scope="module")
def done(scenes, tmp_path_factory) -> Path:
    """The whole chain; until its last training ends, the truth cannot be read, nor is it tried."""
    step("make_labels", cwd=scenes)
    truth = [*scenes.rglob("masks/*.png")]
    assert len(truth) > 160  # of the scenes and of the tiles
    kept = {path: path.read_bytes() for path in truth}
    for path, content in kept.items():
        path.write_bytes(bytes(len(content)))  # of the same size: files that differ are noticed
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(OPENED)
    environment = {**os.environ, "PYTHONPATH": str(site), "OPENED": str(site / "opened.txt")}
    script = [sys.executable, str(ROOT / "tools/weak/run_chain.py"), *WORK]
    command = [*script, "--until", "train_final"]
    options = {"cwd": scenes, "env": environment, "capture_output": True, "text": True}
    result = subprocess.run(command, **options)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.startswith("make_labels: done already")
    assert "warning" not in result.stderr
    assert not (site / "opened.txt").exists(), (site / "opened.txt").read_text()
    for path, content in kept.items():
        path.write_bytes(content)
    shutil.copytree(scenes / "work", scenes / "before")
    look = f"open({str(truth[0])!r})"
    subprocess.run([sys.executable, "-c", look], check=True, **options)
    assert (site / "opened.txt").exists()  # so the hook works
    succeed(TOOL, *WORK, cwd=scenes)
    return scenes


@pytest.mark.slow
def test_every_step_has_its_record(done):
    """Settings with all thresholds, what it builds on, what it found."""
    labels = record(done, "make_labels")
    assert labels["settings"]["tiles.positive_share"] == 0.25
    assert labels["results"]["positive"] + labels["results"]["negative"] >= 75
    assert record(done, "make_seeds")["settings"]["seeds.foreground"] == 0.5
    pseudo = record(done, "make_pseudo")
    assert pseudo["settings"]["make_refined of"] == record(done, "make_refined")["made"]
    assert pseudo["results"]["threshold"] == 0.65
    accuracy = record(done, "train_classifier")["results"]
    assert min(accuracy[f"accuracy on {kind} tiles"] for kind in ("positive", "negative")) > 0.9
    assert all(path.suffix == ".json" for path in (done / "work/steps").iterdir())


@pytest.mark.slow
def test_the_evaluation_changes_nothing_that_the_steps_made(done):
    """What was made without any truth is what there is."""
    before, after = contents(done / "before"), contents(done / "work")
    ours = {name for name in before if not name.startswith(("steps/", "data/"))}
    ours |= {name for name in before if "/pseudo/" in name or "/images/" in name}
    assert len(ours) > 300
    assert all(after[name] == before[name] for name in ours)


@pytest.mark.slow
def test_stages(done):
    """The pseudo masks are clearly better than the activation maps at their best."""
    document = json.loads((done / "work/stages/stages.json").read_text())
    stages = {(s["name"], s["threshold"].partition(", ")[2]): s for s in document["stages"]}
    iou = {key: stage["scores"]["positives"]["IoU"] for key, stage in stages.items()}
    assert iou["pseudo masks", ""] > iou["CAM", "best by the truth"] + 0.1
    assert iou["pseudo masks", ""] > 0.8
    positives = np.array(stages["image labels", ""]["positives"])
    assert positives[:, 0].tolist() == [0, 0]  # nothing of a positive tile is called background
    share = positives[1, 1] / positives.sum()
    assert iou["image labels", ""] == pytest.approx(share)
    assert share < iou["CAM", "best by the truth"]
    assert iou["pseudo masks", ""] == pytest.approx(iou["AR", "fixed"], abs=0.002)
    assert iou["AR", "best by the truth"] >= iou["AR", "fixed"]
    assert {"final network", "full supervision"} <= {name for name, _ in stages}
    assert iou["final network", ""] > 0.4  # after three epochs
    assert not document["oracle"]
    table = (done / "work/stages/stages.md").read_text()
    assert "| CAM | train |" in table
    assert "25 %" in table
    for name in ("panel.png", "thresholds.png"):
        assert read_rgb(done / "work/stages" / name).std() > 10


@pytest.mark.slow
def test_scores_of_the_pseudo_masks(done):
    """By hand from the files: all tiles, and those that show buildings."""
    labels = read_labels(done / "work/data/train/labels.csv")
    document = json.loads((done / "work/stages/stages.json").read_text())
    (scores,) = (s["scores"] for s in document["stages"] if s["name"] == "pseudo masks")
    for key, names in (
        ("positives", [name for name, label in labels.items() if label]),
        ("all tiles", list(labels)),
    ):
        truth, found = (
            np.stack([read_mask(done / f"work/data/train/{f}/{n}.png", BUILDING) for n in names])
            for f in ("masks", "pseudo")
        )
        both = ((truth == 1) & (found == 1)).sum()
        either = ((truth == 1) | (found == 1)).sum()
        assert scores[key]["IoU"] == pytest.approx(both / either)
        assert scores[key]["OA"] == pytest.approx((truth == found).mean())


@pytest.mark.slow
def test_negative_tiles_are_background(done):
    labels = read_labels(done / "work/data/train/labels.csv")
    assert {*labels.values()} == {0, 1}
    for folder in ("work/seed", "work/data/train/pseudo"):
        for name, label in labels.items():
            assert label or not read_mask(done / folder / f"{name}.png", BUILDING).any()
    maps = {path.stem for path in (done / "work/ar").iterdir()}
    assert maps == {name for name, label in labels.items() if label}


def interrupt(*words: str, cwd: Path, when) -> None:
    """Ctrl-C as soon as ``when`` is true."""
    process = Command(*words, cwd=cwd)
    while not when():
        assert process.poll() is None, process.stderr
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err


@pytest.fixture
def copied(done, tmp_path, monkeypatch) -> Path:
    """A copy of the finished chain, in which this process works."""
    cwd = tmp_path / "copy"
    shutil.copytree(done, cwd, ignore=shutil.ignore_patterns("before", "lightning_logs", "stages"))
    monkeypatch.chdir(cwd)
    return cwd


@pytest.mark.slow
def test_a_change_can_be_taken_back(copied, capsys):
    """Of a step that was begun with other settings and interrupted the old result is kept."""
    before = contents(copied / "work/cam")
    words = ["scales=(1.0,)"]
    first = sorted(path.stem for path in (copied / "work/cam").iterdir())[0]
    (copied / f"work/data/train/images/{first}.png").rename(copied / "hidden.png")
    with pytest.raises(InputError, match="no such tile"):
        run_step(MAKE_CAM, work_of(copied, *words))
    (copied / "hidden.png").rename(copied / f"work/data/train/images/{first}.png")
    assert contents(copied / "work/cam") == before
    interrupt(
        TOOL,
        *(*WORK, "--only", "make_cam", *words),
        cwd=copied,
        when=lambda: len([*(copied / "work/cam").glob("train_*.npy")]) == 16,
    )
    assert 0 < len(contents(copied / "work/cam")) < len(before)
    run_step(MAKE_CAM, work_of(copied))
    assert "make_cam: done already" in capsys.readouterr().out
    assert contents(copied / "work/cam") == before
    assert not (copied / "work/steps/.make_cam.old").exists()


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["images", "a mask", "a test mask", "the classes"])
def test_other_data_are_noticed(copied, changed):
    """The labels are not of these images and masks any more."""
    work = work_of(copied)
    if changed == "images":
        for folder in ("images", "masks"):
            path = copied / f"scenes/train/{folder}/train_000.png"
            shutil.copy(path, path.with_name("train_more.png"))
    elif changed == "the classes":
        info = replace(work.chain.dataset, palette=((1, 1, 1), (2, 2, 2)))
        work = replace(work, chain=replace(work.chain, dataset=info))
    else:
        split = "test" if "test" in changed else "train"
        path = copied / f"scenes/{split}/masks/{split}_000.png"
        write_image(path, np.random.default_rng(0).integers(0, 2, (96, 96), dtype=np.uint8))
    with pytest.raises(InputError, match="was made with digest of the data="):
        run_step(MAKE_LABELS, work)


@pytest.mark.slow
def test_labels_alone(scenes, tmp_path, monkeypatch, capsys):
    """Images and a list of their labels: masks come out, with pictures and without scores."""
    monkeypatch.chdir(tmp_path)
    make_building_scenes(tmp_path / "scenes", {"train": 48}, 96)
    masks = {p.stem: read_mask(p, BUILDING) for p in (tmp_path / "scenes/train/masks").iterdir()}
    shutil.rmtree(tmp_path / "scenes/train/masks")
    rows = [f"{name},{int(mask.any())}" for name, mask in sorted(masks.items())]
    (tmp_path / "labels.csv").write_text("\ufeffname,label\n" + "\n".join(rows) + "\n")
    shutil.copy(scenes / "chain.py", tmp_path)
    words = ["labels=labels.csv", "test=None", "classifier.epochs=2", "refiner.epochs=1"]
    work = work_of(tmp_path, *words, "seeds.crf=none")
    run_steps(work, "make_pseudo")
    run_step(EVALUATE, work)
    assert {path.stem for path in (tmp_path / "work/data/train/pseudo").iterdir()} == masks.keys()
    assert read_rgb(tmp_path / "work/stages/panel.png").std() > 10
    assert json.loads((tmp_path / "work/stages/stages.json").read_text())["stages"] == []
    assert "evaluate: without train_final, which has no test images" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["images", "masks"])
def test_lost_tiles_are_cut_again(copied, lost):
    """They are the same, and the pseudo masks beside them stay."""
    before = contents(copied / "work/data")
    next((copied / f"work/data/train/{lost}").iterdir()).unlink()
    run_step(MAKE_LABELS, work_of(copied))
    assert contents(copied / "work/data") == before
    assert (copied / "work/data/train/pseudo").is_dir()


@pytest.mark.slow
def test_done_steps_are_not_repeated(copied, capsys):
    """Only what is lost is made again, and is the same."""
    run_step(MAKE_CAM, work_of(copied))
    assert "make_cam: done already" in capsys.readouterr().out
    lost, *others = sorted((copied / "work/cam").iterdir())
    before, kept = np.load(lost), {path: path.stat().st_mtime_ns for path in others}
    lost.unlink()
    run_step(MAKE_CAM, work_of(copied))
    assert "make_cam: done (maps" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in others} == kept
    # Made alone now: convolutions of another batch size round otherwise.
    np.testing.assert_allclose(np.load(lost), before, atol=2e-3)


@pytest.mark.slow
def test_pretrained_networks_see_images_as_their_weights_expect(copied, capsys):
    """Weights that expect 0.5 and 0.5 get them, in the training and for the maps.

    A classifier of an earlier version, whose record has no normalization, is trained anew.
    """
    torch.save(timm.create_model("test_resnet").state_dict(), "resnet.pth")
    work = work_of(copied, "classifier.weights=resnet.pth", "classifier.epochs=1")
    run_steps(work, "make_cam")
    path = copied / "work/steps/train_classifier.json"
    found = json.loads(path.read_text())
    assert found["settings"]["normalization"] == [[0.5] * 3, [0.5] * 3]
    tile = work.positives[0]
    image = torch.from_numpy(read_rgb(tile.image)).movedim(-1, 0)[None] / 127.5 - 1
    with torch.inference_mode():
        cam = class_activation(load_classifier(work), image, work.chain.scales)[0]
    np.testing.assert_allclose(np.load(copied / f"work/cam/{tile.name}.npy"), cam, atol=2e-3)
    capsys.readouterr()
    del found["settings"]["normalization"]
    path.write_text(json.dumps(found))
    run_step(TRAIN_CLASSIFIER, work)
    expected = "train_classifier: starts again, since it has other normalization"
    assert expected in capsys.readouterr().out


@pytest.mark.slow
def test_other_settings_begin_anew(copied, done, capsys):
    """A step with other settings, and what builds on it, but nothing before it."""
    run_steps(work_of(copied, "pseudo.threshold=0.9"), "make_pseudo")
    out = capsys.readouterr().out
    assert "make_refined: done already" in out
    assert "make_pseudo: starts again, since it has other pseudo.threshold" in out

    def buildings(cwd: Path) -> int:
        masks = (cwd / "work/data/train/pseudo").iterdir()
        return sum(int((read_mask(path, BUILDING) == 1).sum()) for path in masks)

    assert 0 < buildings(copied) < buildings(done)
    with pytest.raises(InputError, match=r"train_classifier, which comes before make_cam, is not"):
        run_step(MAKE_CAM, work_of(copied, "classifier.lr=0.1"))
    with pytest.raises(InputError, match=r"was made with tiles.side=96, not 64"):
        run_step(MAKE_LABELS, work_of(copied, "tiles.side=64"))
    run_steps(work_of(copied, "clusters.keep=1.0"), "cluster")
    told = capsys.readouterr().err
    assert "warning: no building center is likelier than clusters.keep=1.0" in told
    assert record(copied, "cluster")["results"]["building centers"] == 1


@pytest.mark.slow
def test_oracles_say_so(copied):
    """Epoch and threshold by the truth, in records and table."""
    work = work_of(copied, "refiner.epochs=2", "refiner.consistency=0", oracle=True)
    run_steps(work, "make_pseudo")
    assert record(copied, "make_pseudo")["results"]["threshold is"] == "best by the truth"
    assert record(copied, "train_refiner")["results"]["epoch"] == "best by the truth"
    assert (copied / "work/refiner/best.ckpt").is_file()
    run_step(EVALUATE, work)
    assert "ORACLE" in (copied / "work/stages/stages.md").read_text()
    assert json.loads((copied / "work/stages/stages.json").read_text())["oracle"]


@pytest.mark.slow
def test_an_interrupted_training_goes_on(copied, done):
    """And ends with the very maps of one that was not interrupted."""
    shutil.rmtree(copied / "work/refiner")
    made = record(copied, "train_refiner")["made"]
    last = copied / "work/refiner/last.ckpt"
    interrupt(TOOL, *WORK, "--only", "train_refiner", cwd=copied, when=last.is_file)
    # A half-trained network never counts as done, nor as the one that was lost.
    assert not record(copied, "train_refiner")["done"]
    assert record(copied, "train_refiner")["made"] != made
    with pytest.raises(InputError, match=r"train_refiner, which comes before make_refined, is not"):
        run_step(MAKE_REFINED, work_of(copied))
    # In processes like the first: others may compute with another number of threads.
    step("train_refiner", cwd=copied)
    step("make_refined", cwd=copied)
    assert contents(copied / "work/ar") == contents(done / "work/ar")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clusters.kk=3"], "unknown key 'clusters.kk'; did you mean 'clusters.k'?"),
        (["seeds.crf=dense"], "seeds.crf=dense: must be one of none, meanfield"),
        (["seeds.background=0.7"], "seeds.background=0.7: must be 0 to seeds.foreground, 0.5"),
        (["train=trn"], "train=trn: demo has no such split; did you mean 'train'?"),
        (["root=elsewhere"], "elsewhere/train/images: no such folder"),
        (["tiles.positive_share=0.99"], "'train': there is no tile with buildings"),
        (["test=train"], "test=train: shares images with train=train"),
        (
            ["labels=x.csv", "pseudo.oracle=True"],
            "there is no truth to choose by; do not give oracle=True",
        ),
        (["pseudo.crf=meanfield", "pseudo.oracle=True"], "pseudo.oracle=True: chooses a threshold"),
        (
            ["tiles.unknown_color=skip"],
            "unknown_color=skip: must be one of error, nearest",
        ),
        (["clusters.seed=-1"], "clusters.seed=-1: must be at least 0"),
        (
            ["refiner.consistency_scales=(0.001,)"],
            "refiner.consistency_scales=(0.001,): must be factors that leave a pixel",
        ),
        (["pseudo.threshold=0.655"], "pseudo.threshold=0.655: must be a multiple of 0.01"),
    ],
)
def test_wrong_settings(scenes, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes").symlink_to(scenes / "scenes")
    shutil.copy(scenes / "chain.py", tmp_path)
    with pytest.raises(InputError) as error:
        run_step(MAKE_LABELS, work_of(tmp_path, *words))
    assert message in str(error.value)
    assert not (tmp_path / "work/data").exists()
    assert not [*tmp_path.glob("work/steps/*")]  # the next try begins from nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classifier.batch_size=999"], "classifier.batch_size=999: there are only"),
        (["classifier.long_sides=(200, 300)"], "such as (72, 120)"),
        (["classifier.encoder=swin_tiny_patch4_window7_224"], "with output stride 16"),
    ],
)
def test_wrong_settings_of_the_training(copied, words, message, capsys):
    """The old result stays."""
    before = contents(copied / "work")
    with pytest.raises(InputError) as error:
        run_step(TRAIN_CLASSIFIER, work_of(copied, *words))
    assert message in str(error.value)
    assert contents(copied / "work") == before
    capsys.readouterr()
    run_step(TRAIN_CLASSIFIER, work_of(copied))
    assert "done already" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_scenes_replace_their_own_alone(tmp_path):
    (tmp_path / "data/train").mkdir(parents=True)
    (tmp_path / "data/train/mine.png").touch()
    tool = "tools/weak/make_demo_scenes.py", "--output", "data"
    assert "mine.png: not made by this tool" in error_of(*tool, cwd=tmp_path)
    assert "--train 1: expected 2 or more" in error_of(*tool, "--train", "1", cwd=tmp_path)


@pytest.mark.slow
def test_wrong_words_on_the_command_line(scenes):
    error = error_of(TOOL, *WORK, "--until", "make_bak", cwd=scenes)
    assert "--until make_bak: no such step; did you mean 'make_bac'?" in error
    error = error_of(TOOL, *WORK, "--only", "cam", cwd=scenes)
    assert "--only cam: no such step; did you mean 'make_cam'?" in error
    foreign = [*WORK[:2], "--work", "scenes"]
    error = error_of(TOOL, *foreign, cwd=scenes)
    assert "--work scenes: holds other files; give a folder of its own" in error


@pytest.mark.slow
def test_a_foreign_folder_stays(scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes").symlink_to(scenes / "scenes")
    shutil.copy(scenes / "chain.py", tmp_path)
    (tmp_path / "work/data").mkdir(parents=True)
    (tmp_path / "work/data/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not made by make_labels; choose another work folder"):
        run_step(MAKE_LABELS, work_of(tmp_path))
    assert (tmp_path / "work/data/mine.txt").read_text() == "mine"
    with pytest.raises(InputError, match="train_classifier, which comes before make_cam, is not"):
        run_step(MAKE_CAM, work_of(tmp_path))


@pytest.mark.parametrize("path", sorted((ROOT / "config/weak").glob("*.py")), ids=lambda p: p.stem)
def test_configs(path):
    chain = load_chain(path)
    assert chain.config == path.as_posix()
    assert path.read_text().startswith('"""')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chain = 3", "defines no 'chain = Chain"),
        (
            "from network.buildings.settings import Seeds\nSeeds(foregroud=1)",
            "did you mean 'foreground'",
        ),
        (
            "from network.buildings.settings import Chain\n"
            "from network.datasets.info import DRONE\n"
            "Chain(dataset=DRONE, building='buildings')",
            "did you mean 'building'",
        ),
        (
            "from network.buildings.settings import Final\nFinal(overrides='optim.epochs=3')",
            r"final\.overrides='optim.epochs=3': must be tuple",
        ),
        (
            "from pathlib import Path\n"
            "from network.buildings.settings import Chain\n"
            "from network.datasets.info import DRONE\n"
            "Chain(dataset=DRONE, building='building', root=Path('data'))",
            r"root=PosixPath\('data'\): must be str",
        ),
    ],
)
def test_bad_configs(tmp_path, text, message):
    (tmp_path / "chain.py").write_text(text)
    with pytest.raises(InputError, match=message):
        load_chain(tmp_path / "chain.py")
