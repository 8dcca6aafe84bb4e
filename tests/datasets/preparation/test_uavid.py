"""UAVid: every pixel of a frame is in a patch, labels once in val mode, whole frames predicted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import ttach
from sklearn.metrics import accuracy_score

from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.frames import find_frames
from network.datasets.info import UAVID
from network.datasets.preparation.uavid import (
    FrameSplit,
    cut,
    split_frames,
)
from network.datasets.segmentation import find_samples
from network.errors import InputError
from network.tta import Views, mean_logits, patched_logits
from tests.commands import error_of, succeed
from tests.conftest import ROOT
from tests.scenes import make_pair
from tests.test_commands import OVERRIDES

SIZES = {"seq1": (72, 128), "seq2": (72, 140)}
FLAGS = ["--split-size-h", "32", "--split-size-w", "48", "--stride-h", "32", "--stride-w", "48"]


def make_frames(folder: Path, labeled: bool = True) -> Path:
    """Two sequences of two frames; UAVid's are 3840 and 4096 wide."""
    for sequence, (height, width) in SIZES.items():
        for number in range(2):
            image, labels = make_pair(UAVID, number, height, width)
            labels[labels == UAVID.ignore_index] = 7
            write_image(folder / f"{sequence}/Images/{number:06}.png", image)
            if labeled:
                path = folder / f"{sequence}/Labels/{number:06}.png"
                write_image(path, UAVID.to_rgb(labels))
    return folder


def options(tmp_path: Path, **changes) -> FrameSplit:
    """A split of 32 x 48 patches."""
    values = {
        "input_dir": tmp_path / "frames",
        "output_img_dir": tmp_path / "data/train/images",
        "output_mask_dir": tmp_path / "data/train/masks",
        "split_size_h": 32,
        "split_size_w": 48,
        "stride_h": 32,
        "stride_w": 48,
    }
    return FrameSplit(**{**values, **changes})


