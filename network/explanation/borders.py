"""Errors between neighbors: wrong pixels near a border with the class that they are taken for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import cv2
import numpy as np

from network.evaluation.boundary import square


@dataclass
class BorderErrors:
    """Counts of wrong pixels by their true and their predicted class, which add up over images.

    A pixel is near a border with a class if the true mask has this class in the square of
    ``distance`` pixels to each side.

    Args:
        num_classes: number of classes, k.
        distance: largest distance to the border, in pixels.

    Attributes:
        near: wrong pixels near a border with the class that they are taken for; (k, k), the true
            class first.
        far: the other wrong pixels, in the same form.
        reach: pixels of each class near each other class, wrong or not, in the same form.
        right: right pixels of each class, (k,).
    """

    num_classes: int
    distance: int
    near: np.ndarray = field(init=False)
    far: np.ndarray = field(init=False)
    reach: np.ndarray = field(init=False)
    right: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        k = self.num_classes
        self.near, self.far, self.reach = (np.zeros((k, k), np.int64) for _ in range(3))
        self.right = np.zeros(k, np.int64)

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Count an image.

        Args:
            prediction: (h, w) labels 0 to k-1.
            truth: (h, w) labels; pixels with other labels than 0 to k-1 do not count.
        """
        is_counted = truth < self.num_classes
        self.right += self._count(truth[is_counted & (prediction == truth)])
        for other in range(self.num_classes):
            is_other = (truth == other).astype(np.uint8)
            is_near = cv2.dilate(is_other, square(self.distance)) > 0
            outside = is_counted & (truth != other)
            wrong = outside & (prediction == other)
            self.near[:, other] += self._count(truth[wrong & is_near])
            self.far[:, other] += self._count(truth[wrong & ~is_near])
            self.reach[:, other] += self._count(truth[outside & is_near])

    @property
    def pixels(self) -> np.ndarray:
        """Number of pixels of each true class, (k,)."""
        return self.right + self.near.sum(axis=1) + self.far.sum(axis=1)

    def rows(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """List the counts of each pair of a true and another predicted class, for a table.

        Args:
            classes: names of the classes.
        """
        pixels = self.pixels
        return [
            {
                "truth": classes[a],
                "prediction": classes[b],
                "pixels_of_truth": int(pixels[a]),
                "pixels_near_prediction": int(self.reach[a, b]),
                "wrong": int(self.near[a, b] + self.far[a, b]),
                "wrong_near": int(self.near[a, b]),
                "wrong_far": int(self.far[a, b]),
            }
            for a, b in permutations(range(self.num_classes), 2)
        ]

    def _count(self, labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=self.num_classes)
