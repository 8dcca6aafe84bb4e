"""The report's page: complete, self-contained, small enough, and right in its numbers."""

import base64
import io
import json
import math
import re
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from network.config import Experiment, load_experiment, settings
from network.datasets.files import write_image
from network.datasets.info import LOVEDA, VAIHINGEN
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.models.checkpoint import SETTINGS_KEY
from network.models.output import SegOutput
from network.reporting import gallery, page
from network.reporting.charts import HEIGHT, TOP, line_chart
from network.reporting.pictures import IGNORED, RIGHT, WRONG, draw_layers
from network.reporting.published import PUBLISHED
from network.studies.padding import geometry_table
from network.training.runs import read_curves
from tests.conftest import ROOT
from tests.scenes import make_dataset, write_bands

SETTINGS = ["model.encoder=test_convnext", "model.weights=None", "model.drop_path=0"]


@dataclass(frozen=True)
class Finished:
    """A test that has been run."""

    experiment: Experiment
    folder: Path

    def write(self, output: Path, **options) -> Path:
        page.write_report(self.experiment, self.folder, output, device="cpu", **options)
        return output


def make_test(cwd: Path, images: int = 3, info: DatasetInfo = VAIHINGEN) -> Finished:
    """Random weights on random scenes, evaluated."""
    make_dataset(cwd / "data", info, {"test": images}, ((64, 64), (64, 96)))
    path = ROOT / f"config/{info.name}/bicor.py"
    experiment = load_experiment(path, [*SETTINGS, f"data.root={cwd / 'data'}"])
    torch.manual_seed(3)
    weights = experiment.build_model(pretrained=False).state_dict()
    state = {f"model.{name}": value for name, value in weights.items()}
    torch.save({"state_dict": state, SETTINGS_KEY: settings(experiment)}, cwd / "best.ckpt")
    evaluate(
        experiment,
        checkpoint=cwd / "best.ckpt",
        output=cwd / "out",
        split="test",
        device="cpu",
    )
    return Finished(experiment, cwd / "out")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    return make_test(tmp_path_factory.mktemp("vaihingen"))


@pytest.fixture(scope="module")
def html(finished, tmp_path_factory) -> str:
    return finished.write(tmp_path_factory.mktemp("page") / "report.html").read_text()


def test_needs_nothing_else(html):
    """No address but data URIs and places in the page itself."""
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')>\s]+)""", html)
    assert len(addresses) > 20
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in addresses)
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", html)
    assert "@import" not in html


def test_says_what_was_measured(finished, html):
    document = json.loads((finished.folder / "scores.json").read_text())
    assert document["protocol"]["checkpoint_sha256"] in html
    tiles = re.findall(r"<dt>([\w ]+)</dt><dd>([\d.]+)", html)
    section = html.partition('<section id="scores">')[2].partition("<h3>Published")[0]
    tables = re.findall(r"<tbody>(.*?)</tbody>", section, re.DOTALL)
    for number, kind in enumerate(("eroded", "full")):
        scores = document["scores"][kind]
        count = len(tiles) // 2  # a new score may have one too
        for name, key in (
            *(("mIoU", "mIoU"), ("mF1", "mF1"), ("OA", "OA")),
            ("Calibration error", "calibration_error"),
        ):
            tile = name, f"{100 * scores[key]:.2f}"
            assert tile in tiles[count * number : count * (number + 1)]
        rows = re.findall(r"<tr>(.*?)</tr>", tables[number], re.DOTALL)
        for row, (name, values) in zip(rows, scores["classes"].items(), strict=True):
            head, *cells = re.split(r"</t[hd]>", row)
            assert name in head
            shown = [
                re.sub(r"<.*?>", "", cell, flags=re.DOTALL).strip() for cell in cells[: len(values)]
            ]
            assert shown == [page._percent(value) for value in values.values()]
    for row in PUBLISHED["vaihingen"].rows:
        assert re.search(rf">{row.method}</th><td>{row.miou:.2f}</td>", html)


def test_names_are_text(finished, tmp_path):
    """What a user names is shown, never run."""
    evil = "<script>alert(1)</script>"
    info = replace(finished.experiment.dataset, classes=(evil, *VAIHINGEN.classes[1:]))
    folder = shutil.copytree(finished.folder, tmp_path / "out")
    protocol = json.loads((folder / "protocol.json").read_text())
    protocol["settings"]["name"] = protocol["tta"] = evil
    protocol["classes"] = list(info.classes)
    protocol["classes_in_mean"] = [info.classes[label] for label in info.scored]
    (folder / "protocol.json").write_text(json.dumps(protocol))
    other = Finished(replace(finished.experiment, dataset=info), folder)
    text = other.write(tmp_path / "a.html").read_text()
    assert evil not in text
    assert text.count("&lt;script&gt;alert(1)") > 5


