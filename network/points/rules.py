"""Rules that draw point labels from masks, and the painting of points as sparse masks.

Sources: Uniform points come from "Remote Sensing Image Segmentation with Partial Cross Entropy
Loss" (github.com/Abdullah-Bin-Naeem), which draws them again in each epoch; here they are drawn
once for each image. One point for each component comes from DBFNet (IEEE TIP 2022).
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from network.errors import InputError, nearest

MIN_COMPONENT = 100
"""A component gets a point if it has more pixels than this (DBFNet)."""


@dataclass(frozen=True, kw_only=True)
class PointRule:
    """A rule that draws points from masks.

    Args:
        mode: how points are placed. ``"uniform"`` draws from all pixels with a class,
            ``"per_class"`` draws the same number from each class of the image, ``"component"``
            takes the innermost pixel of each connected component of more than 100 pixels, and
            ``"grid"`` draws one pixel in each cell of a grid and keeps it if it has a class.
        budget: number of points of an image; with ``"per_class"``, of each class of an image; with
            ``"grid"``, about the number of cells. It must be None with ``"component"``.
        share: percentage of the pixels (of the class), above 0 and at most 100, instead of
            ``budget``.
        seed: seed that decides the points, together with the name of the image.

    Raises:
        InputError: a value is out of range, or budget and share do not fit the mode.

    Examples:
        >>> PointRule(budget=200).count(50)
        50
        >>> PointRule(mode="per_class", share=1).count(3000)
        30
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
            raise InputError(
                "mode=component",
                "gives each component one point",
                "give neither budget nor share",
            )
        if self.mode != "component" and len(given) != 1:
            raise InputError(f"mode={self.mode}", "give either a budget or a share")
        if self.budget is not None and self.budget < 1:
            raise InputError(f"budget={self.budget}", "expected 1 or more")
        if self.share is not None and not 0 < self.share <= 100:
            raise InputError(f"share={self.share}", "expected percent, above 0 and at most 100")
        if self.seed < 0:
            raise InputError(f"seed={self.seed}", "expected 0 or more")

    def count(self, pixels: int) -> int:
        """Compute the number of points for a number of pixels, from 1 (if any) to all of them."""
        wanted = self.budget or round((self.share or 0) / 100 * pixels)
        return min(pixels, max(1, wanted))


def draw_points(name: str, labels: np.ndarray, num_classes: int, rule: PointRule) -> np.ndarray:
    """Draw the points of one image; the same arguments always give the same points.

    Args:
        name: name of the image.
        labels: (h, w); only pixels with labels 0 to ``num_classes`` - 1 get points.
        num_classes: number of classes.
        rule: the rule.

    Returns:
        (n, 2) rows and columns, without duplicates.
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
        # With this padding, the edge of the image counts as a border too.
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
    rows = min(height, wanted, max(1, round((wanted * height / width) ** 0.5)))
    columns = min(width, max(1, round(wanted / rows)))
    row, column = np.mgrid[:rows, :columns] + rng.random((2, rows, columns))
    row, column = (row * height / rows).astype(int), (column * width / columns).astype(int)
    places = np.unique(row * width + column)  # cells of a fractional size may share a pixel
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
    """Paint points into a sparse mask.

    Args:
        points: (n, 2) rows and columns.
        labels: (n,) labels of the points.
        shape: height and width of the mask.
        ignore_index: label of all other pixels.
        radius: radius of the discs in pixels; 1 gives dots of 3 x 3. Pixels in the discs of several
            classes are ignored, except the points themselves.
        truth: (h, w) labels; if given, a disc ends where another class begins.

    Returns:
        The mask, (h, w) uint8.
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
