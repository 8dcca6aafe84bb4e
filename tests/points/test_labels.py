"""Folders of points: drawn or read from files, trained on, and what may be wrong with them."""

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio.warp
import torch
from rasterio.transform import from_origin

from network.config import load_experiment
from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.info import LOVEDA
from network.datasets.provenance import PROVENANCE_FILE, read_provenance
from network.datasets.schema import DatasetInfo, Folder, MaskFolder
from network.datasets.segmentation import find_samples
from network.errors import InputError
from network.models.checkpoint import SETTINGS_KEY
from network.points.files import read_points
from network.points.labels import POINTS, dense_counts, make_point_labels
from network.points.rules import PointRule
from network.training.data import SegmentationData
from tests.commands import error_of, run, succeed
from tests.conftest import ROOT
from tests.scenes import make_dataset, write_bands

INFO = DatasetInfo(
    name="fields",
    root="data/fields",
    classes=("bare", "wheat", "maize"),
    palette=((200, 150, 100), (220, 220, 0), (0, 200, 0)),
    ignore_index=255,
    splits={
        split: (Folder(images=f"{split}/images", masks=(MaskFolder(folder=f"{split}/masks"),)),)
        for split in ("train", "val", "test")
    },
)


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path / "data", INFO, {"train": 3, "val": 1}, ((48, 64), (40, 40)))


def test_drawn(root):
    counts = make_point_labels(INFO, root, "train", "dots", PointRule(budget=30), workers=1)
    assert sum(counts.points) == 90
    assert counts.points == counts.pixels
    samples = find_samples(INFO.relabeled("train", "dots"), root, "train")
    assert list(samples[0].masks) == [POINTS]
    dense = find_samples(INFO, root, "train")
    total = np.zeros(256, int)
    for sample, whole in zip(samples, dense, strict=True):
        mask, truth = read_mask(sample.masks[POINTS], INFO), read_mask(whole.masks["full"], INFO)
        labeled = mask != 255
        assert labeled.sum() == 30
        np.testing.assert_array_equal(mask[labeled], truth[labeled])
        total += np.bincount(truth.ravel(), minlength=256)
    assert counts.dense == tuple(total[:3])
    rule = dict(read_provenance(root / "train/dots").points.rule)
    assert len(rule.pop("masks_sha256")) == 64
    assert rule == {"mode": "uniform", "budget": 30, "share": None, "seed": 0, "radius": 0}
    # Once more is the same; a larger radius replaces it.
    before = [path.read_bytes() for path in sorted((root / "train/dots").glob("*.png"))]
    make_point_labels(INFO, root, "train", "dots", PointRule(budget=30), workers=1)
    assert before == [path.read_bytes() for path in sorted((root / "train/dots").glob("*.png"))]
    wider = make_point_labels(INFO, root, "train", "dots", PointRule(budget=30), radius=2)
    assert wider.points == counts.points
    assert sum(wider.pixels) > 90


def test_how_patches_were_cut_stays_known(root):
    record = {"split_size": 64, "stride": 64, "pad_policy": "ignore", "label_kind": "full"}
    (root / "train/masks" / PROVENANCE_FILE).write_text(json.dumps(record))
    make_point_labels(INFO, root, "train", "dots", PointRule(budget=3))
    found = read_provenance(root / "train/dots").to_json()
    assert {**record, "label_kind": POINTS}.items() <= found.items()


def test_other_files_are_not_replaced(root):
    for name in ("masks", "mine"):
        (root / "train/mine").mkdir(exist_ok=True)
        (root / "train/mine/notes.txt").touch()
        with pytest.raises(InputError, match=rf"{name}: .*(contains the input|other files)"):
            make_point_labels(INFO, root, "train", name, PointRule(budget=3))
    for name in ("../dots", "", ".hidden", "a/b"):
        with pytest.raises(InputError, match="name="):
            make_point_labels(INFO, root, "train", name, PointRule(budget=3))