def test_confusion_matrix_has_all_pixels(finished, html):
    pixels = [int(n) for n in re.findall(r'title="(\d+) pixels"', html)]
    labeled = 2 * 62 * 64 + 62 * 96  # two rows of each are ignored
    assert len(pixels) == 2 * 36
    assert sum(pixels) == 2 * labeled


def test_worst_and_best_are_in_order():
    mious = [0.3, 0.1, None, 0.5, 0.2, 0.4]
    scored = [gallery.ScoredImage(f"{miou}", miou, miou, 9) for miou in mious]
    worst, best = gallery.selection(scored, 4)
    assert [image.name for image in worst] == ["0.1", "0.2"]
    assert [image.name for image in best] == ["0.5", "0.4"]
    worst, best = gallery.selection(scored, 99)  # nothing twice, nothing without a score
    assert [image.name for image in worst + best[::-1]] == ["0.1", "0.2", "0.3", "0.4", "0.5"]
    unlabeled = [gallery.ScoredImage(str(n), None, None, 0) for n in range(3)]
    assert gallery.selection(unlabeled, 2) == (unlabeled[:2], [])


def test_the_page_has_them_in_order(html):
    mious = [float(v) for v in re.findall(r"</div>\s*<figcaption>\S+ <b>mIoU ([\d.]+)", html)]
    assert len(mious) == 3  # two worst, worst first, and the best
    assert mious == sorted(mious)


def test_fewer_images_and_no_heatmaps(finished, tmp_path):
    text = finished.write(tmp_path / "a.html", images=1, heatmaps=0).read_text()
    assert text.count('class="stage"') == 1
    assert "No heatmaps were asked for." in text


def test_another_checkpoint_draws_no_heatmaps(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "out")
    protocol = json.loads((folder / "protocol.json").read_text())
    protocol["checkpoint_sha256"] = 64 * "0"
    (folder / "protocol.json").write_text(json.dumps(protocol))
    text = replace(finished, folder=folder).write(tmp_path / "a.html").read_text()
    assert "is missing, or it is not the checkpoint that was tested" in text
    assert '<table class="heat">' not in text


