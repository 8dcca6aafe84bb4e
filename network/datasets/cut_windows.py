"""Windows of scenes and of other large images as small images of their own, for figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from network.datasets.files import write_image
from network.datasets.on_earth.label_raster import CELL
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.datasets.window_reader import WindowReader
from network.datasets.windows import Window, around, covering_windows
from network.rasters.memory import raster_in_memory
from network.writing import writing

SIDE = 1024
"""Side of the windows that figures show, in pixels."""


def everything(sample: Sample) -> Window:
    """Return all rows and columns of an image."""
    height, width = sample.size
    return slice(0, height), slice(0, width)


def labeled_window(sample: Sample, info: DatasetInfo, side: int = SIDE) -> Window:
    """Choose a window of an image that has many labels; without labels it is the middle.

    Args:
        sample: the image.
        info: description of the data set.
        side: side of the window in pixels.
    """
    height, width = sample.size
    row, column = height // 2, width // 2
    if sample.scene is not None and sample.scene.labels is not None:
        labeled = sample.scene.labels.cells.sum(axis=2)
        cell = np.unravel_index(labeled.argmax(), labeled.shape)
        row, column = (CELL * int(number) + CELL // 2 for number in cell)
    elif sample.masks:
        reader, mask = WindowReader(info), next(iter(sample.masks.values()))
        windows = list(covering_windows(height, width, (side, side), (side, side)))
        counts = [
            np.count_nonzero(reader.mask(mask, window) != info.ignore_index) for window in windows
        ]
        return windows[int(np.argmax(counts))]
    return around(row, side, height), around(column, side, width)


def cut_window(
    sample: Sample, window: Window, info: DatasetInfo, folder: Path, name: str | None = None
) -> Sample:
    """Cut a window out of an image, and write it as an image with its masks.

    Args:
        sample: the image.
        window: rows and columns.
        info: description of the data set.
        folder: folder of the files.
        name: name of the window; by default that of the image.

    Returns:
        The window as a sample of its own. Its masks hold labels, so ``info.decoded`` describes
        them.
    """
    name, reader = name or sample.name, WindowReader(info)
    values, valid = reader.image(sample, window)
    image = folder / f"{name}.tif"
    with writing(image), raster_in_memory(values, valid) as memory:
        image.write_bytes(memory.getbuffer())
    masks = {}
    for kind, path in sample.masks.items():
        masks[kind] = folder / f"{name}_{kind}.png"
        labels = reader.mask_of(sample, path, window)
        write_image(masks[kind], np.ascontiguousarray(labels))
    size = values.shape[0], values.shape[1]
    return replace(sample, name=name, image=image, size=size, masks=masks, scene=None, part=None)
