"""Damaged and hostile image files: found, refused, or still the same pixels."""

import io
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from network.datasets.files import write_image
from network.errors import InputError
from network.rasters.reader import read_raster
from tests.scenes import write_bands

pytestmark = pytest.mark.slow

MUTATED = 240
FORMATS = {
    "png": {},
    "jpg": {},
    "lzw.tif": {"compress": "lzw", "interleave": "pixel"},
    "deflate.tif": {"compress": "deflate", "tiled": True, "blockxsize": 32, "blockysize": 32},
    "zstd.tif": {"compress": "zstd"},
    "plain.tif": {},
}
CHECKED = ("png", "deflate.tif")
"""What has checksums of all its pixels."""


def make_image(path: Path, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(64), np.arange(64))[..., None] * (1, 2, 3)
    image = (ramp + rng.integers(0, 40, (64, 64, 3))).astype(np.uint8)
    if name.endswith("tif"):
        write_bands(path, image, **FORMATS[name])
    else:
        Image.fromarray(image).save(path)


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """One of the ways in which disks, networks and people damage files."""
    data, length = bytearray(content), int(rng.choice([1, 8, 64, 512]))
    at = int(rng.integers(len(data)))
    way = rng.integers(5)
    if way == 0:
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif way == 1:
        del data[at : at + length]
    elif way == 2:
        data[at:at] = rng.bytes(length)
    elif way == 3:
        del data[at:]
    else:
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def test_mutated(launcher, project, tmp_path, trials, count):
    """Damaged images, seen by the doctor."""
    for name in ("fields.py",):
        (tmp_path / name).symlink_to(project / name)
    images, masks = tmp_path / "data/train/images", tmp_path / "data/train/masks"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    damaged: dict[Path, tuple[str, np.ndarray]] = {}
    for number in range(trials(MUTATED)):
        name = list(FORMATS)[number % len(FORMATS)]
        path = images / f"{number}.{name.rpartition('.')[2]}"
        make_image(path, name, number)
        damaged[path] = name, read_raster(path).values
        good = path.read_bytes()
        while path.read_bytes() == good:
            path.write_bytes(mutate(good, rng))
        write_image(masks / f"{number}.png", np.full((64, 64), number % 3, np.uint8))
    ended = launcher.run(
        tmp_path, "tools/check_data.py", "-c", "fields.py", "--workers", "1", "--splits", "train"
    )
    assert ended.code in (0, 1), ended.log[-3000:]
    assert "Traceback" not in ended.log
    for path, (name, pixels) in damaged.items():
        is_found = f"{path.relative_to(tmp_path)}: " in ended.log
        if is_found:
            count.note("found")
            count.add(True, "")
            continue
        values = read_raster(path).values
        if values.shape == pixels.shape and (values == pixels).all():
            count.note("with all pixels as before")
            count.add(True, "")
        elif name in CHECKED:
            count.add(name == "deflate.tif" and _is_in_header(path), f"{path}: read as if good")
        else:
            count.note("whose damage no decoder can see")
            count.add(True, "")


def _is_in_header(path: Path) -> bool:
    """Whether all strips and tiles are whole: then tags were changed, which have no checksum."""
    from network.rasters.whole import check_bytes

    try:
        check_bytes(path, "GTiff")
    except InputError:
        return False
    return True


def test_mutated_patches(launcher, project, tmp_path, trials, count):
    """Damaged patches, which have a list of checksums, seen by the doctor."""
    raw = tmp_path / "raw"
    rng = np.random.default_rng(1)
    tile, palette = "top_mosaic_09cm_area30", np.array([(255, 255, 255), (0, 0, 255), (0, 255, 0)])
    image = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    labels = np.kron(rng.integers(0, 3, (8, 8)), np.ones((32, 32), int))
    write_image(raw / f"images/{tile}.tif", image)
    write_image(raw / f"masks/{tile}.tif", palette[labels].astype(np.uint8))
    size = ("--split-size", "64", "--stride", "16", "--mode", "val", "--workers", "1")
    for split in ("train",):
        out = f"data/{split}"
        ended = launcher.run(
            tmp_path, "tools/vaihingen_patch_split.py", *size,
            *("--img-dir", "raw/images", "--mask-dir", "raw/masks"),
            *("--output-img-dir", f"{out}/images_1024", "--output-mask-dir", f"{out}/masks_1024"),
        )  # fmt: skip
        assert ended.code == 0, ended.log
    patches = sorted((tmp_path / "data/train/images_1024").glob("*.tif"))
    chosen = [patches[n] for n in rng.permutation(len(patches))[: trials(100)]]
    for path in chosen:
        good = path.read_bytes()
        while path.read_bytes() == good:
            path.write_bytes(mutate(good, rng))
    argv = ["tools/check_data.py", "-c", str(_vaihingen_config()), "--splits", "train"]
    ended = launcher.run(tmp_path, *argv, "--workers", "1", "data.root=data")
    assert ended.code == 1, ended.log[-3000:]
    assert "Traceback" not in ended.log
    for path in chosen:
        count.add(f"{path.relative_to(tmp_path)}: " in ended.log, f"{path}: not found")


