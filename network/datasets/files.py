"""Finding, checking, reading and writing image and mask files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from network.datasets.info import DatasetInfo
from network.errors import InputError

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")

ENCODING = {".tif": (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW), ".png": ()}
"""How images are compressed, all without loss.

Of the codecs that OpenCV reads, LZW gives files of PNG's size that are decoded in 60 % of its time;
uncompressed files are decoded in an eighth of that but are up to twice as large
(docs/performance.md). Label masks are PNG, a fortieth of their pixels' size.
"""

# Whole ISPRS tiles are larger than Pillow's guard against decompression bombs allows.
Image.MAX_IMAGE_PIXELS = None


def list_images(folder: Path) -> dict[str, Path]:
    """Image files of ``folder`` by stem, in name order.

    Raises:
        InputError: the folder does not exist or holds no image; two images have one stem.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; see 'Data' in README.md for the folders")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.stem in files:
            raise InputError(f"{path}: same name as {files[path.stem].name}; keep one of them")
        files[path.stem] = path
    if not files:
        raise InputError(f"{folder}: no image in this folder ({', '.join(IMAGE_SUFFIXES)})")
    return files


def read_image(path: Path) -> np.ndarray:
    """Image file to RGB (h, w, 3) uint8.

    Raises:
        InputError: the file cannot be decoded, or has more than 8 bits a channel.
    """
    # As stored: an EXIF rotation would turn the image under its mask.
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imread(str(path), flags)
    if image is None:
        raise InputError(f"{path}: unreadable or truncated image; copy or extract it again")
    if image.dtype != np.uint8:
        raise InputError(f"{path}: {image.dtype} pixels; convert the images to 8 bits a channel")
    return image


def read_mask(path: Path, info: DatasetInfo) -> np.ndarray:
    """Index, color-table or RGB mask file to labels (h, w) uint8.

    Raises:
        InputError: the file cannot be decoded, or holds a label or a color that is no class.
    """
    try:
        with Image.open(path) as image:
            # The indices of a color table are the labels; OpenCV would expand them to colors.
            is_index = image.mode in ("L", "P", "1", "I", "I;16")
            labels = np.asarray(image) if is_index else None
    except (OSError, SyntaxError) as error:
        raise InputError(
            f"{path}: unreadable or truncated mask; copy or extract it again"
        ) from error
    if labels is None:
        return info.from_rgb(read_image(path), str(path))
    check_labels(labels, info, str(path))
    return labels.astype(np.uint8)


def check_labels(labels: np.ndarray, info: DatasetInfo, source: str) -> None:
    """Raise an :class:`InputError` if a label is neither a class of ``info`` nor ignored."""
    wrong = (labels >= info.num_classes) & (labels != info.ignore_index)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise InputError(
            f"{source}: label {labels[row, column]} at row {row}, column {column} is out of range "
            f"({int(wrong.sum())} pixels); {info.name} has labels 0 to {info.num_classes - 1} and "
            f"{info.ignore_index} to ignore"
        )


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header, after checking that the file has its end.

    Raises:
        InputError: not an image, or the file stops before its pixels do.
    """
    remedy = "copy or extract it again"
    try:
        if _is_cut_off(path):
            raise InputError(f"{path}: truncated image; {remedy}")
        with Image.open(path) as image:
            width, height = image.size
            if image.format == "TIFF" and _end_of_pixels(image) > path.stat().st_size:
                raise InputError(f"{path}: truncated image; {remedy}")
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image, or its header is damaged; {remedy}") from error
    except OSError as error:
        raise InputError(f"{path}: unreadable image ({error}); {remedy}") from error
    return height, width


def _is_cut_off(path: Path) -> bool:
    """Whether the end of a PNG or JPEG, or the directory of a TIFF, is missing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(max(0, size - 64))
        end = file.read()
    if start == b"\x89PNG\r\n\x1a\n":
        return b"IEND\xaeB`\x82" not in end
    if start.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in end
    if start[:4] in (b"II*\0", b"MM\0*"):
        byte_order = "little" if start.startswith(b"II") else "big"
        return int.from_bytes(start[4:], byte_order) + 2 > size
    return False


def _end_of_pixels(image: Image.Image) -> int:
    """Where the last strip or tile of a TIFF ends, in bytes."""
    tags = image.tag_v2
    for offsets, counts in ((273, 279), (324, 325)):  # of strips, of tiles
        if offsets in tags and counts in tags:
            return max(o + c for o, c in zip(tags[offsets], tags[counts], strict=True))
    return 0


def write_image(path: Path, image: np.ndarray) -> None:
    """Write labels (h, w) or RGB (h, w, 3) uint8; the file has its name only once it is whole.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(path.suffix, bgr, ENCODING.get(path.suffix, ()))[1]
    with replacing(path) as partial:
        partial.write_bytes(encoded.data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside the file ``path`` that takes its name when the block succeeds.

    After an error, what bore the name is untouched and nothing is left behind.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
