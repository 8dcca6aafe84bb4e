"""Images that are predicted and counted in windows: masks and counts are those of whole images."""

import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from network.config import Experiment, settings
from network.datasets import segmentation
from network.datasets.cut_windows import labeled_window
from network.datasets.files import read_mask, write_image
from network.datasets.info import VAIHINGEN
from network.datasets.schema import SPLITS, DatasetInfo, Folder, MaskFolder
from network.errors import InputError
from network.evaluation import evaluate as evaluation
from network.evaluation import large_images, shown_windows
from network.evaluation.evaluate import evaluate
from network.evaluation.figures import write_panel
from network.evaluation.records import read_records
from network.evaluation.results import read_result
from network.evaluation.score_masks import score_masks
from network.evaluation.shown_windows import shown_by_windows
from network.losses.bicor import BiCoRLoss
from network.models.checkpoint import SETTINGS_KEY
from network.reporting import gallery
from network.reporting.page import write_report
from network.settings import Data
from network.training.data import SegmentationData
from tests.maps.local import Local
from tests.scenes import make_pair, write_bands

SIZES = {"a": (300, 420), "b": (90, 70), "c": (64, 700)}
"""Sizes of the images; ``b`` is small."""


def make_info() -> DatasetInfo:
    masks = (MaskFolder(folder="eroded", kind="eroded"), MaskFolder(folder="full"))
    folder = Folder(images="images", masks=masks)
    splits = dict.fromkeys(SPLITS, (folder,))
    return replace(VAIHINGEN, splits=splits, tiles=None, patched=False, tile_splits={})


def make_experiment(root: Path, **data) -> Experiment:
    return Experiment(
        dataset=make_info(),
        model=partial(Local),
        loss=partial(BiCoRLoss, 6),
        data=Data(
            root=str(root), crop=32, workers=0, batch_size=2, val_batch_size=2, window=256, **data
        ),
        name="large",
        config="config/large.py",
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Images of different sizes; two have holes without data, one of them as wide as a window."""
    root, info = tmp_path_factory.mktemp("large"), make_info()
    for number, (name, size) in enumerate(SIZES.items()):
        image, labels = make_pair(info, number, *size)
        image = np.maximum(image, 1)
        if name == "a":
            image[100:260, 30:170] = 0
        elif name == "c":
            image[:, 190:450] = 0
        write_bands(root / f"images/{name}.tif", image, nodata=0, photometric="RGB")
        write_image(root / f"full/{name}.png", info.to_rgb(labels))
        eroded = labels.copy()
        eroded[::5] = info.ignore_index
        write_image(root / f"eroded/{name}.png", eroded)
    return root


@pytest.fixture(scope="module")
def checkpoint(root) -> Path:
    torch.manual_seed(0)
    weights = {f"model.{name}": value for name, value in Local().state_dict().items()}
    recorded = settings(make_experiment(root)) | {"data.windows_above": 6000}
    torch.save({"state_dict": weights, SETTINGS_KEY: recorded}, root / "best.ckpt")
    return root / "best.ckpt"


def run(
    root: Path,
    checkpoint: Path,
    output: Path,
    windows_above: int = 100,
    labels: bool = True,
    **options,
):
    experiment = make_experiment(root, windows_above=windows_above)
    if not labels:
        info = replace(experiment.dataset, splits=dict.fromkeys(SPLITS, (Folder(images="images"),)))
        experiment = replace(experiment, dataset=info)
    return evaluate(
        experiment, checkpoint=checkpoint, output=output, split="test", device="cpu", **options
    )


@pytest.fixture(scope="module")
def whole(root, checkpoint, tmp_path_factory) -> Path:
    """The results of a test that sees all images as a whole."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(root, checkpoint, folder, 6000)
    return folder


@pytest.fixture(scope="module")
def windows(root, checkpoint, tmp_path_factory) -> Path:
    """The results of a test that sees large images in windows."""
    folder = tmp_path_factory.mktemp("windows") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_images, "SIDE", 130)
        run(root, checkpoint, folder)
    return folder