def write_csv(path: Path, *rows: tuple, columns: str = "image,row,column,class") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(","), *rows])
    return path


def test_csv(root, tmp_path):
    """No mask is opened: these are gone."""
    for path in (root / "train/masks").iterdir():
        path.unlink()
    rows = [
        ("train-0-0", 3, 5, "maize"),
        ("train-0-0.png", 7.9, 0.5, 0),
        ("train-0-2", 0, 0, "bare"),
    ]
    path = write_csv(tmp_path / "points.csv", *rows)
    counts = make_point_labels(INFO, root, "train", "mine", path, radius=0)
    assert counts.points == (2, 0, 1)
    assert counts.dense is None
    assert counts.empty == ("train-0-1",)
    mask = read_mask(root / "train/mine/train-0-0.png", INFO)
    assert np.argwhere(mask != 255).tolist() == [[3, 5], [7, 0]]
    assert (mask[3, 5], mask[7, 0]) == (2, 0)


def features(*points: tuple, **document) -> str:
    listed = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": list(place)},
            "properties": properties,
        }
        for place, properties in points
    ]
    return json.dumps({"type": "FeatureCollection", "features": listed, **document})


def test_geojson_in_pixels(root, tmp_path):
    path = tmp_path / "points.geojson"
    path.write_text(features(((5, 3), {"class": "wheat", "image": "train-0-1"})))
    found = read_points(path, find_samples(INFO, root, "train"), INFO)
    assert found.keys() == {"train-0-1"}
    assert found["train-0-1"].places.tolist() == [[3, 5]]
    assert found["train-0-1"].labels.tolist() == [1]


@pytest.mark.parametrize("crs", [None, "EPSG:32633", "urn:ogc:def:crs:EPSG::3857"])
def test_geojson_on_the_map(root, tmp_path, crs):
    """In the images' own coordinates and in others; in both images that overlap there."""
    rng = np.random.default_rng(0)
    for name, left in (("train-0-0", 500_000), ("train-0-1", 500_002), ("train-0-2", 600_000)):
        (root / f"train/images/{name}.png").unlink()
        size = (48, 64) if name != "train-0-1" else (40, 40)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        transform = from_origin(left, 5_400_000, 0.1, 0.1)
        write_bands(root / f"train/images/{name}.tif", image, crs="EPSG:32633", transform=transform)
    x, y = 500_000 + 0.1 * 25.5, 5_400_000 - 0.1 * 7.5  # row 7, column 25 of the first
    to = crs or "EPSG:4326"
    ((px,), (py,)) = rasterio.warp.transform(
        "EPSG:32633", rasterio.CRS.from_user_input(to), [x], [y]
    )
    document = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    path = tmp_path / "points.geojson"
    path.write_text(features(((px, py), {"class": 2}), **document))
    samples = find_samples(INFO.relabeled("train", None), root, "train")
    found = read_points(path, samples, INFO)
    assert {name: points.places.tolist() for name, points in found.items()} == {
        "train-0-0": [[7, 25]],
        "train-0-1": [[7, 5]],
    }
    # The last are meters, which without their system are no degrees.
    for place in ((0, 0), (500_001, 5_399_999 - 10_000)):
        path.write_text(features((place, {"class": 2}), **document))
        with pytest.raises(InputError, match=r"feature 0: .*name the file's coordinate system"):
            read_points(path, samples, INFO)


