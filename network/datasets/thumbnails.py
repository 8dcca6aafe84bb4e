"""Small pictures for an HTML page, as data URIs."""

import base64

import cv2
import numpy as np

PHOTO_QUALITY = 80
_LOSSLESS = 101  # OpenCV's name for WebP without loss


def photo_uri(image: np.ndarray, side: int) -> str:
    """Make the data URI of an RGB photo (h, w, 3) uint8.

    Args:
        image: the photo.
        side: longest side of the picture, in pixels.
    """
    return _uri(_shrink(image, side, cv2.INTER_AREA), PHOTO_QUALITY)


def mask_uri(colors: np.ndarray, side: int) -> str:
    """Make the data URI of a colored mask (h, w, 3) uint8, without loss and without new colors.

    Args:
        colors: the mask.
        side: longest side of the picture, in pixels.
    """
    return _uri(_shrink(colors, side, cv2.INTER_NEAREST_EXACT), _LOSSLESS)


def _shrink(pixels: np.ndarray, side: int, interpolation: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = min(1, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=interpolation)


def _uri(pixels: np.ndarray, quality: int) -> str:
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    webp = cv2.imencode(".webp", bgr, (cv2.IMWRITE_WEBP_QUALITY, quality))[1]
    return "data:image/webp;base64," + base64.b64encode(webp.tobytes()).decode()
