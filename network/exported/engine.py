"""An exported file as the engine of a prediction."""

import numpy as np

from network.card import Card
from network.errors import InputError
from network.exported.programs import Run
from network.exported.record import LARGEST_VALUE, SMALLEST, ExportRecord
from network.rasters.pixels import is_measured


class ExportedEngine:
    """An exported file as a :class:`network.prediction.Engine`.

    Images that do not fit are filled up by their last row and column, as a network does it, and the
    scores are cut. If the file gives probabilities, their logarithms are the scores; these are the
    logits up to a number for each pixel.

    Args:
        run: runs the file.
        record: the facts of the file.
        card: the facts about its network.
        name: name of the file, for an error.
    """

    is_on_cpu = True

    def __init__(self, run: Run, record: ExportRecord, card: Card, name: str):
        self._run, self._record, self._name = run, record, name
        self._is_measured = is_measured(card.info.dtype)
        self._mean, self._std = (
            np.array(values, np.float32)[:, None, None] for values in (card.mean, card.std)
        )

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of all images that the file takes; None if they may vary."""
        height, width = self._record.input.shape[2:]
        return None if height is None or width is None else (height, width)

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Normalize images (b, bands, H, W), unless the file does; float32."""
        values = np.asarray(images, np.float32)
        if self._record.input.holds == "normalized values":
            values = (values - self._mean) / self._std
            return np.nan_to_num(values, copy=False) if self._is_measured else values
        # The network takes no data as the mean. A view that is resized may not spread it.
        return np.where(np.isnan(values), self._mean, values) if self._is_measured else values

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Compute the scores (b, k, H, W) of images (b, bands, H, W).

        Raises:
            InputError: the images are too large for the file.
        """
        count, _, height, width = images.shape
        rows, columns = self._size_for(height, width)
        if (rows, columns) != (height, width):
            margins = (0, 0), (0, 0), (0, rows - height), (0, columns - width)
            images = np.pad(images, margins, mode="edge")
        given = self.to_input(images)
        batch = self._record.input.shape[0]
        if batch is None:
            found = self._run(given)
        else:
            # The last batch is filled up too.
            filled = np.pad(given, ((0, -count % batch), (0, 0), (0, 0), (0, 0)), mode="edge")
            parts = [self._run(filled[start : start + batch]) for start in range(0, count, batch)]
            found = np.concatenate(parts)[:count]
        found = found[:, :, :height, :width]
        if self._record.output.holds == "probabilities":
            return np.log(np.maximum(found, np.finfo(np.float32).tiny))
        return found

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        """Find the smallest size of the file's images that holds an image."""
        fixed, multiple = self.fixed_size, self._record.multiple_of
        if fixed is None:
            rows, columns = (max(SMALLEST, side + -side % multiple) for side in (height, width))
            return rows, columns
        if height > fixed[0] or width > fixed[1]:
            raise InputError(
                self._name,
                f"takes images of at most {fixed[0]} x {fixed[1]} pixels, not {height} x {width}",
                "export it without a fixed size, or for this one",
            )
        return fixed

    def to_input(self, images: np.ndarray) -> np.ndarray:
        """Turn what :meth:`prepare` gives into the input of the file, of the same size."""
        fact = self._record.input
        if fact.holds == "pixel values divided by 255":
            images = images / np.float32(LARGEST_VALUE)
        if fact.dtype == "uint8":
            images = np.rint(images).clip(0, LARGEST_VALUE)  # resizing overshoots
        return np.ascontiguousarray(images, fact.dtype)
