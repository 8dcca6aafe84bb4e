"""Draws of training data in which rare classes are as frequent as the others."""

import numpy as np

from network.datasets.lazy import Pixels
from network.datasets.window_reader import strips

Crop = tuple[np.ndarray, np.ndarray]
"""Image (h, w, bands) and labels (h, w)."""


class ClassDraw:
    """A draw of one of many parts of the data by the number of its pixels of one or all classes.

    Parts are images, or cells of scenes.

    Args:
        counts: number of pixels of each class in each part, (parts, k).
    """

    def __init__(self, counts: np.ndarray):
        self._all = np.cumsum(counts.sum(axis=1, dtype=np.int64))
        classes = np.flatnonzero(counts.any(axis=0))
        self._classes = classes
        self._by_class = {
            int(label): np.cumsum(counts[:, label], dtype=np.int64) for label in classes
        }

    def draw_class(self, rng: np.random.Generator) -> int:
        """Draw one of the classes that have pixels, all with the same probability."""
        return int(rng.choice(self._classes))

    def draw_part(self, rng: np.random.Generator, label: int | None) -> int:
        """Draw the number of a part.

        Args:
            rng: source of randomness.
            label: the class whose pixels are counted; None for all.
        """
        total = self._all if label is None else self._by_class[label]
        return int(np.searchsorted(total, rng.integers(total[-1]), side="right"))


def draw_pixel(is_one: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw the row and column of a pixel.

    Args:
        is_one: (h, w) bool, the pixels that can be drawn.
        rng: source of randomness.

    Returns:
        None if there is no such pixel.
    """
    places = np.flatnonzero(is_one)
    if not len(places):
        return None
    row, column = divmod(int(places[rng.integers(len(places))]), is_one.shape[1])
    return row, column


def draw_pixel_of(labels: Pixels, label: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw the row and column of a pixel of a class, as :func:`draw_pixel` does.

    Labels that are read when they are indexed are read strip by strip.

    Args:
        labels: (h, w) uint8.
        label: the class.
        rng: source of randomness.

    Returns:
        None if there is no such pixel.
    """
    height, width = labels.shape
    parts = list(strips((height, width)))
    ends = np.cumsum([np.count_nonzero(labels[part] == label) for part in parts])
    if not ends[-1]:
        return None
    number = int(rng.integers(ends[-1]))
    chosen = int(np.searchsorted(ends, number, side="right"))
    places = np.flatnonzero(labels[parts[chosen]] == label)
    rest = number - int(ends[chosen] - len(places))
    row, column = divmod(int(places[rest]), width)
    return parts[chosen][0].start + row, column


def rare_classes(pixels: np.ndarray) -> list[int]:
    """List the classes that have pixels, but fewer than all classes have on average.

    Args:
        pixels: number of pixels of each class, (k,).

    Examples:
        >>> rare_classes(np.array([900, 0, 80, 20]))
        [2, 3]
    """
    return np.flatnonzero((pixels > 0) & (pixels < pixels.mean())).tolist()


def paste_class(onto: Crop, source: Crop, label: int) -> Crop:
    """Replace the pixels and labels of a crop where another one shows a class.

    Args:
        onto: image (h, w, bands) and labels (h, w).
        source: the other crop, of the same size.
        label: the class.
    """
    (image, labels), (other_image, other_labels) = onto, source
    is_pasted = other_labels == label
    return (
        np.where(is_pasted[..., None], other_image, image),
        np.where(is_pasted, other_labels, labels),
    )