class NoHeatmaps(torch.nn.Module):
    """A model that has only logits."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> SegOutput:
        return self.model(image)


def test_a_model_without_heatmaps(finished, tmp_path):
    model = partial(lambda build: NoHeatmaps(build(weights=None)), finished.experiment.model)
    other = replace(finished, experiment=replace(finished.experiment, model=model))
    assert "This model has no class heatmaps." in other.write(tmp_path / "a.html").read_text()


def test_the_largest_pictures_that_fit(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "SIDES", (96, 48, 24, 8))
    large = finished.write(tmp_path / "large.html", heatmaps=0).stat().st_size
    monkeypatch.setattr(page, "MAX_BYTES", large - 1)
    assert finished.write(tmp_path / "small.html", heatmaps=0).stat().st_size < large
    monkeypatch.setattr(page, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="images=20: the page gets larger"):
        finished.write(tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_labels_that_a_server_holds(tmp_path):
    """Without scores the page still has its protocol and pictures."""
    finished = make_test(tmp_path, images=1, info=LOVEDA)
    text = finished.write(tmp_path / "report.html").read_text()
    assert "none: this split has no masks here" in text
    assert text.count('class="stage"') == 2
    assert text.count('<th scope="row">layer 1') == 2  # none is best: all are from the first
    assert 'data-layer="truth"' not in text
    assert 'id="scores"' not in text


def test_pixels_without_data_are_no_errors(tmp_path):
    """They are in no score, so the picture of errors shows them as ignored."""
    image = np.full((32, 32, 3), 9, np.uint8)
    image[:, :16] = 0
    write_bands(tmp_path / "a.tif", image, nodata=0)
    truth, found = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    found[:8, 16:], found[:, :16] = 1, VAIHINGEN.ignore_index
    write_image(tmp_path / "truth.png", truth)
    write_image(tmp_path / "found.png", found)
    sample = Sample(
        name="a",
        image=tmp_path / "a.tif",
        size=(32, 32),
        masks={"full": tmp_path / "truth.png"},
    )
    layers = draw_layers(sample, "full", tmp_path / "found.png", VAIHINGEN, side=32)
    content = base64.b64decode(layers.uris["errors"].partition(",")[2])
    colors = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    counts = [int((colors == color).all(axis=2).sum()) for color in (RIGHT, WRONG, IGNORED)]
    assert counts == [24 * 16, 8 * 16, 32 * 16]


def test_unfinished_or_changed(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "out")
    broken = replace(finished, folder=folder)
    masks = sorted(folder.glob("*.png"))
    masks[0].replace(folder / "kept")
    with pytest.raises(InputError, match="no prediction of this image"):
        broken.write(tmp_path / "a.html")
    shutil.copy(masks[1], masks[0])  # the second image is wider
    with pytest.raises(InputError, match=r"test-0-0\.png: \(64, 96\) pixels, its image"):
        broken.write(tmp_path / "a.html")
    (folder / "images.jsonl").write_text("")
    with pytest.raises(InputError, match=r"no counts of test-0-0 \(3 of 3 images have none\)"):
        broken.write(tmp_path / "a.html")
    (folder / "protocol.json").write_text("{}")
    with pytest.raises(InputError, match="no complete protocol stamp"):
        broken.write(tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_data_that_has_changed(tmp_path):
    finished = make_test(tmp_path)
    data = tmp_path / "data/test"
    shutil.move(data / "masks_1024_rgb", tmp_path / "gone")
    with pytest.raises(InputError, match="scored on full masks that the data no longer has"):
        finished.write(tmp_path / "a.html")
    shutil.move(tmp_path / "gone", data / "masks_1024_rgb")
    for folder in ("images_1024", "masks_1024", "masks_1024_rgb"):
        (data / folder / "test-0-1.png").unlink()
    with pytest.raises(InputError, match=r"had 3 images, the data has 2 now \(without test-0-1\)"):
        finished.write(tmp_path / "a.html")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "nowhere"}, "tested on the split 'nowhere', which .* does not have; known"),
        ({"split": "tests"}, "tested on the split 'tests'.*; did you mean 'test'"),
        (
            {"split": ["test"]},
            "no complete protocol stamp .split: Input should be a valid",
        ),
        ({"data_set": "potsdam"}, "data set: potsdam in the test, vaihingen in .* now"),
        ({"classes": ["a", "b"]}, "classes: a, b in the test, ImSurf, Building"),
        ({"classes_in_mean": ["Car"]}, "classes in the mean: Car in the test"),
        ({"label_kinds": ["eroded", "drawn"]}, "no complete protocol stamp"),
        ({"label_kinds": 3}, "no complete protocol stamp .label_kinds"),
        ({"images": 4}, "the test had 4 images, the data has 3 now"),
        ({"images": "3"}, "no complete protocol stamp .images"),
        ({"settings": {}}, "no complete protocol stamp .settings.name"),
        ({"settings": []}, "no complete protocol stamp .settings"),
        ({"software": None}, "no complete protocol stamp .software"),
        ({"checkpoint": None}, "no complete protocol stamp .checkpoint"),
        ({"training": 1}, "no complete protocol stamp .training"),
        ({"masks": {"eroded": {}}}, "no complete protocol stamp .masks.eroded.padding_policy"),
        ({"predictions": "gone"}, "gone: no such folder"),
        ({"frames": "gone"}, "gone: no seqN/Images in it"),
    ],
)
def test_stamps_that_do_not_fit(finished, tmp_path, change, words):
    """Each fact that is gone, of another type or other than the config's is one line."""
    folder = shutil.copytree(finished.folder, tmp_path / "out")
    path = folder / "protocol.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words) as error:
        replace(finished, folder=folder).write(tmp_path / "a.html")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize("file", ["protocol.json", "scores.json"])
@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 9999, "{}", '{"protocol": 3}', "\xff"])
def test_files_that_are_no_stamps(finished, tmp_path, file, text):
    folder = shutil.copytree(finished.folder, tmp_path / "out")
    (folder / "protocol.json").unlink()
    (folder / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"{file}: no complete protocol stamp") as error:
        replace(finished, folder=folder).write(tmp_path / "a.html")
    assert "\n" not in str(error.value)


def test_every_fact_is_asked_for(finished, tmp_path):
    """A stamp without any one of its facts is told; none is found missing while drawing."""
    folder = shutil.copytree(finished.folder, tmp_path / "out")
    protocol = json.loads((folder / "scores.json").read_text())["protocol"]
    for key in protocol:
        rest = {name: value for name, value in protocol.items() if name != key}
        (folder / "protocol.json").write_text(json.dumps(rest))
        with pytest.raises(InputError, match=rf"no complete protocol stamp \({key}: Field req"):
            replace(finished, folder=folder).write(tmp_path / "a.html")


