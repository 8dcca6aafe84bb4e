"""Prediction of images, whatever turns their pixels into scores: a network in torch, or a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np

from network.arrays import Array, arrays_of
from network.datasets.files import write_mask
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.rasters.pixels import finite_pixels, network_values
from network.tta import (
    TTA_NAMES,
    build_views,
    logits_and_disagreement,
    mean_logits,
    patched_logits,
)

PATCH, OVERLAP = 1024, 128
"""Side and overlap of the patches that larger images are predicted in, in pixels."""

_PIXELS_AT_ONCE = 2**22


class Engine(Protocol):
    """Turns a batch of pixels into scores of the classes.

    Scores are logits up to a number that is the same for all classes of a pixel. So their softmax,
    their largest class and their means over views have the same meaning for all engines.
    """

    @property
    def is_on_cpu(self) -> bool:
        """Whether the CPU computes."""
        ...

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width to which all images are filled up; None for images of any size."""
        ...

    def prepare(self, images: Array) -> Array:
        """Bring images into the form that views are made of, which may be flipped and resized.

        Args:
            images: (b, bands, H, W) pixel values on the CPU, see
                :func:`network.rasters.pixels.network_values`.

        Returns:
            (b, bands, H, W) of floats, on the device.
        """
        ...

    def scores(self, images: Array) -> Array:
        """Compute the scores.

        Args:
            images: (b, bands, H, W) in the form that :meth:`prepare` gives.

        Returns:
            (b, k, H, W) on the device.
        """
        ...


@dataclass(frozen=True)
class Prediction:
    """The prediction of a network for one image.

    Attributes:
        info: description of the data set, with classes and palette.
        labels: (h, w) uint8, the most probable class of each pixel.
        confidence: (h, w) float32, the probability of this class, 0 to 1.
        probabilities: (k, h, w) float32, probabilities of all classes; None unless requested.
        heatmaps: response of each layer to each class, (k, h', w') float32 with the sum 1 over the
            classes, at a quarter of the image's size; None unless requested, and empty for a
            network without heatmaps.
        valid: (h, w) bool, where the image has data; None if it has data everywhere.
    """

    info: DatasetInfo
    labels: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray | None = None
    heatmaps: list[np.ndarray] | None = None
    valid: np.ndarray | None = None

    def to_rgb(self) -> np.ndarray:
        """Convert the labels to the colors of their classes, (h, w, 3) uint8."""
        return self.info.to_rgb(self.labels)

    def save(self, path: str | Path, *, rgb: bool = False) -> None:
        """Write the mask as a PNG.

        Args:
            path: path of the file.
            rgb: whether to write the colors of the classes instead of their labels.

        Raises:
            InputError: the name has another ending, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise InputError(path, "masks are written as PNG", "choose a name that ends in .png")
        write_mask(path, self.labels, self.info, rgb=rgb, valid=self.valid)


class PredictionOptions(TypedDict, total=False):
    """How images are predicted; see :class:`ImagePredictor`."""

    tta: str
    patch: tuple[int, int] | None
    overlap: int
    batch_size: int
    ground_resolution: float | None


class WindowPredictor(Protocol):
    """Predicts the windows of a map.

    This is an :class:`ImagePredictor`, or in the service an object that predicts the windows of
    several requests together.
    """

    @property
    def info(self) -> DatasetInfo:
        """Description of images and classes."""
        ...

    def logits(self, images: Array) -> Array:
        """Compute the mean logits of windows over the views, see :meth:`ImagePredictor.logits`."""
        ...


class ImagePredictor:
    """An engine and all processing of its images.

    Args:
        engine: turns pixels into scores.
        info: description of images and classes.
        tta: test-time augmentation, a name that :func:`network.tta.build_views` knows.
        patch: height and width of the patches that larger images are predicted in; None predicts
            images whole.
        overlap: smallest overlap of neighboring patches, in pixels.
        batch_size: number of patches that are predicted at once. A batch of views has at most as
            many pixels as a batch of patches, or is a single view.
        ground_resolution: side of a pixel of the training images in meters; None if unknown.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        engine: Engine,
        info: DatasetInfo,
        *,
        tta: str = "none",
        patch: tuple[int, int] | None = (PATCH, PATCH),
        overlap: int = OVERLAP,
        batch_size: int = 1,
        ground_resolution: float | None = None,
    ):
        if tta not in TTA_NAMES:
            raise InputError(f"tta={tta}", f"must be one of {', '.join(TTA_NAMES)}")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}", "must be at least 1")
        if patch and (min(patch) < 1 or not 0 <= overlap < min(patch)):
            raise InputError(
                f"patch={patch}, overlap={overlap}",
                "patches must have at least 1 pixel, and overlap by less than their side",
            )
        self.engine, self.info = engine, info
        self.views = build_views(tta, info)
        self.patch, self.overlap, self.batch_size = patch, overlap, batch_size
        self.ground_resolution = ground_resolution

    @property
    def is_on_cpu(self) -> bool:
        """Whether the CPU computes."""
        return self.engine.is_on_cpu

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width to which all images are filled up; None for images of any size."""
        return self.engine.fixed_size

    def predict(
        self, image: np.ndarray, *, probabilities: bool = False, valid: np.ndarray | None = None
    ) -> Prediction:
        """Predict one image.

        Args:
            image: (h, w, bands), of the type of the training images, not normalized; with one band
                also (h, w).
            probabilities: whether to give the probability of each class; this takes 4 bytes for
                each pixel and class.
            valid: (h, w) bool, where the image has data; elsewhere the saved mask has no class.
                Pixels of floats that are NaN or infinite have no data either.

        Raises:
            InputError: the image has other bands or another type than the network was trained on,
                or ``valid`` has another size.
        """
        image = self._checked(image, valid)
        valid = finite_pixels(image, valid)
        scores = self.logits(to_batch(network_values(image, valid)))[0]
        arrays = arrays_of(scores)
        best, all_classes = best_classes(scores), None
        if probabilities:
            all_classes = arrays.to_numpy(arrays.float32(arrays.softmax(scores, axis=0)))
        return Prediction(
            info=self.info,
            labels=best.labels,
            confidence=best.confidence,
            probabilities=all_classes,
            valid=valid,
        )

    def logits(self, images: Array) -> Array:
        """Compute mean logits over the views; larger images are predicted in patches.

        Args:
            images: (b, bands, H, W) pixel values on the CPU, see
                :func:`network.rasters.pixels.network_values`; with patches, only a single image.

        Returns:
            (b, k, H, W) on the device: logits up to a number for each pixel, see :class:`Engine`.
        """
        engine = self.engine
        if self.patch:
            return patched_logits(
                engine.scores,
                images,
                self.views,
                self.patch,
                self.batch_size,
                self.overlap,
                engine.prepare,
            )
        return mean_logits(
            engine.scores, engine.prepare(images), self.views, self._max_pixels(images)
        )

    def logits_and_disagreement(self, images: Array) -> Array:
        """Compute mean logits over the views, and how much the views disagree.

        Args:
            images: (b, bands, H, W) pixel values on the CPU, each predicted whole.

        Returns:
            (b, k + 1, H, W) on the device: the logits, and as the last channel the disagreement,
            see :func:`network.tta.logits_and_disagreement`.
        """
        engine = self.engine
        found = logits_and_disagreement(
            engine.scores, engine.prepare(images), self.views, self._max_pixels(images)
        )
        return arrays_of(found[0]).concatenate(found, axis=1)

    def _max_pixels(self, images: Array) -> int:
        height, width = images.shape[-2:]
        return self.batch_size * height * width

    def _checked(self, image: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
        info = self.info
        if image.ndim == 2 and info.bands == 1:
            image = image[..., None]
        if image.ndim != 3 or image.shape[2] != info.bands or 0 in image.shape:
            raise InputError(
                "image",
                f"has the shape {image.shape}",
                f"expected (height, width, {info.bands}), as the network was trained",
            )
        if image.dtype != np.dtype(info.dtype):
            raise InputError(
                "image",
                f"has values of type {image.dtype}",
                f"expected {info.dtype}, as stored in the files that the network was trained on",
            )
        if valid is not None and valid.shape != image.shape[:2]:
            raise InputError(
                "valid", f"has the shape {valid.shape}", f"expected {image.shape[:2]}, as the image"
            )
        return image


def to_batch(image: np.ndarray) -> np.ndarray:
    """Turn an image (h, w, bands) into a batch of it, (1, bands, h, w)."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))[None]


