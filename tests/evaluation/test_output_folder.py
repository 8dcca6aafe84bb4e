"""Whose an output folder is: finished work is taken over, refused or deleted, never lost."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from network.config import load_experiment
from network.datasets.files import read_mask
from network.datasets.schema import D4Views, Folder
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.evaluation.output_folder import identity
from network.evaluation.records import read_records
from network.writing import owned
from tests.scenes import make_dataset, make_pair, write_bands
from tests.test_own_data import CONFIG


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Three images of three bands, and the weights of an untrained network."""
    monkeypatch.chdir(tmp_path)
    text = CONFIG.replace("bands=5,\n    bits=16,\n    rgb_bands=(2, 1, 0),\n", "")
    Path("fields.py").write_text(text)
    experiment = load_experiment("fields.py", ["data.workers=0"])
    make_dataset(Path("data"), experiment.dataset, {"test": 3}, ((64, 64), (40, 72)))
    torch.save({"state_dict": experiment.build_model().state_dict()}, "weights.ckpt")
    return experiment


IMAGES, OUT = Path("data/test/images"), Path("out")


def predict(experiment, images=IMAGES, **options) -> None:
    """Test on images that have no labels."""
    folders = (Folder(images=images.name, masks=()),)
    splits = dict.fromkeys(experiment.dataset.splits, folders)
    unlabeled = replace(
        experiment,
        dataset=replace(experiment.dataset, splits=splits),
        data=replace(experiment.data, root=str(images.parent)),
    )
    options = {"checkpoint": Path("weights.ckpt"), "output": OUT, "device": "cpu"} | options
    evaluate(unlabeled, split="test", **({"rgb": True} | options))


def times() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in OUT.glob("*.png")}


def changed(experiment, *overrides):
    return load_experiment("fields.py", ["data.workers=0", *overrides])


@pytest.mark.slow
def test_the_same_run_spelled_otherwise_keeps_all(experiment):
    """Paths, loading, optimizer, batches: nothing that the masks depend on."""
    predict(experiment)
    before = times()
    assert len(before) == 3
    predict(experiment, IMAGES.resolve())
    predict(experiment, checkpoint=Path("weights.ckpt").resolve(), batch_size=2)
    predict(changed(experiment, "data.workers=1", "optim.epochs=2", "seed=7", "name=other"))
    Path("weights.ckpt").rename("moved.ckpt")
    predict(experiment, checkpoint=Path("moved.ckpt"))
    IMAGES.rename("moved")
    predict(experiment, Path("moved"), checkpoint=Path("moved.ckpt"))
    assert times() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "options", "words"),
    [
        ((), {"tta": "lr"}, 'its tta is "none", not "lr"'),
        ((), {"rgb": False}, "its rgb is true, not false"),
        ((), {"patch": (32, 32)}, r"its patch is null, not \[32, 32\]"),
        (("compute.precision=bf16-mixed",), {}, 'its precision is "32-true", not "bf16-mixed"'),
        (("data.mean=(0.1,0.1,0.1)",), {}, "its data.mean is"),
        (("model.topk_ratio=0.5",), {}, "its model.topk_ratio is 0.02, not 0.5"),
    ],
)
def test_another_run_is_refused_until_told_to_delete(experiment, overrides, options, words):
    predict(experiment)
    before = {path: path.read_bytes() for path in OUT.iterdir()}
    other = changed(experiment, *overrides)
    with pytest.raises(InputError, match=f"out: holds 3 masks of another run .{words}.*overwrite"):
        predict(other, **options)
    assert {path: path.read_bytes() for path in OUT.iterdir()} == before
    predict(other, **options, overwrite=True)
    record = json.loads((OUT / "protocol.json").read_text())
    assert identity(record) != identity(json.loads(before[OUT / "protocol.json"]))


def test_other_weights_of_the_same_name(experiment):
    predict(experiment)
    torch.manual_seed(1)
    torch.save({"state_dict": experiment.build_model().state_dict()}, "weights.ckpt")
    with pytest.raises(InputError, match="its checkpoint_sha256 is"):
        predict(experiment)


