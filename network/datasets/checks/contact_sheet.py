"""HTML page of a diagnosis with findings, classes and thumbnails, in one file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader

from network.datasets.checks.doctor import Diagnosis
from network.datasets.checks.findings import Examined
from network.datasets.files import image_of, read_mask, read_photo, to_photo
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import is_read_in_windows
from network.datasets.thumbnails import mask_uri, photo_uri
from network.datasets.window_reader import WindowReader, strips
from network.datasets.windows import Window
from network.errors import InputError
from network.rasters.display import display_of
from network.rasters.shrink import Opened, shrink
from network.rasters.view import view_of
from network.writing import replacing

THUMBNAIL = 128
IMAGES_PER_SPLIT = 48
TEMPLATES = Path(__file__).with_name("templates")


def write_contact_sheet(diagnosis: Diagnosis, splits: Sequence[str], path: Path) -> None:
    """Write an HTML page that shows every image with findings, and some of the others.

    Args:
        diagnosis: result of the examination.
        splits: splits to show.
        path: the HTML file to write.

    Raises:
        InputError: the file cannot be written.
    """
    info = diagnosis.info
    sections = []
    for split in splits:
        images = diagnosis.of_split(split)
        counts = diagnosis.pixels(split)
        valid = max(1, counts[:-1].sum())
        classes = [
            {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*color), "share": 100 * n / valid}
            for name, color, n in zip(info.classes, info.palette, counts, strict=False)
        ]
        shown = [_card(diagnosis, image) for image in _selection(images)]
        sections.append({"name": split, "count": len(images), "classes": classes, "shown": shown})
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    page = environment.get_template("contact_sheet.html").render(
        title=f"{info.name} in {diagnosis.root}", findings=diagnosis.findings, sections=sections
    )
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _selection(images: Sequence[Examined]) -> list[Examined]:
    """Choose the images with findings, and others that are evenly spread over the split."""
    step = max(1, len(images) // IMAGES_PER_SPLIT)
    return [image for i, image in enumerate(images) if image.findings or i % step == 0]


def _card(diagnosis: Diagnosis, image: Examined) -> dict:
    pictures = []
    try:
        pictures.append(photo_uri(_photo(image, diagnosis.info), THUMBNAIL))
        for path in list(image.masks.values())[:1]:
            labels = _labels(path, image, diagnosis.info)
            pictures.append(mask_uri(diagnosis.info.to_rgb(labels), THUMBNAIL))
    except InputError:
        pass  # already among its findings
    return {"name": image.image.name, "pictures": pictures, "findings": image.findings}


def _photo(image: Examined, info: DatasetInfo) -> np.ndarray:
    """Read an image for display; of a scene, which may be large, a small copy."""
    if image.scenes is None:
        return _large_photo(image, info) if _is_large(image) else read_photo(image.image, info)
    view = view_of(image.image)
    used = image.scenes.bands or range(1, view.bands + 1)
    bands = tuple(used[band] for band in info.rgb_bands)
    with view.opened() as file:
        values, valid = _small(file, bands, image, is_labels=False)
        shown = display_of(view, bands, file).to_rgb(values)
    return np.where(valid[..., None], shown, 0).astype(np.uint8)


def _labels(path: Path, image: Examined, info: DatasetInfo) -> np.ndarray:
    if image.scenes is None:
        return _large_mask(path, image, info) if _is_large(image) else read_mask(path, info)
    with view_of(path, is_labels=True).opened() as file:
        values, valid = _small(file, (1,), image, is_labels=True)
    return np.where(valid, values[..., 0], info.ignore_index).astype(np.uint8)


def _is_large(image: Examined) -> bool:
    return image.size is not None and is_read_in_windows(image.size)


def _large_photo(image: Examined, info: DatasetInfo) -> np.ndarray:
    """Read a large image of a folder for display, as a few of its rows and columns."""
    reader, parts, known = WindowReader(info), [], []
    for window, rows, columns in _thinned(image):
        part, valid = image_of(reader.image_raster(image.image, window), info)
        shown = np.ones(part.shape[:2], bool) if valid is None else valid
        parts.append(part[rows, columns].copy())  # a view would keep the whole strip in memory
        known.append(shown[rows, columns].copy())
    return to_photo(np.concatenate(parts), np.concatenate(known), info)


def _large_mask(path: Path, image: Examined, info: DatasetInfo) -> np.ndarray:
    """Read the labels of a large mask of a folder, as a few of its rows and columns."""
    reader = WindowReader(info)
    parts = [
        reader.mask(path, window)[rows, columns].copy() for window, rows, columns in _thinned(image)
    ]
    return np.concatenate(parts)


def _thinned(image: Examined) -> Iterator[tuple[Window, slice, slice]]:
    """Cut a large image into strips, with the few rows and columns of each that are shown."""
    assert image.size is not None
    step = max(1, max(image.size) // (4 * THUMBNAIL))
    for rows, columns in strips(image.size):
        yield (rows, columns), slice(-rows.start % step, None, step), slice(None, None, step)


def _small(
    file: Opened, bands: tuple[int, ...], image: Examined, *, is_labels: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Read an image or its labels in the size of a thumbnail."""
    scale = max(1.0, max(file.height, file.width) / THUMBNAIL)
    size = max(1, round(file.height / scale)), max(1, round(file.width / scale))
    return shrink(file, list(bands), *size, is_labels=is_labels, what=image.image.name)
