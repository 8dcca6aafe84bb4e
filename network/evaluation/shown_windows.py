"""Windows of scenes and of other large images, with their predictions, as files for figures."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network.datasets.cut_windows import cut_window, everything, labeled_window
from network.datasets.files import write_image
from network.datasets.scene_windows import is_large
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.datasets.window_reader import WindowReader
from network.datasets.windows import Window
from network.errors import InputError
from network.settings import Data


@dataclass(frozen=True)
class Shown:
    """Images that a figure shows, and the folder of their predictions ``NAME.png``.

    Attributes:
        samples: the images.
        predictions: folder of the predicted masks.
        info: description of their masks.
    """

    samples: list[Sample]
    predictions: Path
    info: DatasetInfo


def shown_kind(kinds: Collection[str]) -> str | None:
    """Choose the kind of labels that figures show; full masks show more than eroded ones.

    Args:
        kinds: kinds of labels, see :class:`network.datasets.segmentation.Sample`.

    Returns:
        The kind; None if there are no labels.
    """
    return next((kind for kind in ("full", *kinds) if kind in kinds), None)


def prediction_of(sample: Sample, predictions: Path) -> Path:
    """Find the prediction of an image: the map of a scene, or the mask of another image.

    Args:
        sample: the image.
        predictions: folder that a test has written.

    Raises:
        InputError: there is none.
    """
    path = predictions / f"{sample.name}.{'tif' if sample.scene else 'png'}"
    if not path.is_file():
        raise InputError(path, "no prediction of this image", "run the test script first")
    return path


def has_large(samples: Sequence[Sample], info: DatasetInfo, data: Data) -> bool:
    """Tell whether some images are shown by windows: scenes, and those of ``data.windows_above``.

    Args:
        samples: the images.
        info: description of the data set.
        data: settings of the data.
    """
    return any(sample.scene or is_large(sample, info, data) for sample in samples)


def shown_by_windows(
    samples: Sequence[Sample], predictions: Path, info: DatasetInfo, data: Data, folder: Path
) -> Shown:
    """Cut a window with many labels out of each large image and out of its prediction.

    Args:
        samples: the images.
        predictions: folder that a test has written.
        info: description of the data set.
        data: settings of the data.
        folder: an empty folder for the windows.

    Returns:
        The windows, and the other images as they are.

    Raises:
        InputError: a prediction is missing, or a file is damaged.
    """
    if not has_large(samples, info, data):
        return Shown(list(samples), predictions, info)
    cut, results = [], folder / "predictions"
    results.mkdir()
    for sample in samples:
        is_cut = has_large([sample], info, data)
        window = labeled_window(sample, info) if is_cut else everything(sample)
        cut.append(cut_window(sample, window, info, folder))
        cut_prediction(sample, predictions, window, info, results / f"{sample.name}.png")
    return Shown(cut, results, info.decoded)


def cut_prediction(
    sample: Sample, predictions: Path, window: Window, info: DatasetInfo, target: Path
) -> None:
    """Cut a window out of a prediction, and write it as a mask of labels.

    Args:
        sample: the image.
        predictions: folder that a test has written.
        window: rows and columns.
        info: description of the data set.
        target: the PNG to write.

    Raises:
        InputError: there is no prediction, or it does not have the size of its image.
    """
    path, reader = prediction_of(sample, predictions), WindowReader(info.decoded)
    check_prediction(path, sample, reader)
    cut_mask(path, window, reader, target)


def cut_mask(path: Path, window: Window, reader: WindowReader, target: Path) -> None:
    """Cut a window out of a mask, and write it as a mask of labels.

    Args:
        path: the mask.
        window: rows and columns.
        reader: reader of such masks.
        target: the PNG to write.
    """
    write_image(target, np.ascontiguousarray(reader.mask(path, window)))


def check_prediction(path: Path, sample: Sample, reader: WindowReader) -> None:
    """Raise an :class:`InputError` if a prediction does not have the size of its image.

    Args:
        path: file of the prediction.
        sample: the image.
        reader: reader of predictions.
    """
    if reader.size(path) != sample.size:
        raise InputError(
            path,
            f"{reader.size(path)} pixels, its image {sample.image} has {sample.size}",
            "run the test script again",
        )