def test_other_images_of_the_same_names(experiment):
    """Of another folder they are refused; where one was replaced, it is predicted anew."""
    predict(experiment)
    make_dataset(Path("others"), experiment.dataset, {"test": 3}, ((48, 48),))
    with pytest.raises(InputError, match=r"another run \(of the images in .*data/test"):
        predict(experiment, Path("others/test/images"))
    before = times()
    new = next(Path("others/test/images").glob("*-1.png"))
    (IMAGES / new.name).write_bytes(new.read_bytes())
    predict(experiment)
    different = [name for name, time in times().items() if before[name] != time]
    assert different == [new.name]
    with rasterio.open(OUT / new.name) as mask:
        assert mask.shape == (48, 48)


def test_a_removed_input_stops_nothing(experiment):
    predict(experiment)
    before = times()
    next(IMAGES.glob("*-1.png")).unlink()
    predict(experiment)
    assert times() == before


def test_a_folder_without_a_mask_yet_is_free(experiment):
    """A run that was stopped at once has nothing to lose."""
    predict(experiment)
    for path in OUT.glob("*.png"):
        path.unlink()
    predict(experiment, tta="lr")


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"exif_orientation": "stored"}, {}, 'its exif_orientation is "shown", not "stored"'),
        ({"palette": ((9, 9, 9), (1, 1, 1), (2, 2, 2))}, {"rgb": True}, "its palette is"),
        ({"ignore_index": 9}, {}, "its ignore_index is 255, not 9"),
        (
            {"d4": D4Views(vertical_flip=True, rotations=(0,), scales=(1.0,))},
            {"tta": "d4"},
            'its d4 is "horizontal flips, rotations of 0, scales 0.75, 1.0, 1.25',
        ),
    ],
)
def test_what_a_data_set_says_of_masks(experiment, change, options, words):
    def with_facts(**facts):
        return replace(experiment, dataset=replace(experiment.dataset, **facts))

    options = {"rgb": False} | options
    shown = with_facts(exif_orientation="shown")
    predict(shown, **options)
    before = times()
    predict(shown, **options)
    assert times() == before
    with pytest.raises(InputError, match=f"holds 3 masks of another run .{re.escape(words)}"):
        predict(with_facts(**{"exif_orientation": "shown"} | change), **options)
    # Older records do not have these facts.
    record = json.loads((OUT / "protocol.json").read_text())
    for key in ("d4", "exif_orientation", "palette", "ignore_index"):
        record.pop(key, None)
    (OUT / "protocol.json").write_text(json.dumps(record))
    predict(shown, **options)
    assert times() == before


def test_scores_without_their_masks(experiment):
    """Somebody has deleted the masks to save space; the scores are still the results of a run."""
    options = {"checkpoint": Path("weights.ckpt"), "output": OUT, "device": "cpu"}
    evaluate(experiment, split="test", **options)
    (OUT / "scores_by_area.csv").write_text("of an older map\n")
    for path in OUT.glob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"out: holds the scores.json of another run \(its tta"):
        evaluate(experiment, split="test", **options, tta="lr")
    assert (OUT / "scores.json").is_file()
    evaluate(experiment, split="test", **options)
    assert len(times()) == 3
    assert not (OUT / "scores_by_area.csv").exists()


def test_scores_of_a_map_are_not_deleted(experiment):
    """A folder of scored maps has no mask and no record of masks, but it is finished work."""
    OUT.mkdir()
    for name in ("scores.json", "images.jsonl"):
        (OUT / name).write_text("{}\n")
    with pytest.raises(InputError, match=r"out: holds scores.json, which no test of images"):
        predict(experiment)
    assert sorted(path.name for path in OUT.iterdir() if path.name[0] != ".") == [
        "images.jsonl",
        "scores.json",
    ]
    predict(experiment, overwrite=True)
    assert not (OUT / "scores.json").exists()
    assert len(times()) == 3


def test_a_damaged_record(experiment):
    predict(experiment)
    for text in ("", "[" * 100_000, "[1]"):
        (OUT / "protocol.json").write_text(text)
        with pytest.raises(InputError, match=r"another run \(whose protocol.json is damaged\)"):
            predict(experiment)
    predict(experiment, overwrite=True)