def test_counts_of_several_folders(tmp_path):
    """Each folder tells its own: one split of two folders, and two splits together."""
    make_dataset(tmp_path, LOVEDA, {"train": 2, "val": 1})
    expected = np.zeros(7, int)
    for split in ("train", "val"):
        counts = make_point_labels(LOVEDA, tmp_path, split, "dots", PointRule(budget=20))
        assert sum(counts.points) == 20 * counts.images
        expected += counts.dense
        folders = [
            tmp_path / f.masks[0].folder for f in LOVEDA.relabeled(split, "dots").splits[split]
        ]
        assert dense_counts(folders) == counts.dense
        assert dense_counts(folders[:1]) != counts.dense
    both = LOVEDA.relabeled("train_val", "dots")
    folders = [tmp_path / folder.masks[0].folder for folder in both.splits["train_val"]]
    assert dense_counts(folders) == tuple(expected)
    samples = find_samples(both, tmp_path, "train_val")
    assert {tuple(sample.masks) for sample in samples} == {(POINTS,)}
    (folders[0] / PROVENANCE_FILE).unlink()
    with pytest.raises(InputError, match="not drawn from dense masks"):
        dense_counts(folders)
    with pytest.raises(InputError, match=r"its masks are points, those of .* full"):
        find_samples(both, tmp_path, "train_val")
    with pytest.raises(InputError, match="split 'test' has no masks"):
        LOVEDA.relabeled("test", "dots")


def test_own_files_stay(root):
    """A rerun deletes what it has written and nothing else."""
    make_point_labels(INFO, root, "train", "dots", PointRule(budget=3))
    (root / "train/dots/notes.txt").touch()
    with pytest.raises(InputError, match=r"notes\.txt: not made by this tool"):
        make_point_labels(INFO, root, "train", "dots", PointRule(budget=3))
    with pytest.raises(InputError, match=r"dots: .* contains the input"):
        make_point_labels(INFO, root, "train", "dots", root / "train/dots")


