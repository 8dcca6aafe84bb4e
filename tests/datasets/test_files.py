"""Reading, checking and writing image files."""

import cv2
import numpy as np
import pytest
from PIL import Image

from network.datasets.files import image_size, list_images, read_mask, read_rgb, write_image
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.writing import replacing


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
