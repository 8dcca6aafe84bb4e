"""The few operations on scores that NumPy and torch name differently.

Test-time augmentation, layers and blending of maps are written once with them. So they run where
the network runs, on a GPU too, and for exported files without torch. Arithmetic, slices and
``shape`` are the same in both, and need no operation here.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np

Array = Any
"""A :class:`numpy.ndarray` or a :class:`torch.Tensor`."""


class Arrays(Protocol):
    """The operations on arrays of one library."""

    def from_numpy(self, values: np.ndarray, like: Array) -> Array:
        """Bring values of NumPy to the device of another array, as float32."""
        ...

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array to NumPy; without a copy if it is on the CPU."""
        ...

    def zeros(self, shape: Sequence[int], like: Array) -> Array:
        """Make an array of zeros in float32, on the device of another array."""
        ...

    def float32(self, array: Array) -> Array:
        """Convert to float32."""
        ...

    def rounded(self, array: Array) -> Array:
        """Round to the nearest whole number, as uint8; halves go to the even one."""
        ...

    def concatenate(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        """Join arrays along an axis that they have."""
        ...

    def flip(self, array: Array, axis: int) -> Array:
        """Reverse an axis."""
        ...

    def turn(self, array: Array, quarters: int) -> Array:
        """Turn the last two axes of (b, c, h, w) by quarter turns, counterclockwise."""
        ...

    def resize(self, array: Array, size: tuple[int, int]) -> Array:
        """Resize (b, c, h, w) to a height and a width.

        This is bicubic with a = -0.75, without antialiasing. Corners of images are aligned, not
        centers of the corner pixels, and pixels at the border are repeated.
        """
        ...

    def softmax(self, array: Array, axis: int) -> Array:
        """Compute the softmax along an axis."""
        ...

    def entropy(self, probabilities: Array, axis: int) -> Array:
        """Sum -p log p along an axis, which is kept with length 1; 0 log 0 is 0."""
        ...

    def largest(self, array: Array) -> Array:
        """Find the largest value along the first axis."""
        ...

    def best(self, array: Array) -> tuple[Array, Array]:
        """Find the largest value along the first axis, and its index as uint8."""
        ...

    def wait(self, array: Array) -> None:
        """Wait until an array is computed."""
        ...


class NumpyArrays:
    """The operations in NumPy and OpenCV, see :class:`Arrays`."""

    def from_numpy(self, values: np.ndarray, like: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        return array

    def zeros(self, shape: Sequence[int], like: np.ndarray) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def float32(self, array: np.ndarray) -> np.ndarray:
        return array.astype(np.float32, copy=False)

    def rounded(self, array: np.ndarray) -> np.ndarray:
        return np.rint(array).astype(np.uint8)

    def concatenate(self, arrays: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
        return np.concatenate(arrays, axis)

    def flip(self, array: np.ndarray, axis: int) -> np.ndarray:
        return np.flip(array, axis)

    def turn(self, array: np.ndarray, quarters: int) -> np.ndarray:
        return np.rot90(array, quarters, (2, 3))

    def resize(self, array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        height, width = size
        found = np.empty((*array.shape[:2], height, width), np.float32)
        for planes, resized in zip(array.astype(np.float32, copy=False), found, strict=True):
            for plane, target in zip(planes, resized, strict=True):
                target[:] = cv2.resize(
                    np.ascontiguousarray(plane), (width, height), interpolation=cv2.INTER_CUBIC
                )
        return found

    def softmax(self, array: np.ndarray, axis: int) -> np.ndarray:
        found = np.exp(array - array.max(axis=axis, keepdims=True))
        found /= found.sum(axis=axis, keepdims=True)
        return found

    def entropy(self, probabilities: np.ndarray, axis: int) -> np.ndarray:
        logarithms = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
        return -(probabilities * logarithms).sum(axis=axis, keepdims=True)

    def largest(self, array: np.ndarray) -> np.ndarray:
        return array.max(axis=0)

    def best(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return array.max(axis=0), array.argmax(axis=0).astype(np.uint8)

    def wait(self, array: np.ndarray) -> None:
        pass


def arrays_of(array: Array) -> Arrays:
    """Find the operations for an array by its library."""
    if isinstance(array, np.ndarray):
        return NumpyArrays()
    from network.torch_arrays import TorchArrays  # without torch, there are no tensors

    return TorchArrays()
