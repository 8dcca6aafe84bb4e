"""Resizing an image and its labels so that they stay aligned."""

import cv2
import numpy as np


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w, bands) to (height, width, bands), bilinear."""
    # OpenCV drops the axis of a single band.
    return _resize(image, height, width, cv2.INTER_LINEAR).reshape(height, width, -1)


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) to (height, width), nearest."""
    # Plain INTER_NEAREST rounds down: the labels would lie up to a pixel off the image.
    return _resize(labels, height, width, cv2.INTER_NEAREST_EXACT)


def resize_points(labels: np.ndarray, height: int, width: int, ignore_index: int) -> np.ndarray:
    """Sparse labels (h, w) to (height, width): nearest, but no labeled pixel is lost.

    Where an image becomes smaller each labeled pixel keeps the place that it falls on; of several
    on one place the last in row order stays.
    """
    h, w = labels.shape
    if height >= h and width >= w:
        return resize_labels(labels, height, width)
    resized = np.full((height, width), ignore_index, labels.dtype)
    rows, columns = np.nonzero(labels != ignore_index)
    # The pixel that holds the center of the old one.
    to = (2 * rows + 1) * height // (2 * h), (2 * columns + 1) * width // (2 * w)
    resized[to] = labels[rows, columns]
    return resized


def _resize(array: np.ndarray, height: int, width: int, interpolation: int) -> np.ndarray:
    if array.shape[:2] == (height, width):
        return array  # OpenCV would copy it: 108 MB of a Potsdam tile
    return cv2.resize(array, (width, height), interpolation=interpolation)