def test_records_that_are_damaged(finished, tmp_path):
    """A cut or broken line is no record; one of other classes or labels is told."""
    folder = shutil.copytree(finished.folder, tmp_path / "out")
    path = folder / "images.jsonl"
    lines = sorted(path.read_text().splitlines())  # all begin with the name
    other = json.loads(lines[1])
    other["counts"]["full"]["matrix"] = [[1, 2], [3, 4]]
    less = json.loads(lines[1])
    del less["counts"]["full"]
    text = json.loads(lines[1])
    text["counts"]["full"]["matrix"] = "many"
    ragged = json.loads(lines[1])
    ragged["counts"]["full"]["matrix"] = [[1], [2, 3]]
    for line, words in (
        (lines[1][:500], "no counts of test-0-1 .1 of 3 images"),
        ("[]", "no counts of test-0-1"),
        ('{"name": "test-0-1"}', "no counts of test-0-1"),
        ("[" * 9999, "no counts of test-0-1"),
        ("\xff\xfe", "no counts of test-0-1"),
        (json.dumps(text), "no counts of test-0-1"),
        (json.dumps(ragged), "no counts of test-0-1"),
        (json.dumps(other), r"images\.jsonl: no counts of test-0-1 for 6 classes of full masks"),
        (json.dumps(less), r"images\.jsonl: no counts of test-0-1 for 6 classes of full masks"),
    ):
        path.write_text("\n".join([lines[0], line, lines[2]]), encoding="latin-1")
        with pytest.raises(InputError, match=words):
            replace(finished, folder=folder).write(tmp_path / "a.html")
    path.write_text("\n".join(lines))
    replace(finished, folder=folder).write(tmp_path / "a.html", heatmaps=0)


def test_published_rows_stand_in_the_docs():
    text = (ROOT / "docs/protocol.md").read_text()
    for row in PUBLISHED["vaihingen"].rows:
        line = next(line for line in text.splitlines() if line.startswith(f"| {row.method}"))
        assert f"| {row.miou} |" in line
        assert f"| {row.first_class_f1 or '-'} |" in line
    assert geometry_table() in text


def test_curves_of_a_resumed_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logs = Path("lightning_logs/a/b")
    for name, rows in {
        "version_0": ["0,1,,0.1", "0,1,2.5,", "1,2,2.0,0.2", "2,3,1.9,0.3"],
        "version_0_resumed_1": ["2,3,1.5,0.5"],
        "version_0_resumed_2": ["3,4,1.0,0.6"],
        "version_1": ["9,9,9,9"],
    }.items():
        (logs / name).mkdir(parents=True)
        text = "\n".join(["epoch,step,train/loss,val/mIoU", *rows])
        (logs / name / "metrics.csv").write_text(text)
    curves = read_curves(Path("model_weights/a/b/version_0/best.ckpt"))
    assert curves["train/loss"] == [(0, 2.5), (1, 2.0), (2, 1.5), (3, 1.0)]
    assert curves["val/mIoU"] == [(0, 0.1), (1, 0.2), (2, 0.5), (3, 0.6)]
    assert "step" not in curves
    assert read_curves(Path("model_weights/a/b/version_0/best.ckpt").resolve()) == curves
    assert read_curves(Path("elsewhere/best.ckpt")) == {}
    (logs / "version_0_resumed_2_copy").mkdir()
    (logs / "version_0_resumed_2_copy/metrics.csv").write_text("epoch,step,val/mIoU\n9,9,9")
    assert read_curves(Path("model_weights/a/b/version_0/best.ckpt")) == curves
    for line in ("3,4,1.x", "3,4,1.0,0.6,7", "thr,4,1.0"):
        (logs / "version_0_resumed_2/metrics.csv").write_text(f"epoch,step,train/loss\n{line}")
        with pytest.raises(InputError, match=r"version_0_resumed_2/metrics\.csv: damaged"):
            read_curves(Path("model_weights/a/b/version_0/best.ckpt"))


def test_line_chart():
    chart = line_chart("title", {"a": [(0, 1.0), (2, 3.0), (4, 2.0)], "b": []})
    assert list(chart.lines) == ["a"]
    heights = [point.y for point in chart.lines["a"]]
    assert heights[1] < heights[2] < heights[0]  # down is positive in SVG
    assert min(heights) >= TOP
    assert max(heights) <= HEIGHT
    assert [tick.label for tick in chart.x_ticks] == ["0", "1", "2", "3", "4"]
    assert line_chart("title", {"a": []}) is None
    broken = line_chart("title", {"a": [(0, math.nan), (1, 2.0), (2, math.inf)]})
    assert [point.label for point in broken.lines["a"]] == ["a, epoch 1: 2"]
    single = line_chart("title", {"a": [(0, 1.0)]})
    assert len(single.lines["a"]) == 1
