"""Conversion of LoveDA's raw masks to the labels for training and scoring.

Raw masks have 0 for no data and 1 to 7 for the classes. Converted masks have 0 to 6 for the classes
and 7 for ignored pixels. The values alone do not tell which kind a mask is, and a second conversion
would shift every class unnoticed, so converted files carry a mark in a PNG text chunk.
"""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from network.cluster import Workers
from network.datasets.files import list_images, lossy_mask, read_mask_raster
from network.datasets.folder_jobs import check_folders, check_replaceable, replacing_folders
from network.datasets.info import LOVEDA
from network.datasets.workers import map_parallel
from network.errors import InputError

MARK_KEY = "labels"
MARK = "LoveDA train ids, 7 = ignore"

_FROM_RAW = np.array([LOVEDA.ignore_index, *range(LOVEDA.num_classes)], np.uint8)
_CONVERTED_FOLDERS = ("_convert", "_convert_rgb")


def convert_masks(mask_dir: Path, output_dir: Path, *, workers: Workers = 1) -> int:
    """Convert a folder of raw masks and return their number.

    PNG files of labels go to ``output_dir`` and those of RGB colors to ``{output_dir}_rgb``. Both
    folders are replaced together, after every mask is written.

    Args:
        mask_dir: folder of the raw masks.
        output_dir: folder of the converted masks.
        workers: number of processes, or a cluster.

    Raises:
        InputError: a mask is converted already, has several channels or has a value above 7; or a
            folder cannot be replaced. Nothing is changed then.
    """
    outputs = (output_dir, rgb_folder(output_dir))
    if mask_dir.resolve().name.endswith(_CONVERTED_FOLDERS):
        raise InputError(
            mask_dir,
            "these masks are converted already, as the name says",
            "give the raw masks (masks_png)",
        )
    check_folders((mask_dir,), outputs)
    for folder in outputs:
        check_replaceable(folder, _is_ours)
    masks = list(list_images(mask_dir).values())
    with replacing_folders(*outputs) as (index_to, rgb_to):
        convert = partial(_convert_file, index_to, rgb_to)
        map_parallel(convert, masks, workers=workers, unit="mask")
    return len(masks)


def is_converted(mask_dir: Path, output_dir: Path) -> bool:
    """Tell whether the folders of converted masks have exactly the names of the raw masks."""
    outputs = (output_dir, rgb_folder(output_dir))
    if not all(folder.is_dir() for folder in outputs):
        return False
    names = {f"{stem}.png" for stem in list_images(mask_dir)}
    made = [{path.name for path in folder.iterdir() if path.name[0] != "."} for folder in outputs]
    return all(found == names for found in made)


def rgb_folder(output_dir: Path) -> Path:
    """Name the folder of RGB masks that belongs to a folder of converted masks."""
    return output_dir.parent / f"{output_dir.name}_rgb"


def read_raw_mask(path: Path) -> np.ndarray:
    """Read a raw mask file as labels (h, w) uint8, 0 to 6 for the classes and 7 for ignored pixels.

    Raises:
        InputError: the file cannot be read, is converted already, has several channels, or has a
            value above 7.
    """
    try:
        with Image.open(path) as image:
            if image.info.get(MARK_KEY) == MARK:
                raise InputError(
                    path,
                    "this mask is converted already, and converting it again would shift every "
                    "class",
                    "give the raw masks (masks_png)",
                )
            # The indices of a color table are the labels.
            if image.mode not in ("L", "P"):
                raise InputError(
                    path,
                    "expected one 8-bit channel of labels 0 to 7, got an image of mode "
                    f"{image.mode}",
                    "give the raw masks (masks_png)",
                )
    except (OSError, SyntaxError) as error:
        raise InputError(
            path, "unreadable or truncated mask", "copy or extract it again"
        ) from error
    raster = read_mask_raster(path, LOVEDA)
    if raster.header.is_lossy:
        raise lossy_mask(path)
    raw = raster.values[..., 0]
    if raster.valid is not None:
        raw = np.where(raster.valid, raw, 0)
    wrong = raw >= len(_FROM_RAW)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise InputError(
            path,
            f"value {raw[row, column]} at row {row}, column {column} is out of range "
            f"({int(wrong.sum())} pixels); raw LoveDA masks hold 0 to {len(_FROM_RAW) - 1}",
            "give the raw masks (masks_png)",
        )
    return _FROM_RAW[raw]


def _convert_file(index_to: Path, rgb_to: Path, path: Path) -> None:
    """Convert one mask file; this runs in a worker."""
    labels = read_raw_mask(path)
    mark = PngInfo()
    mark.add_text(MARK_KEY, MARK)
    Image.fromarray(labels).save(index_to / f"{path.stem}.png", pnginfo=mark)
    Image.fromarray(LOVEDA.to_rgb(labels)).save(rgb_to / f"{path.stem}.png", pnginfo=mark)


def _is_ours(path: Path) -> bool:
    """Tell whether a file is a converted mask, by its mark or by GeoSeg's folder name."""
    if not path.is_file() or path.suffix != ".png":
        return False
    if path.stem.isdecimal() and path.parent.name.endswith(_CONVERTED_FOLDERS):
        return True
    try:
        with Image.open(path) as image:
            return image.info.get(MARK_KEY) == MARK
    except (OSError, SyntaxError):
        return False
