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


def _resize(array: np.ndarray, height: int, width: int, interpolation: int) -> np.ndarray:
    if array.shape[:2] == (height, width):
        return array  # OpenCV would copy it: 108 MB of a Potsdam tile
    return cv2.resize(array, (width, height), interpolation=interpolation)