def test_masks_and_scores_are_those_of_whole_images(whole, windows):
    for name in SIZES:
        assert (windows / f"{name}.png").read_bytes() == (whole / f"{name}.png").read_bytes()
    records, found = read_records(whole), read_records(windows)
    assert found.keys() == records.keys()
    for name, record in records.items():
        assert found[name].counts.keys() == {"eroded", "full"}
        for kind, counts in record.counts.items():
            other = found[name].counts[kind]
            for key in ("matrix", "boundary", "padding", "padding_matrix"):
                np.testing.assert_array_equal(getattr(other, key), getattr(counts, key))
            np.testing.assert_allclose(other.calibration, counts.calibration, atol=2)
    results = [read_result(folder) for folder in (whole, windows)]
    for kind, scores in results[0].scores.items():
        for name, score in scores.overall.items():
            assert results[1].scores[kind].overall[name] == pytest.approx(score, abs=1e-5)
    tilings = [result.protocol.masks["full"].tiling for result in results]
    assert tilings[0] == "whole images"
    assert tilings[1] == (
        "whole images, predicted in windows of 256 x 256 with a halo of 32 (2 of 3 images)"
    )


def test_views_batches_and_colors(root, checkpoint, tmp_path):
    options = {"rgb": True, "batch_size": 3, "tta": "lr"}
    for folder, windows_above in (("whole", 6000), ("windows", 100)):
        run(root, checkpoint, tmp_path / folder, windows_above, labels=False, **options)
    for name in SIZES:
        pngs = [tmp_path / folder / f"{name}.png" for folder in ("whole", "windows")]
        assert pngs[0].read_bytes() == pngs[1].read_bytes()


def test_a_test_goes_on_and_tells_other_windows_apart(root, checkpoint, windows, tmp_path):
    folder = shutil.copytree(windows, tmp_path / "out")
    scores = read_result(folder).scores["full"].overall
    written = (folder / "b.png").stat().st_mtime_ns
    (folder / "a.png").unlink()
    run(root, checkpoint, folder)
    assert (folder / "a.png").read_bytes() == (windows / "a.png").read_bytes()
    assert (folder / "b.png").stat().st_mtime_ns == written
    assert read_result(folder).scores["full"].overall == scores
    with pytest.raises(InputError, match=r"holds 3 masks of another run \(its masks"):
        run(root, checkpoint, folder, 6000)


def test_labels_that_a_server_holds(root, checkpoint, tmp_path):
    assert run(root, checkpoint, tmp_path / "out", labels=False) == {}
    assert read_mask(tmp_path / "out/a.png", make_info()).shape == SIZES["a"]
    with pytest.raises(InputError, match="its patch is"):
        run(root, checkpoint, tmp_path / "out", 6000, labels=False)


def test_masks_of_other_code(root, whole, tmp_path, monkeypatch):
    """Their counts do not depend on the parts that are read, nor do their errors."""
    for name in SIZES:
        (tmp_path / "masks").mkdir(exist_ok=True)
        shutil.copy(whole / f"{name}.png", tmp_path / "masks")
    experiment, found = make_experiment(root), []
    monkeypatch.setattr(large_images, "SIDE", 130)
    for number, read_whole in enumerate((segmentation.READ_WHOLE, 1000)):
        monkeypatch.setattr(segmentation, "READ_WHOLE", read_whole)
        score_masks(experiment, tmp_path / "masks", tmp_path / f"{number}", split="test")
        found.append((tmp_path / f"{number}/images.jsonl").read_text())
    assert found[0] == found[1]
    mask = read_mask(tmp_path / "masks/a.png", experiment.dataset)
    mask[0, :5] = 6
    write_image(tmp_path / "masks/a.png", mask)
    with pytest.raises(InputError, match=r"a\.png: 5 pixels have no class"):
        score_masks(experiment, tmp_path / "masks", tmp_path / "other", split="test")
    write_image(tmp_path / "masks/a.png", mask[:50])
    with pytest.raises(InputError, match=r"a\.png: 50 x 420 pixels, its image"):
        score_masks(experiment, tmp_path / "masks", tmp_path / "other", split="test")


def test_patches_are_never_cut(root, checkpoint):
    experiment = make_experiment(root, windows_above=1)
    patched = replace(experiment, dataset=replace(experiment.dataset, patched=True))
    assert len(SegmentationData(patched).val_samples) == 3