def _vaihingen_config() -> Path:
    return Path(__file__).resolve().parents[2] / "config/vaihingen/bicor.py"


def test_training_on_mutated(launcher, project, tmp_path, trials, count):
    """Trainings on damaged images: they end with one line, or still decode the image and use it."""
    (tmp_path / "fields.py").symlink_to(project / "fields.py")
    rng = np.random.default_rng(2)
    for number in range(trials(30)):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        shutil.copytree(project / "data/val", tmp_path / "data/val")
        shutil.copytree(project / "data/train", tmp_path / "data/train")
        kind = "masks" if number % 3 == 0 else "images"
        path = sorted((tmp_path / f"data/train/{kind}").iterdir())[0]
        path.write_bytes(mutate(path.read_bytes(), rng))
        ended = launcher.run(
            tmp_path, "train.py", "-c", "fields.py", "--accelerator", "cpu", "data.workers=0",
            "optim.epochs=1", "data.mosaic=1", f"name=run{number}", timeout=60,
        )  # fmt: skip
        count.note("refused" if ended.code == 2 else "trained")
        held = ended.code == 0 or (ended.error is not None and path.name in ended.error)
        count.add(held and "Traceback" not in ended.log, ended.log[-1500:])


def png(width: int, height: int, pixels: bytes, color: int = 2) -> bytes:
    """A PNG whose header may say what it likes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def hostile() -> dict[str, bytes]:
    """Images of strangers, by file name."""
    good = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(good, "JPEG")
    jpeg = bytearray(good.getvalue())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    tiff = cv2.imencode(".tif", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    start = struct.unpack_from("<I", tiff, 4)[0]
    huge = bytearray(tiff)
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", tiff, start)[0], 12):
        if struct.unpack_from("<H", tiff, entry)[0] in (256, 257):
            struct.pack_into("<HII", huge, entry + 2, 4, 1, 100_000)
    many = bytearray(tiff)
    struct.pack_into("<H", many, start, 65_535)
    vrt = b'<VRTDataset rasterXSize="9" rasterYSize="9"><SRS>/etc/passwd</SRS></VRTDataset>'
    return {
        "claims_100000.png": png(100_000, 100_000, bytes(1000)),
        "claims_2_31.png": png(2**31 - 1, 2**31 - 1, bytes(1000)),
        "claims_nothing.png": png(0, 0, b""),
        "too_few_pixels.png": png(64, 64, bytes(1000)),
        "lies.jpg": bytes(jpeg),
        "claims_100000.tif": bytes(huge),
        "many_tags.tif": bytes(many),
        "vrt.tif": vrt,
        "vrt.png": vrt,
        "empty.png": b"",
        "short.jpg": b"\xff\xd8\xff",
        "text.tif": b"II*\0" + b"no directory" * 9,
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "zip.png": b"PK\x03\x04" + bytes(99),
    }


@pytest.mark.parametrize("command", ["predict", "train"])
def test_hostile(launcher, project, tmp_path, command, trials, count):
    """Hostile images in predictions and trainings."""
    (tmp_path / "fields.py").symlink_to(project / "fields.py")
    files = hostile()
    names = sorted(files)[:: max(1, len(files) // trials(len(files)))]
    for number, name in enumerate(names):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        shutil.copytree(project / "data/train", tmp_path / "data/train")
        shutil.copytree(project / "data/val", tmp_path / "data/val")
        images, masks = tmp_path / "data/train/images", tmp_path / "data/train/masks"
        (images / name).write_bytes(files[name])
        write_image(masks / f"{Path(name).stem}.png", np.zeros((64, 64), np.uint8))
        argv = ["train.py", "-c", "fields.py", "--accelerator", "cpu", f"name=run{number}"]
        if command == "predict":
            argv = ["predict.py", "-c", "fields.py", "-i", "data/train/images", "--device", "cpu"]
            argv += ["-o", f"out{number}", "--checkpoint", str(project / "weights.ckpt")]
        ended = launcher.run(tmp_path, *argv, timeout=60)
        text = f"{name}: code {ended.code} in {ended.seconds:.0f} s {ended.log[-1500:]}"
        if command == "predict":  # it is left out and told, and the others are done
            others = len(list(images.iterdir())) - 1
            masks = list(tmp_path.glob(f"out{number}/*.png"))
            held = ended.code == 3 and f"{name}: " in ended.log and "Traceback" not in ended.log
            count.add(held and ended.seconds < 20 and len(masks) == others, text)
        else:
            held = ended.error is not None and name in ended.error and ended.seconds < 20
            count.add(held, text)