def test_records_of_older_versions(experiment):
    """Without fingerprints and with fewer fields."""
    predict(experiment)
    before = times()
    record = json.loads((OUT / "protocol.json").read_text())
    del record["images_in"], record["precision"]
    (OUT / "protocol.json").write_text(json.dumps(record))
    lines = [json.loads(line) for line in (OUT / "images.jsonl").read_text().splitlines()]
    for line in lines:
        del line["image"]
    (OUT / "images.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    predict(experiment)
    assert times() == before
    with pytest.raises(InputError, match="its tta is"):
        predict(experiment, tta="lr")


def test_scores_of_another_test_are_refused(experiment):
    options = {"checkpoint": Path("weights.ckpt"), "output": OUT, "device": "cpu"}
    evaluate(experiment, split="test", **options)
    before = (OUT / "scores.json").read_bytes()
    evaluate(changed(experiment, "optim.epochs=9"), split="test", **options)
    with pytest.raises(InputError, match=r"masks of another run \(its boundary_tolerance is 3"):
        evaluate(experiment, split="test", **options, boundary_tolerance=5)
    with pytest.raises(InputError, match="masks of another run"):
        predict(experiment)
    assert json.loads((OUT / "scores.json").read_text())["scores"] == json.loads(before)["scores"]
    evaluate(experiment, split="test", **options, boundary_tolerance=5, overwrite=True)


def test_two_writers(experiment):
    """POSIX locks belong to processes, so the other one is a process."""

    code = (
        "import time\nfrom pathlib import Path\nfrom network.writing import owned\n"
        f"with owned(Path({str(OUT.resolve())!r})):\n    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(InputError, match=f"out: process {process.pid} on .* is writing there"):
            predict(experiment)
    finally:
        process.kill()
        process.wait()
    predict(experiment)
    assert len(times()) == 3
    with owned(OUT):
        pass


@pytest.mark.parametrize("by", ["nodata", "alpha"])
def test_no_data_gets_no_class(experiment, by):
    """Neither in the mask, nor in the scores; and training ignores it."""
    info = experiment.dataset
    image, labels = make_pair(info, 0, 64, 64)
    image, labels = np.maximum(image, 1), np.maximum(labels % 3, 0).astype(np.uint8)
    image[:, :20] = 0
    place = {"crs": "EPSG:32632", "transform": from_origin(500000, 5400000, 0.1, 0.1)}
    if by == "alpha":
        alpha = np.where(image.any(axis=2, keepdims=True), 255, 0).astype(np.uint8)
        write_bands(
            Path("collar/a.tif"), np.dstack([image, alpha]), photometric="RGB", alpha="YES", **place
        )
    else:
        write_bands(Path("collar/a.tif"), image, nodata=0, **place)
    for rgb in (True, False):
        out = Path(f"masks_{rgb}")
        predict(experiment, Path("collar"), output=out, rgb=rgb)
        found = read_mask(out / "a.png", info)
        assert (found[:, :20] == 255).all()
        assert (found[:, 20:] < 3).all()
        with rasterio.open(out / "a.png") as file:
            assert not file.dataset_mask()[:, :20].any()
            assert file.dataset_mask()[:, 20:].all()

    folder = Path("scored")
    (folder / "test/images").mkdir(parents=True)
    Path("collar/a.tif").rename(folder / "test/images/a.tif")
    write_bands(folder / "test/masks/a.tif", labels[..., None])
    scored = replace(experiment, data=replace(experiment.data, root=str(folder)))
    options = {"checkpoint": Path("weights.ckpt"), "output": Path("s"), "device": "cpu"}
    evaluate(scored, split="test", **options)
    assert read_records(Path("s"))["a"].counts["full"].matrix.sum() == 64 * 44


def test_an_image_whose_scores_do_not_fit(experiment, monkeypatch):
    """Said at once: the pixels alone would fit."""
    memory = psutil.virtual_memory()._replace(total=24 * 10**9, available=20 * 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    size = {"height": 40_000, "width": 40_000, "count": 3, "dtype": "uint8", "SPARSE_OK": "YES"}
    Path("huge").mkdir()
    with rasterio.open("huge/a.tif", "w", driver="GTiff", tiled=True, compress="lzw", **size):
        pass
    whole = replace(experiment, data=replace(experiment.data, windows_above=40_000))
    words = r"a\.tif: 40000 x 40000 pixels, of which the scores take 43 GB"
    with pytest.raises(InputError, match=words):
        predict(whole, Path("huge"))
    assert not OUT.exists()