def test_folder_of_masks(root, tmp_path):
    colors = np.zeros((48, 64, 3), np.uint8)
    colors[4, 6] = INFO.palette[1]
    write_image(tmp_path / "points/train-0-0.png", colors)
    counts = make_point_labels(INFO, root, "train", "mine", tmp_path / "points", radius=1)
    assert counts.points == (0, 1, 0)
    assert counts.pixels == (0, 9, 0)  # a dot of 3 x 3


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("train-0-7", 0, 0, "bare"), "line 3: no image 'train-0-7'.*did you mean 'train-0-"),
        (("train-0-0", 48, 0, "bare"), "line 3: row 48, column 0 is outside train-0-0.*48 rows"),
        (("train-0-0", 0, -1, "bare"), "line 3: row 0, column -1 is outside"),
        (("train-0-0", "nan", 0, "bare"), "line 3: row nan, column 0 is outside"),
        (("train-0-0", "x", 0, "bare"), "line 3: row 'x', column '0': no numbers"),
        (("train-0-0", 0, 0, "maiz"), "line 3: no class 'maiz'.*did you mean 'maize'"),
        (("train-0-0", 0, 0, 3), "line 3: no class '3'.*label from 0 to 2"),
        (("train-0-0", 1, 1, 2), "line 3: another point of this pixel has another class"),
        (("train-0-0", 0), "line 3: row '0', column '': no numbers"),
    ],
)
def test_wrong_points(root, tmp_path, row, words):
    path = write_csv(tmp_path / "points.csv", ("train-0-0", 1, 1, 0), row)
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError, match=words):
        make_point_labels(INFO, root, "train", "mine", path)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.csv", "image,x,y,class\n", "no column 'row'; the first line must be image,row,"),
        ("p.csv", "image,row,column,class\n", "no point in it"),
        ("p.geojson", "{", "unreadable"),
        ("p.geojson", "[]", "not a FeatureCollection"),
        ("p.geojson", features(((1, 1), {"kind": 2})), "feature 0: not a Point with .*'class'"),
        ("p.geojson", features(((1, 1), {"class": 2})), "train-0-0.png does not say where"),
        ("p.geojson", features((("a", 1), {"class": 2})), "feature 0: not a Point"),
        ("p.txt", "", "expected a folder of masks, or a file ending in .csv"),
    ],
)
def test_wrong_files(root, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_points(tmp_path / name, find_samples(INFO, root, "train"), INFO)


CONFIG = """
from functools import partial

from network.config import Data, Experiment, Optim
from network.datasets.info import DatasetInfo, Folder, MaskFolder
from network.losses.partial import PartialCrossEntropy
from network.models.tconv import TransposedConvNet

TEXTURES = DatasetInfo(
    name="textures",
    root="data",
    classes=("smooth", "rough"),
    palette=((0, 0, 255), (255, 255, 0)),
    ignore_index=255,
    splits={
        split: (Folder(images=f"{split}/images", masks=(MaskFolder(folder=f"{split}/masks"),)),)
        for split in ("train", "val", "test")
    },
)
experiment = Experiment(
    dataset=TEXTURES,
    model=partial(TransposedConvNet, 2, encoder="test_resnet", weights=None),
    loss=partial(PartialCrossEntropy, 255),
    data=Data(
        train_labels="dots", crop=64, scales=(0.75, 1.0), mosaic=0.0, repeat=4, batch_size=8,
        workers=1,
    ),
    optim=Optim(lr=3e-3, epochs=12, lookahead=False),
)
"""


def write_textures(root: Path, counts: dict[str, int]) -> None:
    """Two textures of one mean color, in large blobs."""
    for split, count in counts.items():
        for number in range(count):
            rng = np.random.default_rng([number, len(split)])
            y, x = np.mgrid[:128, :128] / 128
            a, b, c = rng.uniform(-1, 1, 3)
            labels = (a * (x - 0.5) + b * (y - 0.5) + 0.1 * c * np.sin(9 * x) > 0).astype(np.uint8)
            noise = rng.normal(0, 1, (128, 128, 3)) * np.where(labels, 60, 8)[..., None]
            image = np.clip(128 + noise, 0, 255).astype(np.uint8)
            write_image(root / f"{split}/images/{number}.png", image)
            write_image(root / f"{split}/masks/{number}.png", labels)


@pytest.fixture(scope="module")
def textures(tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("textures")
    (cwd / "textures.py").write_text(CONFIG)
    write_textures(cwd / "data", {"train": 16, "val": 2, "test": 4})
    args = ["-c", "textures.py", "--name", "dots", "--share", "1", "--workers", "1"]
    out = succeed("tools/make_points.py", *args, "--figure", "points.png", cwd=cwd)
    assert "data.train_labels=dots" in out
    assert (cwd / "points.png").stat().st_size > 10_000
    return cwd


@pytest.fixture(scope="module")
def trained(textures) -> Path:
    succeed("train.py", "-c", "textures.py", "--accelerator", "cpu", cwd=textures)
    return textures


@pytest.mark.slow
def test_points_teach(trained):
    """One percent of the pixels, by the commands: nearly all others are right."""
    textures = trained
    succeed("test_custom.py", "-c", "textures.py", "-o", "out", cwd=textures)
    document = json.loads((textures / "out/scores.json").read_text())
    assert document["scores"]["full"]["mIoU"] > 0.9
    assert document["protocol"]["settings"]["data.train_labels"] == "dots"
    assert document["protocol"]["training"]["data.points"]["share"] == 1.0


@pytest.mark.slow
def test_figure_and_check_of_a_few_points(textures):
    """The figure shows the images that have points; the check reads the points, not the masks."""
    (textures / "few.csv").write_text("image,row,column,class\n5,4,4,1\n6,9,9,0\n")
    config = ["-c", "textures.py"]
    args = [*config, "--name", "few", "--points", "few.csv", "--figure", "few.png"]
    succeed("tools/make_points.py", *args, cwd=textures)
    width = read_rgb(textures / "few.png").shape[1]
    assert width == pytest.approx(2 * 3.6 * 110, abs=2)  # two images, not four
    splits = ["--splits", "train"]
    found = succeed("tools/check_data.py", *config, *splits, "data.train_labels=few", cwd=textures)
    assert "0 findings in 16 images" in found
    next((textures / "data/train/few").glob("5.png")).write_bytes(b"damaged")
    for name, words in (("few", "few/5.png: not an image"), ("fw", "train/fw: no such folder")):
        done = run(
            "tools/check_data.py", *config, *splits, f"data.train_labels={name}", cwd=textures
        )
        assert (done.returncode, words in done.stdout) == (1, True), done.stdout


@pytest.mark.slow
def test_figures_of_a_training(trained):
    """Curves; image, truth, points and prediction of four training images."""
    logs = trained / f"lightning_logs/{trained.name}/textures/version_0"
    sizes = {name: cv2.imread(str(logs / f"{name}.png")).shape for name in ("curves", "panel")}
    assert sizes["curves"][1] > 1000
    height, width = sizes["panel"][:2]
    assert 1 < height / width < 1.2  # four by four, and the classes below
    assert not list(logs.glob("*.partial*"))


@pytest.mark.slow
def test_predict(trained):
    """A folder of images in overlapping windows: masks of their size, in colors or as labels."""
    for number, image in enumerate(sorted((trained / "data/test/images").iterdir())):
        suffix = ("tif", "png")[number % 2]
        write_image(trained / f"photos/{number}.{suffix}", read_rgb(image)[: 128 - 7 * number])
    args = ["-c", "textures.py", "-i", "photos", "-p", "96", "--halo", "32"]
    assert "4 masks in masks" in succeed("predict.py", *args, "-o", "masks", cwd=trained)
    colors = [read_rgb(path) for path in sorted((trained / "masks").glob("*.png"))]
    assert [mask.shape for mask in colors] == [(128 - 7 * n, 128, 3) for n in range(4)]
    succeed("predict.py", *args, "-o", "labels", "--labels", "-t", "lr", "-b", "4", cwd=trained)
    # An image that has been replaced is predicted again, the others are not.
    before = {p: p.stat().st_mtime_ns for p in (trained / "masks").glob("*.png")}
    write_image(trained / "photos/3.png", read_rgb(trained / "photos/3.png")[:80])
    succeed("predict.py", *args, "-o", "masks", cwd=trained)
    again = [p.name for p, old in before.items() if p.stat().st_mtime_ns != old]
    assert again == ["3.png"]
    colors[3] = read_rgb(trained / "masks/3.png")
    assert colors[3].shape == (80, 128, 3)
    info = load_experiment(trained / "textures.py").dataset
    for number, path in enumerate(sorted((trained / "labels").glob("*.png"))):
        labels = read_mask(path, info)
        truth = read_mask(trained / f"data/test/masks/{number}.png", info)[: len(labels)]
        assert (labels == truth).mean() > 0.9
        if number != 3:
            assert (info.from_rgb(colors[number], "mask") == labels).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-i", "nowhere"], ["nowhere", "no such file"]),
        (["-i", "photos", "-o", "photos"], ["photos", "choose another -o"]),
        (["-i", "photos", "-p", "50"], ["-p 50", "give a multiple of 32"]),
        (["-i", "photos", "-p", "64", "--overlap", "64"], ["--halo 32", "less than half"]),
        (["-i", "photos/*.jpg"], ["photos/*.jpg", "matches no file"]),
        (["-i", "photos", "--bands", "1", "2", "7"], ["photos/0.", "has no band 7"]),
        (["-i", "photos", "--shard", "3/2"], ["--shard 3/2", "must be 1 to 2"]),
        (["-i", "photos", "--checkpoint", "no.ckpt"], ["no.ckpt", "no such"]),
        (["-i", "gray"], ["gray/0.png", "1 band of uint8", "convert it to RGB"]),
    ],
)
def test_wrong_predict(trained, args, words):
    for folder, shape in (("photos", (9, 9, 3)), ("gray", (9, 9))):
        if not (trained / folder).is_dir():
            write_image(trained / f"{folder}/0.png", np.zeros(shape, np.uint8))
    line = error_of("predict.py", "-c", "textures.py", "-o", "other", *args, cwd=trained)
    assert all(word in line for word in words), line


