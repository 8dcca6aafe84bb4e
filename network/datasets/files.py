"""Finding, reading and writing image and mask files."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from network.datasets.headers import check_bands, read_header
from network.datasets.info import DatasetInfo
from network.errors import InputError
from network.writing import replacing

TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (".png", *TIFF_SUFFIXES, ".jpg", ".jpeg")

ENCODING = {".tif": (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW), ".png": ()}
"""How images are compressed, all without loss.

Of the codecs that OpenCV reads, LZW gives files of PNG's size that are decoded in 60 % of its time;
uncompressed files are decoded in an eighth of that but are up to twice as large
(docs/performance.md). Label masks are PNG, a fortieth of their pixels' size.
"""

SHOWN_PERCENTILES = 2, 98
"""Of each band, between which 16 bits are shown."""

# A tile need not know where on Earth it lies.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
# OpenCV's warnings are of the tags that say so where it does; what it cannot read is our error.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

# Whole ISPRS tiles are larger than Pillow's guard against decompression bombs allows.
Image.MAX_IMAGE_PIXELS = None


def list_images(folder: Path) -> dict[str, Path]:
    """Image files of ``folder`` by stem, in name order.

    Raises:
        InputError: the folder does not exist or holds no image; two images have one stem.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; give the folder that it is in")
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


def read_image(path: Path, info: DatasetInfo) -> np.ndarray:
    """Image file to (h, w, bands) uint8 or uint16, as ``info`` says.

    Raises:
        InputError: the file cannot be decoded, or has other bands or bits.
    """
    if info.is_rgb8:
        return read_rgb(path)
    image = _read_raster(path)
    check_bands(path, image.shape[2], str(image.dtype), info)
    return image


def read_rgb(path: Path) -> np.ndarray:
    """Image or colored mask to RGB (h, w, 3) uint8; more bands are left out, gray is repeated.

    Raises:
        InputError: the file cannot be decoded, or has more than 8 bits a channel.
    """
    image = None
    if not _has_gray_bands(path):
        # As stored: an EXIF rotation would turn the image under its mask.
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imread(str(path), flags)
    if image is None:
        image = _read_raster(path)
        image = np.ascontiguousarray(image[..., :3] if image.shape[2] > 2 else image[..., [0] * 3])
    if image.dtype != np.uint8:
        raise InputError(f"{path}: {image.dtype} pixels; convert the images to 8 bits a channel")
    return image


def _has_gray_bands(path: Path) -> bool:
    """Whether it is a TIFF of several bands called gray: OpenCV would read the first alone."""
    if path.suffix.lower() not in TIFF_SUFFIXES or not path.is_file():
        return False
    header = read_header(path)
    return header.bands > 1 and header.color != "RGB"


def _read_raster(path: Path) -> np.ndarray:
    """Any raster to (h, w, bands)."""
    try:
        with rasterio.open(path) as file:
            image = file.read()
    except (RasterioError, OSError) as error:
        raise InputError(
            f"{path}: unreadable or truncated image; copy or extract it again"
        ) from error
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def copy_georeference(image: Path, mask: Path) -> None:
    """Give the PNG ``mask`` the map coordinates of ``image``, in ``MASK.png.aux.xml`` beside it.

    That is where GDAL and what is built on it look for them. Without any in the image there is no
    such file.
    """
    target = Path(f"{mask}.aux.xml")
    with rasterio.open(image) as file:
        place = {"crs": file.crs, "transform": file.transform}
    if place["crs"] is None and place["transform"].is_identity:
        target.unlink(missing_ok=True)
        return
    # That of a single pixel is the same; opened for it, GDAL would write the whole mask anew.
    with TemporaryDirectory(dir=mask.parent) as folder:
        pixel = Path(folder) / "pixel.png"
        options = {"driver": "PNG", "height": 1, "width": 1, "count": 1, "dtype": "uint8"}
        with rasterio.open(pixel, "w", **options, **place) as file:
            file.write(np.zeros((1, 1, 1), np.uint8))
        Path(f"{pixel}.aux.xml").replace(target)


def read_photo(path: Path, info: DatasetInfo) -> np.ndarray:
    """Image file as it is shown, RGB (h, w, 3) uint8: three of its bands, 16 bits stretched.

    Raises:
        InputError: see :func:`read_image`.
    """
    shown = np.ascontiguousarray(read_image(path, info)[..., list(info.rgb_bands)])
    if info.bits == 8:
        return shown
    low, high = np.percentile(shown, SHOWN_PERCENTILES, axis=(0, 1))
    return (255 * np.clip((shown - low) / np.maximum(high - low, 1), 0, 1)).astype(np.uint8)


def read_mask(
    path: Path, info: DatasetInfo, *, unknown: str = "error", option: str | None = None
) -> np.ndarray:
    """Index, color-table or RGB mask file to labels (h, w) uint8.

    Args:
        unknown, option: see :func:`read_colored_mask`.

    Raises:
        InputError: the file cannot be decoded, or holds a label or a color that is no class.
    """
    try:
        with Image.open(path) as image:
            # The indices of a color table are the labels; OpenCV would expand them to colors.
            is_index = image.mode in ("L", "P", "1", "I", "I;16")
            labels = np.asarray(image) if is_index else None
    except (OSError, SyntaxError) as error:
        # Pillow does not know every TIFF.
        if path.suffix.lower() not in TIFF_SUFFIXES or read_header(path).bands < 3:
            raise InputError(
                f"{path}: unreadable or truncated mask; copy or extract it again"
            ) from error
        labels = None
    if labels is None:
        return read_colored_mask(path, info, unknown=unknown, option=option)
    check_labels(labels, info, str(path))
    return labels.astype(np.uint8)


def read_colored_mask(
    path: Path, info: DatasetInfo, *, unknown: str = "error", option: str | None = None
) -> np.ndarray:
    """RGB mask file to labels (h, w) uint8.

    Args:
        unknown: what becomes of colors that are no class, see :meth:`DatasetInfo.from_rgb`.
        option: how the user chooses that, for the error message.

    Raises:
        InputError: the file cannot be decoded, or holds a color that is no class.
    """
    rgb = read_rgb(path)
    try:
        return info.from_rgb(rgb, str(path), unknown=unknown)
    except InputError as error:
        if option is None:
            raise
        raise InputError(
            f"{error}; correct the mask, or give {option}: nearest takes the nearest class (lossy "
            "masks), ignore leaves these pixels out"
        ) from error


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


def write_image(path: Path, image: np.ndarray) -> None:
    """Write labels (h, w) or RGB (h, w, 3) uint8; the file has its name only once it is whole.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(path.suffix, bgr, ENCODING.get(path.suffix, ()))[1]
    with replacing(path, sweep=False) as partial:
        partial.write_bytes(encoded.data)
