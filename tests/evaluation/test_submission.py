"""What is sent to a server: right in every file, or refused with the file's name."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from network.datasets.files import write_image
from network.datasets.info import LOVEDA, UAVID
from network.errors import InputError
from network.evaluation.submission import SERVERS, check_submission, write_submission

LOVEDA_SERVER, UAVID_SERVER = SERVERS["loveda"], SERVERS["uavid"]
NAMES = ("4191", "4192", "5990")


def labels_of(name: str, classes: int = 7) -> np.ndarray:
    return np.random.default_rng(int(name)).integers(0, classes, (8, 6), np.uint8)


@pytest.fixture
def root(tmp_path) -> Path:
    """Test images of LoveDA, two of them rural."""
    for name, domain in zip(NAMES, ("Rural", "Rural", "Urban"), strict=True):
        path = tmp_path / f"LoveDA/Test/{domain}/images_png/{name}.png"
        write_image(path, np.zeros((8, 6, 3), np.uint8))
    return tmp_path / "LoveDA"


@pytest.fixture
def masks(tmp_path) -> Path:
    for name in NAMES:
        write_image(tmp_path / f"masks/{name}.png", labels_of(name))
    return tmp_path / "masks"


def write(root: Path, masks: Path, output: Path) -> int:
    return write_submission(LOVEDA_SERVER, root, masks, output, any_count=True)


def read_zip(path: Path) -> dict[str, Image.Image]:
    with zipfile.ZipFile(path) as archive:
        return {n: Image.open(io.BytesIO(archive.read(n))) for n in archive.namelist()}


@pytest.mark.parametrize("form", ["labels", "colors", "color table"])
def test_loveda(root, masks, tmp_path, form):
    """Whatever the masks look like, the zip holds 8-bit labels in its root."""
    for name in NAMES:
        if form == "colors":
            write_image(masks / f"{name}.png", LOVEDA.to_rgb(labels_of(name)))
        if form == "color table":
            image = Image.fromarray(labels_of(name), mode="P")
            image.putpalette([value for color in LOVEDA.palette for value in color])
            image.save(masks / f"{name}.png")
    assert write(root, masks, tmp_path / "out.zip") == 3
    found = read_zip(tmp_path / "out.zip")
    assert sorted(found) == [f"{name}.png" for name in NAMES]
    for name in NAMES:
        mask = found[f"{name}.png"]
        assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (6, 8))
        np.testing.assert_array_equal(np.asarray(mask), labels_of(name))
    assert check_submission(LOVEDA_SERVER, root, tmp_path / "out.zip", any_count=True) == 3


def test_equal_masks_make_equal_zips(root, masks, tmp_path):
    for name in ("a.zip", "b.zip"):
        write(root, masks, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def remove_one(masks: Path) -> None:
    (masks / "4192.png").unlink()


def rename_one(masks: Path) -> None:
    (masks / "4192.png").rename(masks / "pred_4192.png")


def add_one(masks: Path) -> None:
    write_image(masks / "7.png", labels_of("7"))


def shrink_one(masks: Path) -> None:
    write_image(masks / "4192.png", np.zeros((4, 3), np.uint8))


def label_of_no_class(masks: Path) -> None:
    write_image(masks / "4192.png", np.full((8, 6), 8, np.uint8))


def ignore_one(masks: Path) -> None:
    write_image(masks / "4192.png", np.full((8, 6), LOVEDA.ignore_index, np.uint8))


def damage_one(masks: Path) -> None:
    (masks / "4192.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove_one, "no 4192.png .1 of 3 test images have no mask"),
        (rename_one, "no 4192.png .1 of 3.*1 other names, e.g. pred_4192.png"),
        (add_one, "7.png is no test image"),
        (shrink_one, "4192.png: 4 x 3 pixels, its image .*4192.png has 8 x 6"),
        (label_of_no_class, "4192.png: label 8 at row 0"),
        (ignore_one, "4192.png: 48 pixels have no class"),
        (damage_one, "4192.png: truncated"),
    ],
)
def test_wrong_masks(root, masks, tmp_path, spoil, words):
    spoil(masks)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=words):
        write(root, masks, tmp_path / "out.zip")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_incomplete_test_folder(root, masks, tmp_path):
    with pytest.raises(InputError, match=r"3 test images, loveda has 1796.*any_count=True"):
        write_submission(LOVEDA_SERVER, root, masks, tmp_path / "out.zip")


def test_loveda_takes_no_folder(root, masks, tmp_path):
    with pytest.raises(InputError, match="takes a zip"):
        write(root, masks, tmp_path / "out")


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "results/4191.png",
            png(labels_of("4191")),
            "lies in a folder, so it would get",
        ),
        ("4191.png", png(LOVEDA.to_rgb(labels_of("4191"))), "mode RGB, expected PNG of mode L"),
        ("4191.png", png(labels_of("4191") + 1), "label 7; expected 0 to 6"),
        ("4191.png", png(labels_of("4191").T), "6 x 8 pixels"),
        ("4191.png", b"text", "unreadable mask"),
        ("4192.png", png(labels_of("4192")), "4192.png comes twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_made_by_hand(root, tmp_path, name, content, words):
    with zipfile.ZipFile(tmp_path / "hand.zip", "w") as archive:
        archive.writestr(name, content)
        for other in NAMES[1:]:
            archive.writestr(f"{other}.png", png(labels_of(other, 7) % 6))
    with pytest.raises(InputError, match=words):
        check_submission(LOVEDA_SERVER, root, tmp_path / "hand.zip", any_count=True)


@pytest.mark.parametrize("position", [60, 80, 100])
def test_a_damaged_deflated_zip(root, tmp_path, position):
    """As the command ``zip`` makes them."""
    with zipfile.ZipFile(tmp_path / "hand.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.writestr(f"{name}.png", png(labels_of(name)))
    content = bytearray((tmp_path / "hand.zip").read_bytes())
    content[position : position + 8] = bytes(8)
    (tmp_path / "hand.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"hand\.zip"):
        check_submission(LOVEDA_SERVER, root, tmp_path / "hand.zip", any_count=True)


def test_not_a_zip(root, masks):
    with pytest.raises(InputError, match="not a zip"):
        check_submission(LOVEDA_SERVER, root, masks / "4191.png", any_count=True)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_truncated_zip_is_never_accepted(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    write_image(folder / "root/Test/Rural/images_png/1.png", np.zeros((8, 6, 3), np.uint8))
    write_image(folder / "root/Test/Urban/images_png/2.png", np.zeros((8, 6, 3), np.uint8))
    for name in ("1", "2"):
        write_image(folder / f"masks/{name}.png", labels_of(name))
    write(folder / "root", folder / "masks", folder / "out.zip")
    content = (folder / "out.zip").read_bytes()
    (folder / "out.zip").write_bytes(content[:-cut] if cut < len(content) else b"")
    with pytest.raises(InputError, match=r"out\.zip"):
        check_submission(LOVEDA_SERVER, folder / "root", folder / "out.zip", any_count=True)


@pytest.mark.parametrize("output", ["uavid.zip", "uavid_folder"])
def test_uavid(tmp_path, output):
    """RGB masks of the frames' own sizes under seqN/Labels, black being a class."""
    sizes = {"seq21/{}/000000.png": (6, 8), "seq22/{}/000100.png": (6, 9)}
    for name, size in sizes.items():
        image = np.zeros((*size, 3), np.uint8)
        write_image(tmp_path / "uavid/uavid_test" / name.format("Images"), image)
        labels = np.arange(np.prod(size), dtype=np.uint8).reshape(size) % 8
        write_image(tmp_path / "masks" / name.format("Labels"), UAVID.to_rgb(labels))
    root, masks = tmp_path / "uavid", tmp_path / "masks"
    assert write_submission(UAVID_SERVER, root, masks, tmp_path / output, any_count=True) == 2
    if output.endswith(".zip"):
        found = read_zip(tmp_path / output)
    else:
        found = {name.format("Labels"): None for name in sizes}
        found = {name: Image.open(tmp_path / output / name) for name in found}
        with pytest.raises(InputError, match="is already there"):
            write_submission(UAVID_SERVER, root, masks, tmp_path / output, any_count=True)
    for name, size in sizes.items():
        mask = found[name.format("Labels")]
        assert (mask.mode, mask.size) == ("RGB", size[::-1])
        labels = UAVID.from_rgb(np.asarray(mask), name)
        assert (labels.ravel() == np.arange(labels.size) % 8).all()
    (masks / "seq22/Labels/000100.png").unlink()
    with pytest.raises(InputError, match=r"no seq22/Labels/000100.png"):
        write_submission(UAVID_SERVER, root, masks, tmp_path / "other.zip", any_count=True)