@pytest.mark.slow
def test_resume_with_other_labels(trained):
    """Points that were drawn anew are another training."""
    tool = "tools/make_points.py", "-c", "textures.py", "--name", "redrawn", "--workers", "1"
    succeed(*tool, "--share", "1", cwd=trained)
    train = "train.py", "-c", "textures.py", "--accelerator", "cpu", "name=redrawn"
    train = *train, "data.train_labels=redrawn"
    succeed(*train, "optim.epochs=1", "data.repeat=1", cwd=trained)
    succeed(*tool, "--share", "2", cwd=trained)
    # As if it had been interrupted after the first of two epochs.
    last = trained / "model_weights/redrawn/version_0/last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint[SETTINGS_KEY]["optim.epochs"] = 2
    torch.save(checkpoint, last)
    line = error_of(*train, "data.repeat=1", "optim.epochs=2", "--resume", cwd=trained)
    assert "last.ckpt: was trained on other labels than are in data now" in line


@pytest.mark.slow
def test_class_counts(textures, monkeypatch):
    """Of the points by default; those of the dense masks are in the points' provenance."""
    monkeypatch.chdir(textures)
    data = SegmentationData(load_experiment("textures.py"))
    points = data.class_counts("labels")
    assert sum(points) == 16 * 164
    for path in (textures / "data/train/masks").iterdir():
        path.rename(path.with_suffix(".gone"))
    try:
        dense = data.class_counts("dense")
    finally:
        for path in (textures / "data/train/masks").iterdir():
            path.rename(path.with_suffix(".png"))
    assert sum(dense) == 16 * 128 * 128
    assert points[0] / sum(points) == pytest.approx(dense[0] / sum(dense), abs=0.05)


