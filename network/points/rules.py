"""Point labels: drawn from masks by a fixed rule, and painted as sparse masks.

Sources: uniform points, "Remote Sensing Image Segmentation with Partial Cross Entropy Loss"
(github.com/Abdullah-Bin-Naeem), there drawn anew in each epoch, here once for each image; one point
for each component, DBFNet (IEEE TIP 2022).
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from network.errors import InputError, nearest

MIN_COMPONENT = 100
"""Pixels that a component must have more than to get a point (DBFNet)."""


@dataclass(frozen=True, kw_only=True)
class PointRule:
    """How points are drawn.

    Args:
        mode: ``"uniform"``, over all pixels that have a class; ``"per_class"``, so many of each
            class that an image shows; ``"component"``, the innermost pixel of each connected
            component; ``"grid"``, one at a random place in each cell of a grid.
        budget: points of an image, of each class of an image with ``"per_class"``, or cells of
            the grid; None with ``"component"``, whose number follows from the mask.
        share: in percent of the pixels (of the class), instead of ``budget``.
        seed: with the name of an image it decides its points.

    Raises:
        InputError: a value is out of range, or budget and share do not go with the mode.
    """

    mode: str = "uniform"
    budget: int | None = None
    share: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"mode={self.mode}", f"no such rule{nearest(self.mode, MODES)}")
        given = [value for value in (self.budget, self.share) if value is not None]
        if self.mode == "component" and given:
            raise InputError("mode=component", "gives each component one point", "leave the number")
        if self.mode != "component" and len(given) != 1:
            raise InputError(f"mode={self.mode}", "give either a budget or a share")
        if self.budget is not None and self.budget < 1:
            raise InputError(f"budget={self.budget}", "expected 1 or more")
        if self.share is not None and not 0 < self.share <= 100:
            raise InputError(f"share={self.share}", "expected percent, above 0 and at most 100")
        if self.seed < 0:
            raise InputError(f"seed={self.seed}", "expected 0 or more")

    def count(self, pixels: int) -> int:
        """How many points ``pixels`` get: all of them at most, one at least where there is any."""
        wanted = self.budget or round((self.share or 0) / 100 * pixels)
        return min(pixels, max(1, wanted))


def draw_points(name: str, labels: np.ndarray, num_classes: int, rule: PointRule) -> np.ndarray:
    """Points of one image, the same whenever they are drawn.

    Args:
        name: of the image.
        labels: (h, w); what is not 0 to ``num_classes`` - 1 gets no point.

    Returns:
        (n, 2) rows and columns, no pixel twice.
    """
    rng = np.random.default_rng([rule.seed, zlib.crc32(name.encode())])
    places = MODES[rule.mode](labels, num_classes, rule, rng)
    return np.stack(np.unravel_index(places, labels.shape), axis=1)


def _uniform(
    labels: np.ndarray, num_classes: int, rule: PointRule, rng: np.random.Generator
) -> np.ndarray:
    places = np.flatnonzero(labels < num_classes)
    return rng.choice(places, rule.count(len(places)), replace=False)


def _per_class(
    labels: np.ndarray, num_classes: int, rule: PointRule, rng: np.random.Generator
) -> np.ndarray:
    by_class = [np.flatnonzero(labels == label) for label in range(num_classes)]
    return np.concatenate([rng.choice(p, rule.count(len(p)), replace=False) for p in by_class])


def _component(
    labels: np.ndarray, num_classes: int, rule: PointRule, rng: np.random.Generator
) -> np.ndarray:
    places = []
    for label in range(num_classes):
        # The edge of the image is a border too.
        mask = np.pad((labels == label).astype(np.uint8), 1)
        distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        count, parts, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for part in range(1, count):
            left, top, width, height, area = boxes[part]
            if area <= MIN_COMPONENT:
                continue
            box = np.s_[top : top + height, left : left + width]
            inside = np.where(parts[box] == part, distance[box], -1)
            row, column = np.unravel_index(inside.argmax(), inside.shape)
            places.append((top + row - 1) * labels.shape[1] + left + column - 1)
    return np.array(places, np.int64)


def _grid(
    labels: np.ndarray, num_classes: int, rule: PointRule, rng: np.random.Generator
) -> np.ndarray:
    height, width = labels.shape
    wanted = rule.count(labels.size)
    rows = min(height, max(1, round((wanted * height / width) ** 0.5)))
    columns = min(width, max(1, round(wanted / rows)))
    row, column = np.mgrid[:rows, :columns] + rng.random((2, rows, columns))
    row, column = (row * height / rows).astype(int), (column * width / columns).astype(int)
    places = np.unique(row * width + column)  # cells of broken size may share a pixel
    return places[labels.ravel()[places] < num_classes]


MODES: dict[str, Callable[..., np.ndarray]] = {
    "uniform": _uniform,
    "per_class": _per_class,
    "component": _component,
    "grid": _grid,
}


def paint_points(
    points: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, int],
    ignore_index: int,
    radius: int = 0,
    truth: np.ndarray | None = None,
) -> np.ndarray:
    """A sparse mask: the labels of the points, all else ignored.

    Args:
        points: (n, 2) rows and columns.
        labels: (n,)
        radius: of the discs, pixels; 1 gives dots of 3 x 3. What discs of several classes cover
            is ignored, but for the points themselves.
        truth: (h, w) labels; a disc is cut off where another class than its own begins.

    Returns:
        (h, w) uint8
    """
    mask = np.full(shape, ignore_index, np.uint8)
    if radius:
        claimed = np.zeros(shape, bool)
        offsets = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        disc = ((offsets**2).sum(axis=0) <= (radius + 0.5) ** 2).astype(np.uint8)
        for label in np.unique(labels):
            dots = np.zeros(shape, np.uint8)
            dots[tuple(points[labels == label].T)] = 1
            covered = cv2.dilate(dots, disc) > 0
            if truth is not None:
                covered &= truth == label
            mask[covered] = np.where(claimed[covered], ignore_index, label)
            claimed |= covered
    mask[tuple(points.T)] = labels
    return mask
