"""LoveDA mask conversion as a command."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.commands import run

pytestmark = pytest.mark.slow

RAW = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.uint8)
CONVERTED = np.array([[7, 0, 1, 2], [3, 4, 5, 6]], np.uint8)
COLORS = np.array(
    [
        [(0, 0, 0), (255, 255, 255), (255, 0, 0), (255, 255, 0)],
        [(0, 0, 255), (159, 129, 183), (0, 255, 0), (255, 195, 128)],
    ],
    np.uint8,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "masks_png" / "0.png", RAW)
    return tmp_path


def write(path: Path, array: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def convert(
    folder: Path, source: str = "masks_png", output: str = "masks_png_convert", *flags: str
) -> subprocess.CompletedProcess:
    args = ["--mask-dir", source, "--output-mask-dir", output, *flags]
    return run("tools/loveda_mask_convert.py", *args, cwd=folder)


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    return error


def test_index_and_rgb_masks(folder):
    write(folder / "masks_png" / "12.png", RAW[:, ::-1])
    done = convert(folder, "masks_png", "masks_png_convert", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("masks 2; written to masks_png_convert and masks_png_convert_rgb")
    np.testing.assert_array_equal(read(folder / "masks_png_convert/0.png"), CONVERTED)
    np.testing.assert_array_equal(read(folder / "masks_png_convert/12.png"), CONVERTED[:, ::-1])
    np.testing.assert_array_equal(read(folder / "masks_png_convert_rgb/0.png"), COLORS)
    np.testing.assert_array_equal(read(folder / "masks_png/0.png"), RAW)


def test_rerun_replaces_both_folders(folder):
    for name in ("masks_png_convert", "masks_png_convert_rgb"):
        write(folder / name / "99.png", CONVERTED)  # as GeoSeg leaves them, without the mark
    for _ in range(2):
        assert convert(folder).returncode == 0
        assert [path.name for path in (folder / "masks_png_convert").iterdir()] == ["0.png"]
        assert [path.name for path in (folder / "masks_png_convert_rgb").iterdir()] == ["0.png"]


def test_output_of_any_name_is_replaced_by_its_mark(folder):
    for _ in range(2):
        assert convert(folder, output="labels").returncode == 0


@pytest.mark.parametrize("foreign", ["images_png/5.png", "masks_png_convert/notes.txt"])
def test_what_is_not_ours_is_never_deleted(folder, foreign):
    path = folder / foreign
    write(path.with_suffix(".png"), COLORS)
    path.with_suffix(".png").rename(path)
    error = refused(convert(folder, output=path.parent.name))
    assert f"{foreign}: not made by this tool" in error
    assert path.exists()


def test_converted_masks_are_refused_by_their_mark(folder):
    assert convert(folder).returncode == 0
    (folder / "masks_png_convert").rename(folder / "renamed")
    error = refused(convert(folder, source="renamed", output="again"))
    assert "renamed/0.png: this mask is converted already" in error
    assert not (folder / "again").exists()


@pytest.mark.parametrize("name", ["masks_png_convert", "masks_png_convert_rgb"])
def test_converted_masks_are_refused_by_the_name_of_their_folder(folder, name):
    write(folder / name / "0.png", CONVERTED)
    assert "converted already" in refused(convert(folder, source=name, output="again"))


@pytest.mark.parametrize("output", ["masks_png", ".", "./masks_png/../masks_png"])
def test_output_that_is_or_holds_the_input(folder, output):
    assert "input folder" in refused(convert(folder, output=output))
    np.testing.assert_array_equal(read(folder / "masks_png/0.png"), RAW)


def test_value_out_of_range(folder):
    wrong = RAW.copy()
    wrong[1, 2:] = 255
    write(folder / "masks_png" / "1.png", wrong)
    error = refused(convert(folder))
    assert "1.png: value 255 at row 1, column 2 is out of range (2 pixels)" in error
    assert [path.name for path in folder.iterdir()] == ["masks_png"]


def test_several_channels(folder):
    write(folder / "masks_png" / "1.png", COLORS)
    assert "1.png: expected one 8-bit channel" in refused(convert(folder))


def test_truncated_mask(folder):
    rng = np.random.default_rng(0)
    path = folder / "masks_png" / "1.png"
    write(path, rng.integers(0, 8, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:600])
    assert "1.png: truncated mask" in refused(convert(folder))


def test_other_text_in_a_png_is_no_mark(folder):
    text = PngInfo()
    text.add_text("labels", "raw")
    write(folder / "masks_png" / "0.png", RAW, pnginfo=text)
    assert convert(folder).returncode == 0


@pytest.mark.parametrize(
    ("source", "message"), [("missing", "no such folder"), ("empty", "no image")]
)
def test_no_masks(folder, source, message):
    (folder / "empty").mkdir()
    assert message in refused(convert(folder, source=source))


def test_too_few_workers(folder):
    done = convert(folder, "masks_png", "masks_png_convert", "--workers", "0")
    assert "--workers 0" in refused(done)
