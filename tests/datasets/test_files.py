"""Reading, checking and writing image files."""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image

from network.datasets.files import (
    NO_STATE,
    _state,
    image_size,
    list_folder,
    list_images,
    read_colored_mask,
    read_mask,
    read_own_mask,
    read_rgb,
    write_image,
    write_mask,
)
from network.datasets.info import UAVID, VAIHINGEN, DatasetInfo, MaskCoding
from network.errors import InputError
from network.writing import replacing
from tests.scenes import write_bands


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_round_trip(tmp_path, rgb, suffix):
    path = tmp_path / f"image{suffix}"
    write_image(path, rgb)
    np.testing.assert_array_equal(read_rgb(path), rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), rgb)
    assert image_size(path) == (37, 53)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_truncated(tmp_path, rgb, suffix):
    """Found from header and ending alone, before the pixels are read."""
    path = tmp_path / f"image{suffix}"
    Image.fromarray(rgb).save(path)
    assert image_size(path) == (37, 53)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=rf"image\{suffix}"):
        image_size(path)


def test_truncated_strips(tmp_path, rgb):
    """A TIFF whose directory stands before its pixels."""
    path = tmp_path / "image.tif"
    big = np.tile(rgb, (20, 20, 1))
    cv2.imwrite(str(path), big, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    image_size(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"image\.tif"):
        image_size(path)


def test_not_an_image(tmp_path):
    (tmp_path / "image.png").write_text("hello")
    with pytest.raises(InputError, match=r"image\.png: not an image"):
        image_size(tmp_path / "image.png")
    with pytest.raises(InputError, match=r"image\.png: not an image"):
        read_rgb(tmp_path / "image.png")
    with pytest.raises(InputError, match=r"image\.png: not an image"):
        read_mask(tmp_path / "image.png", VAIHINGEN)


def test_mask_kinds_are_one(tmp_path):
    """Index, color-table and RGB masks of the same labels."""
    labels = np.arange(35, dtype=np.uint8).reshape(5, 7) % 7
    write_image(tmp_path / "index.png", labels)
    write_image(tmp_path / "rgb.png", VAIHINGEN.to_rgb(labels))
    table = Image.fromarray(labels)
    table.putpalette(VAIHINGEN.to_rgb(np.arange(256, dtype=np.uint8)).tobytes())
    table.save(tmp_path / "table.png")
    for name in ("index", "rgb", "table"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png", VAIHINGEN), labels)


@pytest.mark.parametrize("mode", ["I;16", "1"])
def test_masks_in_other_integer_modes(tmp_path, mode):
    labels = np.arange(35).reshape(5, 7) % (2 if mode == "1" else 7)
    dtype = {"I;16": np.uint16, "1": bool}[mode]
    Image.fromarray(labels.astype(dtype)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", VAIHINGEN), labels)


def test_label_out_of_range(tmp_path):
    labels = np.zeros((5, 7), np.uint8)
    labels[3, 4:6] = 9
    write_image(tmp_path / "mask.png", labels)
    with pytest.raises(InputError, match=r"mask\.png: label 9 at row 3, column 4.*2 pixels"):
        read_mask(tmp_path / "mask.png", VAIHINGEN)


def test_wide_label_out_of_range(tmp_path):
    """256 must not become 0."""
    Image.fromarray(np.full((4, 4), 256, np.uint16)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match="label 256"):
        read_mask(tmp_path / "mask.png", VAIHINGEN)


def test_sixteen_bit_image(tmp_path):
    cv2.imwrite(str(tmp_path / "image.tif"), np.full((4, 4, 3), 2000, np.uint16))
    with pytest.raises(InputError, match=r"image\.tif: uint16 pixels; convert"):
        read_rgb(tmp_path / "image.tif")


def test_exif_does_not_turn_an_image_under_its_mask(tmp_path, rgb):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    Image.fromarray(rgb).save(tmp_path / "image.jpg", exif=exif)
    assert read_rgb(tmp_path / "image.jpg").shape == rgb.shape


def test_list(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        list_images(tmp_path / "none")
    with pytest.raises(InputError, match="no image in this folder"):
        list_images(tmp_path)
    for name in ("b.png", "a.TIF", "notes.txt"):
        (tmp_path / name).touch()
    assert list(list_images(tmp_path)) == ["a", "b"]
    (tmp_path / "b.jpg").touch()
    with pytest.raises(InputError, match="same name"):
        list_images(tmp_path)


def test_replacing(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as partial:
        partial.write_text("one")
        assert not path.exists()

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_text("two")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_written_images_are_compressed_without_loss(tmp_path, suffix):
    image = np.kron(np.random.default_rng(0).integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1)))
    image = image.astype(np.uint8)
    write_image(tmp_path / f"image{suffix}", image)
    np.testing.assert_array_equal(read_rgb(tmp_path / f"image{suffix}"), image)
    assert (tmp_path / f"image{suffix}").stat().st_size < image.nbytes / 2
    with Image.open(tmp_path / f"image{suffix}") as file:
        assert file.info.get("compression") in (None, "tiff_lzw")


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32"]
)
@pytest.mark.parametrize("nodata", [None, -7, 99, 255])
@pytest.mark.parametrize("ignored", [6, 255])
def test_labels_of_every_type(tmp_path, dtype, nodata, ignored):
    """The mask's own no-data value is ignored, in whatever type it is."""
    info = replace(VAIHINGEN, ignore_index=ignored)
    kind = np.iinfo(dtype) if dtype != "float32" else np.finfo(dtype)
    if nodata is not None and not kind.min <= nodata <= kind.max:
        return
    expected = np.arange(35, dtype=np.uint8).reshape(5, 7) % 6
    labels = expected.astype(dtype)
    if nodata is not None:
        labels[1:3], expected[1:3] = nodata, ignored
    write_bands(tmp_path / "mask.tif", labels[..., None], nodata=nodata)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif", info), expected)


@pytest.mark.parametrize(
    ("dtype", "label"),
    [("int16", -32768), ("int8", -1), ("uint32", 2**32 - 1), ("int64", 256), ("float32", 1.5)],
)
def test_labels_that_would_wrap(tmp_path, dtype, label):
    """Named with value, count and place, and what to do if they are no data."""
    labels = np.zeros((5, 7, 1), dtype)
    labels[2, 3:5] = label
    write_bands(tmp_path / "mask.tif", labels)
    words = rf"label {label} at row 2, column 3 .*\(2 pixels\).*-a_nodata"
    with pytest.raises(InputError, match=words):
        read_mask(tmp_path / "mask.tif", VAIHINGEN)


@pytest.mark.parametrize("photometric", ["MINISBLACK", "MINISWHITE"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_labels_of_few_bits(tmp_path, photometric, bits):
    """Neither inverted nor scaled, as other libraries do."""
    labels = (np.arange(36).reshape(4, 9, 1) % min(2**bits, 6)).astype(np.uint8)
    write_bands(tmp_path / "mask.tif", labels, photometric=photometric, nbits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif", VAIHINGEN), labels[..., 0])
    image = Image.fromarray(labels[..., 0], "P")
    image.putpalette(bytes(3 * 2**bits))
    image.save(tmp_path / "mask.png", bits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", VAIHINGEN), labels[..., 0])


def test_masks_that_call_pixels_invalid(tmp_path):
    """By an alpha band, of labels and of colors."""
    labels = np.arange(36, dtype=np.uint8).reshape(4, 9) % 6
    alpha = np.full((4, 9), 255, np.uint8)
    alpha[:2] = 0
    Image.fromarray(np.dstack([labels, alpha]), "LA").save(tmp_path / "index.png")
    Image.fromarray(np.dstack([VAIHINGEN.to_rgb(labels), alpha])).save(tmp_path / "rgb.png")
    labels[:2] = VAIHINGEN.ignore_index
    for name in ("index", "rgb"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png", VAIHINGEN), labels)


def test_lossy_masks(tmp_path):
    """Refused, but where colors are to be taken to the nearest class."""
    labels = np.kron(np.arange(6).reshape(2, 3), np.ones((16, 16))).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "index.jpg")
    write_bands(tmp_path / "index.tif", labels[..., None], compress="jpeg")
    rgb = VAIHINGEN.to_rgb(labels)
    Image.fromarray(rgb).save(tmp_path / "rgb.jpg", quality=95, subsampling=0)
    for name in ("index.jpg", "index.tif", "rgb.jpg"):
        with pytest.raises(InputError, match=rf"{name}: compressed with loss.*PNG"):
            read_mask(tmp_path / name, VAIHINGEN)
    with pytest.raises(InputError, match=r"compressed with loss.*unknown_color=nearest"):
        read_colored_mask(tmp_path / "rgb.jpg", VAIHINGEN, option="unknown_color")
    found = read_colored_mask(tmp_path / "rgb.jpg", VAIHINGEN, unknown="nearest")
    assert (found == labels).mean() > 0.9
    with pytest.raises(InputError, match="compressed with loss"):
        read_mask(tmp_path / "index.jpg", VAIHINGEN, unknown="nearest")


FIELDS = DatasetInfo(
    name="fields",
    root="data",
    classes=("bare", "wheat"),
    palette=((0, 0, 0), (220, 180, 40)),
    ignore_index=255,
    splits={},
)


def test_values_that_are_no_labels(tmp_path):
    """Each value of a mask of one band has its class, is ignored or is refused."""
    info = replace(FIELDS, mask_coding=MaskCoding(values=(1000, 0), ignored=(7, -1)))
    values = np.array([[0, 1000, 7, -1], [1000, 0, 255, 0]], np.int16)
    write_bands(tmp_path / "mask.tif", values[..., None], nodata=0)
    expected = [[255, 0, 255, 255], [0, 255, 255, 255]]
    assert read_mask(tmp_path / "mask.tif", info).tolist() == expected
    write_bands(tmp_path / "mask.tif", values[..., None])
    expected = [[1, 0, 255, 255], [0, 1, 255, 1]]
    labels = read_mask(tmp_path / "mask.tif", info)
    assert labels.tolist() == expected
    assert labels.dtype == np.uint8
    with pytest.raises(InputError, match=r"value 7 at .*column 2 .*has the values 1000, 0; .*igno"):
        read_mask(tmp_path / "mask.tif", replace(info, mask_coding=MaskCoding(values=(1000, 0))))
    # What the project writes has labels, whatever the masks of the data set have.
    write_image(tmp_path / "own.png", labels)
    np.testing.assert_array_equal(read_own_mask(tmp_path / "own.png", info), labels)
    with pytest.raises(InputError, match="its masks have other values than labels"):
        info.relabeled("train", "points")


def test_ignored_colors_and_color_tables(tmp_path):
    rgb = np.array([[[0, 0, 0], [220, 180, 40], [155, 155, 155]]], np.uint8)
    write_image(tmp_path / "rgb.png", rgb)
    with pytest.raises(InputError, match=r"color \(155, 155, 155\) is no class"):
        read_mask(tmp_path / "rgb.png", FIELDS)
    coding = MaskCoding(ignored=((155, 155, 155),), color_tables="colors")
    info = replace(FIELDS, mask_coding=coding)
    assert read_mask(tmp_path / "rgb.png", info).tolist() == [[0, 1, 255]]
    # The indices of this table are no labels, but its colors are those of the classes.
    table = Image.fromarray(np.array([[9, 1, 4]], np.uint8))
    colors = np.zeros((256, 3), np.uint8)
    colors[[9, 1, 4]] = rgb[0]
    table.putpalette(colors.tobytes())
    table.save(tmp_path / "table.png")
    assert read_mask(tmp_path / "table.png", info).tolist() == [[0, 1, 255]]
    with pytest.raises(InputError, match="label 9"):
        read_mask(tmp_path / "table.png", FIELDS)


def test_colors_that_differ_slightly(tmp_path):
    """Within the tolerance they are the nearest class, and beyond it they are ignored."""
    info = replace(FIELDS, mask_coding=MaskCoding(tolerance=20))
    rgb = np.array([[[20, 3, 0], [21, 3, 0], [210, 200, 40], [220, 180, 61]]], np.uint8)
    write_image(tmp_path / "rgb.png", rgb)
    assert read_mask(tmp_path / "rgb.png", info).tolist() == [[0, 255, 1, 255]]
    labels = np.kron([[0, 1], [1, 0]], np.ones((16, 16))).astype(np.uint8)
    Image.fromarray(info.to_rgb(labels)).save(tmp_path / "rgb.jpg", quality=90, subsampling=0)
    np.testing.assert_array_equal(read_mask(tmp_path / "rgb.jpg", info), labels)
    gray = replace(info, palette=((0, 0, 0), (255, 255, 255)))
    Image.fromarray(255 * labels).save(tmp_path / "gray.jpg")
    np.testing.assert_array_equal(read_mask(tmp_path / "gray.jpg", gray), labels)


@pytest.mark.parametrize(
    ("coding", "words"),
    [
        ({"values": (0, 5, 9)}, "2 classes but 3 values"),
        ({"values": (5, 5)}, "two classes have the same value"),
        ({"values": (0, 5), "ignored": (5,)}, "5 is ignored, but it is also a class"),
        ({"ignored": ((220, 180, 40),)}, "is ignored, but it is also a class"),
        ({"tolerance": 256}, "tolerance=256"),
        ({"color_tables": "color"}, "neither 'labels' nor 'colors'"),
    ],
)
def test_codings_that_contradict_themselves(coding, words):
    with pytest.raises(ValueError, match=words):
        replace(FIELDS, mask_coding=MaskCoding(**coding))


@pytest.mark.parametrize("rgb", [True, False])
def test_written_masks_say_where_they_have_no_class(tmp_path, rgb):
    """As GDAL reads them, and as they are read back; UAVid has a black class."""
    for info in (VAIHINGEN, UAVID):
        labels = np.arange(36, dtype=np.uint8).reshape(4, 9) % info.num_classes
        valid = np.ones((4, 9), bool)
        valid[1:3, 2:5] = False
        path = tmp_path / "mask.png"
        write_mask(path, labels, info, rgb=rgb, valid=valid)
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.dataset_mask() > 0, valid)
            assert file.nodata == (None if rgb else info.ignore_index)
        with Image.open(path) as image:
            assert image.mode == ("RGBA" if rgb else "L")
        expected = np.where(valid, labels, info.ignore_index)
        np.testing.assert_array_equal(read_mask(path, info), expected)
        write_mask(path, labels, info, rgb=rgb, valid=None)
        with rasterio.open(path) as file:
            assert file.count == (3 if rgb else 1)
            assert file.nodata is None
        np.testing.assert_array_equal(read_mask(path, info), labels)


def test_list_leaves_out_what_is_hidden(tmp_path):
    """Finder's, Explorer's and our own temporary files; links to files are files."""
    for name in (
        "a.png",
        "._a.png",
        ".DS_Store",
        "Thumbs.db",
        "a.png.aux.xml",
        ".b.png.partial-x-1",
    ):
        (tmp_path / name).touch()
    (tmp_path / "c.tif").symlink_to(tmp_path / "a.png")
    assert list(list_images(tmp_path)) == ["a", "c"]


def test_list_of_what_is_no_file(tmp_path):
    (tmp_path / "a.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: is no regular file; remove it"):
        list_images(tmp_path)
    (tmp_path / "pipe.png").unlink()
    (tmp_path / "gone.tif").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"gone\.tif: is no regular file"):
        list_images(tmp_path)
    (tmp_path / "gone.tif").unlink()
    os.close(os.open(os.fsencode(tmp_path) + b"/caf\xe9.png", os.O_CREAT))
    with pytest.raises(InputError, match=r"caf\\xe9\.png: its name is not UTF-8; rename it"):
        list_images(tmp_path)


def test_states(tmp_path):
    for name, size in (("b.png", 3), ("a.tif", 5), ("a.tfw", 7)):
        (tmp_path / name).write_bytes(bytes(size))
    os.utime(tmp_path / "b.png", ns=(0, -5_000_000_001))  # before 1970
    listing = list_folder(tmp_path, states=True)
    assert (listing.images, listing.others) == (["a.tif", "b.png"], ["a.tfw"])
    for name, state in zip(listing.images, listing.states.tolist(), strict=True):
        about = (tmp_path / name).stat()
        assert state == [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
    assert list_folder(tmp_path).states is None


def test_states_that_need_more_than_63_bits():
    """Some network disks number files by hashes of 64 bits; a wrong clock may be far ahead."""

    def told(time, number):
        about = SimpleNamespace(st_size=1, st_mtime_ns=time, st_ctime_ns=3, st_ino=number)
        return _state(SimpleNamespace(stat=lambda: about)).tolist()

    assert told(2, 2**64 - 2) == [1, 2, 3, 2**63 - 2]
    assert told(2**63, 4) == list(NO_STATE)


def test_state_of_a_removed_file(tmp_path):
    (tmp_path / "a.png").touch()
    with os.scandir(tmp_path) as entries:
        (entry,) = entries
    (tmp_path / "a.png").unlink()
    assert _state(entry).tolist() == list(NO_STATE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_others_may_not_list():
    with TemporaryDirectory() as path:  # other users may not pass through tmp_path
        folder = Path(path)
        folder.chmod(0o711)
        os.seteuid(65534)
        try:
            with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\)"):
                list_images(folder)
        finally:
            os.seteuid(0)