@pytest.mark.slow
def test_points_that_nobody_told_of(textures, tmp_path, monkeypatch):
    """A folder of sparse masks, put there by hand: scaled down as masks, they would be lost."""
    monkeypatch.chdir(textures)
    plain = textures / "data/train/plain"
    shutil.copytree(textures / "data/train/dots", plain)
    (plain / PROVENANCE_FILE).unlink()
    experiment = load_experiment("textures.py", ["data.train_labels=plain"])
    with pytest.raises(InputError, match=r"plain: only 1.00% .*--name NAME --points .*plain data"):
        SegmentationData(experiment)
    make_point_labels(experiment.dataset, experiment.root, "train", "known", plain)
    known = load_experiment("textures.py", ["data.train_labels=known"])
    assert list(SegmentationData(known).train_samples[0].masks) == [POINTS]


@pytest.mark.slow
def test_what_does_not_fit(textures, tmp_path):
    train = "train.py", "-c", "textures.py", "--accelerator", "cpu"
    line = error_of(*train, "data.train_labels=dosts", cwd=textures)
    assert re.search(r"train/dosts: no such folder; make it by .* --name dosts", line)
    with pytest.raises(InputError, match=r"data\.train_labels=: must be"):
        load_experiment(textures / "textures.py", ["data.train_labels="])
    with pytest.raises(InputError, match=r"mode=grids: no such rule; did you mean 'grid'"):
        PointRule(mode="grids", budget=3)
    tool = "tools/make_points.py", "-c", "textures.py", "--name", "other"
    assert "either a budget or a share" in error_of(*tool, cwd=textures)
    assert "no such file" in error_of(*tool, "--points", "none.csv", cwd=textures)
    assert "--split tran" in error_of(*tool, "--split", "tran", "--budget", "3", cwd=textures)


@pytest.mark.parametrize("config", sorted((ROOT / "config").glob("*/*points.py")))
def test_point_configs_name_the_folder_that_they_make(config):
    """The command in the docstring makes the folder that the config reads."""
    experiment = load_experiment(config)
    assert f"--name {experiment.data.train_labels} " in config.read_text()