def test_validation_in_windows_has_the_counts_of_whole_images(root):
    """For a network that sees no further than the halo."""
    torch.manual_seed(0)
    network, matrices, counts = Local(), [], []
    for windows_above in (6000, 100):
        experiment = make_experiment(root, windows_above=windows_above)
        data = SegmentationData(experiment)
        counts.append(len(data.val_samples))
        matrix = np.zeros((6, 6), int)
        for batch in data.val_dataloader():
            found = network(batch["image"].float()).logits.argmax(dim=1)
            truth = batch["labels"]["eroded"]
            inside = truth < 6
            np.add.at(matrix, (truth[inside].numpy(), found[inside].numpy()), 1)
        matrices.append(matrix)
    assert counts == [3, 1 + 2 * 2 + 4]
    np.testing.assert_array_equal(matrices[0], matrices[1])


def test_a_mask_that_does_not_fit_into_memory(root, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "MASK_BYTES", 1e9)
    with pytest.raises(InputError, match=r"a\.tif: 300 x 420 pixels, of which the mask takes "):
        run(root, checkpoint, tmp_path / "out")


def test_figures_show_windows(root, checkpoint, windows, tmp_path, monkeypatch):
    """The panel of a folder with large images; its smaller images are shown as a whole."""
    experiment = make_experiment(root, windows_above=100)
    samples = segmentation.find_samples(experiment.dataset, root, "test")
    monkeypatch.setattr(shown_windows, "labeled_window", partial(labeled_window, side=64))
    (tmp_path / "cut").mkdir()
    shown = shown_by_windows(
        samples, windows, experiment.dataset, experiment.data, tmp_path / "cut"
    )
    assert [sample.size for sample in shown.samples] == [(64, 64), SIZES["b"], (64, 64)]
    for sample in shown.samples:
        own = read_mask(shown.predictions / f"{sample.name}.png", shown.info)
        assert own.shape == sample.size
    write_panel(shown.samples, shown.predictions, shown.info, tmp_path / "panel.png", "windows")
    whole_ones = shown_by_windows(
        samples, windows, experiment.dataset, make_experiment(root).data, tmp_path / "cut"
    )
    assert whole_ones.samples == list(samples)
    (windows / "c.png").rename(tmp_path / "c.png")
    (tmp_path / "other").mkdir()
    try:
        with pytest.raises(InputError, match=r"c\.png: no prediction of this image"):
            shown_by_windows(
                samples, windows, experiment.dataset, experiment.data, tmp_path / "other"
            )
    finally:
        (tmp_path / "c.png").rename(windows / "c.png")


def test_the_report_shows_windows(root, windows, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "SIDE", 64)
    experiment = make_experiment(root, windows_above=100)
    write_report(experiment, windows, tmp_path / "report.html", images=9, device="cpu")
    text = (tmp_path / "report.html").read_text()
    groups = re.findall(r"<h3>(\w+ windows)</h3>", text)
    assert groups == ["Worst windows", "Typical windows", "Best windows"]
    names = re.findall(r"<figcaption>([^<]+) <b>mIoU ([\d.]+)</b> OA ([\d.]+)", text)
    assert len(names) == 9
    mious = [float(miou) for _, miou, _ in names]
    assert mious[:3] == sorted(mious[:3])
    assert mious[6:] == sorted(mious[6:], reverse=True)
    assert max(mious[:3]) <= min(mious[3:6])
    assert max(mious[3:6]) <= min(mious[6:])
    info = experiment.dataset
    for name, _, accuracy in names:  # the scores are those of the window
        stem, row, column = re.fullmatch(r"(\w)(?:, row (\d+), column (\d+))?", name).groups()
        window = tuple(
            slice(0, None) if start is None else slice(int(start), int(start) + 64)
            for start in (row, column)
        )
        truth = read_mask(root / f"full/{stem}.png", info)[window]
        predicted = read_mask(windows / f"{stem}.png", info)[window]
        counted = (truth < 6) & (predicted < 6)
        expected = 100 * (truth == predicted)[counted].mean()
        assert float(accuracy) == pytest.approx(expected, abs=0.006)
    assert text.count('class="stage"') == 9
    assert "All 3 images" in text
