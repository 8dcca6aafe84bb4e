"""Functions to resize an image and its labels so that both stay aligned."""

import cv2
import numpy as np


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image (h, w, bands) to (height, width, bands) by bilinear interpolation.

    In an image of floats, NaN stands for no data. A new pixel is the weighted mean of the pixels
    with data; it is NaN if they have less than half of the weight. So holes do not grow.
    """
    if image.dtype.kind == "f" and image.shape[:2] != (height, width):
        has_data = np.isfinite(image).all(axis=2, keepdims=True)
        if not has_data.all():
            weights = _bilinear(has_data.astype(np.float32), height, width)
            weights[weights < 0.5] = np.nan
            return _bilinear(np.where(has_data, image, 0), height, width) / weights
    return _bilinear(image, height, width)


def _bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    # OpenCV drops the axis of a single band.
    return _resize(image, height, width, cv2.INTER_LINEAR).reshape(height, width, -1)


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize labels (h, w) to (height, width) by the nearest pixel."""
    # Plain INTER_NEAREST rounds down, so the labels would lie up to one pixel off the image.
    return _resize(labels, height, width, cv2.INTER_NEAREST_EXACT)


def resize_points(labels: np.ndarray, height: int, width: int, ignore_index: int) -> np.ndarray:
    """Resize sparse labels (h, w) to (height, width) so that no place loses its label.

    If the image becomes smaller, each labeled pixel labels the pixel that it falls into. If
    several fall into one pixel, the last one in row order counts.

    Args:
        labels: (h, w)
        height: new height in pixels.
        width: new width in pixels.
        ignore_index: the value of pixels without a label.
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
        return array  # OpenCV would copy it, which is 108 MB for a Potsdam tile
    return cv2.resize(array, (width, height), interpolation=interpolation)