@dataclass(frozen=True)
class BestClasses:
    """The most probable class of each pixel of an image.

    Attributes:
        labels: (h, w) uint8 labels of the classes.
        confidence: (h, w) float32 probabilities of these classes.
    """

    labels: np.ndarray
    confidence: np.ndarray


def best_classes(logits: Array) -> BestClasses:
    """Choose the most probable class of each pixel.

    This takes a few rows at a time, since the probabilities of a whole large image would double its
    memory.

    Args:
        logits: (k, h, w)

    Raises:
        InputError: some logits are no numbers.
    """
    arrays = arrays_of(logits)
    height, width = logits.shape[1:]
    labels, confidence = np.empty((height, width), np.uint8), np.empty((height, width), np.float32)
    rows = max(1, _PIXELS_AT_ONCE // width)
    for top in range(0, height, rows):
        some = slice(top, top + rows)
        found = arrays.best(arrays.softmax(logits[:, some], axis=0))
        confidence[some], labels[some] = map(arrays.to_numpy, found)
    check_numbers(confidence)
    return BestClasses(labels, confidence)


class NoNumbers(InputError):
    """The error for a network whose outputs are no numbers."""


def check_numbers(values: np.ndarray | float) -> None:
    """Raise :class:`NoNumbers` if a network gave NaN or infinity, which would become some class.

    Args:
        values: the largest logit or probability of each pixel, of any shape, or their sum.
    """
    if not np.isfinite(values).all():
        raise NoNumbers(
            "the network",
            "some of its outputs are no numbers (NaN or infinity)",
            "if it computes with compute.precision=16-mixed, use bf16-mixed or 32-true; otherwise "
            "its training has gone wrong",
        )