@pytest.mark.parametrize("mode", ["train", "val"])
def test_labels_of_patches(tmp_path, mode):
    """Train: all of them. Val: each pixel's once, the others ignored."""
    image, labels = make_pair(UAVID, 0, 72, 128)
    labels[labels == 255] = 0
    split = options(tmp_path, mode=mode, stride_h=20)
    codes = np.arange(labels.size).reshape(labels.shape)
    code_image = np.stack([codes // 65536, codes // 256 % 256, codes % 256], -1).astype(np.uint8)
    counts = np.zeros(labels.size, int)
    for patch, own in cut(code_image, labels, split):
        where = patch.astype(int) @ [65536, 256, 1]
        valid = own != UAVID.ignore_index
        assert (own[valid] == labels.ravel()[where[valid]]).all()
        np.add.at(counts, where[valid], 1)
        if mode == "train":
            assert valid.all()
    assert (counts == 1).all() if mode == "val" else (counts >= 1).all()
    assert image.shape[:2] == labels.shape


def test_split_and_read(tmp_path):
    make_frames(tmp_path / "frames")
    made = split_frames(options(tmp_path))
    samples = find_samples(UAVID, tmp_path / "data", "train")
    # Three rows; three columns of 128, and of 140.
    assert len(samples) == made.patches == 4 * 9
    assert {sample.size for sample in samples} == {(32, 48)}
    names = {sample.name for sample in samples}
    assert {"seq1_000000_0_0", "seq2_000001_0_8"} < names
    first = next(s for s in samples if s.name == "seq1_000000_0_0")
    frame = read_rgb(tmp_path / "frames/seq1/Images/000000.png")
    np.testing.assert_array_equal(read_rgb(first.image), frame[:32, :48])
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.png")}
    split_frames(options(tmp_path))  # replaces as a whole
    assert {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.png")} == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "trian"}, "mode=trian: not a choice; did you mean 'train'"),
        ({"stride_h": 64}, "stride_h=64: expected 1 to 32"),
        ({"split_size_w": 0}, "split_size_w=0"),
    ],
)
def test_wrong_options(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        options(tmp_path, **changes)


def test_wrong_frames(tmp_path):
    with pytest.raises(InputError, match="no seqN/Images"):
        find_frames(tmp_path, UAVID)
    frames = make_frames(tmp_path / "frames")
    (frames / "seq1/Labels/000001.png").unlink()
    with pytest.raises(InputError, match=r"no labels of .*seq1/Images/000001.png"):
        find_frames(frames, UAVID)
    write_image(frames / "seq1/Labels/000001.png", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(InputError, match="both must have one size"):
        find_frames(frames, UAVID)
    for path in (frames / "seq1/Labels").iterdir():
        path.unlink()
    (frames / "seq1/Labels").rmdir()
    with pytest.raises(InputError, match=r"seq1: no Labels folder \(2 of 4"):
        find_frames(frames, UAVID)
    unlabeled = make_frames(tmp_path / "test", labeled=False)
    with pytest.raises(InputError, match="give a labeled part"):
        split_frames(options(tmp_path, input_dir=unlabeled))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/holiday.png").write_bytes(b"")
    labeled = make_frames(tmp_path / "labeled")
    with pytest.raises(InputError, match="not made by this tool"):
        split_frames(options(tmp_path, input_dir=labeled, output_img_dir=tmp_path / "mine"))


def test_patched_logits():
    """Of a network that sees single pixels: those of the whole image, for any patch and batch."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 4, 1)
    image = torch.randn(1, 3, 50, 70)
    views = Views(ttach.Compose([ttach.HorizontalFlip(), ttach.Rotate90([0, 90])]))
    with torch.inference_mode():
        expected = mean_logits(network, image, views)
        for patch in ((50, 70), (32, 32), (33, 70), (99, 99), (7, 11)):
            for batch, overlap in ((1, 0), (3, 0), (2, min(patch) // 2)):
                actual = patched_logits(network, image, views, patch, batch, overlap)
                torch.testing.assert_close(actual, expected)


def test_overlapping_patches_are_averaged():
    """Rows 2 and 3 of six are in both patches of four rows: the mean of what these say."""
    image = torch.zeros(1, 3, 6, 4)
    values = iter([1.0, 3.0])

    def predict(images):
        return torch.cat([torch.full((1, 2, *images.shape[2:]), next(values)) for _ in images])

    views = Views(ttach.Compose([]))
    logits = patched_logits(predict, image, views, (4, 4), 1)[0, 0, :, 0]
    assert logits.tolist() == [1, 1, 2, 2, 3, 3]
    values = iter([1.0, 2.0, 6.0])
    logits = patched_logits(predict, image, views, (4, 4), 1, overlap=3)[0, 0, :, 0]
    assert logits.tolist() == [1, 1.5, 3, 3, 4, 6]


@pytest.mark.slow
def test_commands(tmp_path):
    """README's lines: cut, train, test whole frames with and without labels, submit."""
    for part in ("train", "val"):
        make_frames(tmp_path / f"uavid_{part}")
        outputs = [f"--output-{kind}-dir" for kind in ("img", "mask")]
        paths = [f"data/{part}/images", f"data/{part}/masks"]
        args = ["--input-dir", f"uavid_{part}", outputs[0], paths[0], outputs[1], paths[1]]
        succeed("tools/uavid_patch_split.py", *args, "--mode", part, *FLAGS, cwd=tmp_path)
    config = ["-c", str(ROOT / "config/uavid/d2ls.py"), *OVERRIDES, "model.layers=1"]
    succeed("train.py", "--accelerator", "cpu", *config, cwd=tmp_path)

    frames = ["-ph", "40", "-pw", "64", "-b", "3", "-d", "uavid", "-t", "lr"]
    args = [*config, *frames, "-i", "uavid_val", "-o", "out", "--report"]
    out = succeed("test_uavid.py", *args, cwd=tmp_path)
    assert "val (CHECKPOINT CHOSEN ON)" in out
    document = json.loads((tmp_path / "out/scores.json").read_text())
    tiling = document["protocol"]["masks"]["full"]["tiling"]
    assert tiling == "whole images, predicted in patches of 40 x 64"
    names = [f"{sequence}/Labels/{n:06}.png" for sequence in SIZES for n in range(2)]
    pairs = [
        [read_mask(tmp_path / folder / name, UAVID) for folder in ("out", "uavid_val")]
        for name in names
    ]
    assert [mask.shape for mask, _ in pairs] == [SIZES[name.split("/")[0]] for name in names]
    ours, truth = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    assert document["scores"]["full"]["OA"] == pytest.approx(accuracy_score(truth, ours))
    assert (tmp_path / "out/report.html").read_text().count('class="stage"') == 4

    succeed("tools/make_report.py", "out", "-o", "again.html", cwd=tmp_path)
    assert (tmp_path / "again.html").read_text().count('class="stage"') == 4

    make_frames(tmp_path / "data/uavid_test", labeled=False)
    args = [*config, *frames, "-i", "data/uavid_test", "-o", "test"]
    succeed("test_uavid.py", *args, cwd=tmp_path)
    assert not (tmp_path / "test/scores.json").exists()
    submit = ["uavid", "test", "-o", "uavid.zip", "--data-root", "data", "--any-count"]
    out = succeed("tools/make_submission.py", *submit, cwd=tmp_path)
    assert "4 masks" in out
    wrong = error_of("test_uavid.py", *config, "-i", "data", "-o", "x", cwd=tmp_path)
    assert "data: no seqN/Images" in wrong
