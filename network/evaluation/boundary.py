"""Scores of class boundaries: boundary IoU and boundary F1, pooled over images.

Sources: boundary IoU, Cheng et al., "Boundary IoU", CVPR 2021; boundary F1, Csurka et al., "What is
a good evaluation measure for semantic segmentation?", BMVC 2013. Both distances are in pixels, in
a square neighborhood, as in Cheng's own erosion.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from network.datasets.windows import Window, counted_from


@dataclass(frozen=True)
class Part:
    """A part of an image that is counted apart from the rest, within the context around it.

    The counts of all parts add up to those of the image if the parts do not overlap and each has
    as much context as :meth:`BoundaryCounts.reach` says, or all that there is in the image.

    Attributes:
        window: rows and columns of the image that are given: the part and its context.
        core: rows and columns of the image whose pixels are counted.
        size: height and width of the whole image.
    """

    window: Window
    core: Window
    size: tuple[int, int]

    @classmethod
    def whole(cls, height: int, width: int) -> "Part":
        """Describe an image that is counted at once."""
        everything = slice(0, height), slice(0, width)
        return cls(everything, everything, (height, width))

    @property
    def inside(self) -> Window:
        """Rows and columns of the core, counted from the start of the window."""
        return counted_from(self.window, self.core)

    def within(self, reach: int) -> "Part":
        """Describe the same part with no more context than ``reach`` pixels at each side."""
        rows, columns = (
            slice(max(window.start, core.start - reach), min(window.stop, core.stop + reach))
            for window, core in zip(self.window, self.core, strict=True)
        )
        return Part((rows, columns), self.core, self.size)

    def edges(self, distance: int) -> list[Window]:
        """List the strips of the window that are within ``distance`` of the edges of the image."""
        strips, everything = [], slice(None)
        for axis, (side, length) in enumerate(zip(self.window, self.size, strict=True)):
            near = [slice(0, max(0, distance - side.start))]
            near += [slice(max(0, length - distance - side.start), None)]
            strips += [(one, everything) if axis == 0 else (everything, one) for one in near]
        return strips


@dataclass
class BoundaryCounts:
    """Counts of boundary pixels by class, which add up over images.

    Args:
        num_classes: number of classes, k.
        ignore_index: label of the pixels that do not count; they form no boundary with others.
        width: width of the band inside a class, which boundary IoU compares, in pixels.
        tolerance: largest distance of boundaries that F1 takes as matched, in pixels.
    """

    num_classes: int
    ignore_index: int
    width: int
    tolerance: int
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        # Rows: intersection of the bands, their union, predicted boundary pixels, how many of these
        # are matched, true boundary pixels, how many of these are matched.
        self.counts = np.zeros((6, self.num_classes), np.int64)

    @property
    def reach(self) -> int:
        """Width of the context that the pixels of a part depend on, in pixels."""
        return max(self.width, self.tolerance + 1)

    def update(
        self, prediction: np.ndarray, labels: np.ndarray, part: Part | None = None
    ) -> np.ndarray:
        """Count one image, or a part of it, and return its own counts (6, k).

        Args:
            prediction: (h, w) labels 0 to k-1, of the image or of the window of ``part``.
            labels: (h, w) labels 0 to k-1 or ``ignore_index``.
            part: the part that is given; by default a whole image.
        """
        part = part or Part.whole(*labels.shape)
        valid = labels != self.ignore_index
        predicted, true = (
            np.where(valid, one.astype(np.uint8) + 1, 0) for one in (prediction, labels)
        )
        counts = np.stack(
            [*self._bands(predicted, true, part), *self._matches(predicted, true, part)]
        )
        self.counts += counts
        return counts

    def _bands(self, prediction: np.ndarray, truth: np.ndarray, part: Part) -> list[np.ndarray]:
        bands = []
        for one in (prediction, truth):
            near = _is_near_other(one, self.width)
            # The image's edge ends a class, as in Cheng's implementation.
            for strip in part.edges(self.width):
                near[strip] = one[strip] > 0
            bands.append((one * near)[part.inside])
        both = self._count(bands[0][bands[0] == bands[1]])
        return [both, self._count(bands[0]) + self._count(bands[1]) - both]

    def _matches(self, prediction: np.ndarray, truth: np.ndarray, part: Part) -> list[np.ndarray]:
        # The bands may need far more context than the lines.
        given, part = part, part.within(self.tolerance + 1)
        inner = Part(given.window, part.window, part.size).inside
        lines = [one[inner] * _is_near_other(one[inner], 1) for one in (prediction, truth)]
        result = []
        for line, other in (lines, lines[::-1]):
            matched = np.zeros(self.num_classes, np.int64)
            counted = line[part.inside]
            for label in np.unique(counted[counted > 0]):
                near = cv2.dilate((other == label).astype(np.uint8), square(self.tolerance))
                matched[label - 1] = np.count_nonzero(near[part.inside][counted == label])
            result += [self._count(counted), matched]
        return result

    def _count(self, coded: np.ndarray) -> np.ndarray:
        """Count the pixels of each class in a map of labels + 1, where 0 is no class."""
        return np.bincount(coded.ravel(), minlength=self.num_classes + 1)[1:]

    def iou(self) -> list[float | None]:
        """Compute boundary IoU by class; None if the class is in no truth and no prediction."""
        return boundary_iou(self.counts)

    def f1(self) -> list[float | None]:
        """Compute boundary F1 by class; None if no truth and no prediction has its boundary."""
        return boundary_f1(self.counts)


def boundary_iou(counts: np.ndarray) -> list[float | None]:
    """Compute boundary IoU by class from counts; see :meth:`BoundaryCounts.iou`.

    Args:
        counts: (6, k), see :class:`BoundaryCounts`.
    """
    both, either = counts[:2].tolist()
    return [b / e if e else None for b, e in zip(both, either, strict=True)]


def boundary_f1(counts: np.ndarray) -> list[float | None]:
    """Compute boundary F1 by class from counts; see :meth:`BoundaryCounts.f1`.

    Args:
        counts: (6, k), see :class:`BoundaryCounts`.
    """
    scores: list[float | None] = []
    for p, tp, t, tr in counts[2:].T.tolist():
        precision, recall = tp / max(p, 1), tr / max(t, 1)
        total = precision + recall
        scores.append(None if p + t == 0 else 2 * precision * recall / total if total else 0.0)
    return scores


def band_width(height: int, width: int, share: float = 0.02) -> int:
    """Compute Cheng's band width: a share of the image's diagonal, but at least one pixel."""
    return max(1, round(share * float(np.hypot(height, width))))


def _is_near_other(coded: np.ndarray, distance: int) -> np.ndarray:
    """Tell for each pixel that has a class whether another class is within ``distance``.

    The square around a pixel holds another class if its lowest and highest labels differ. So one
    erosion and one dilation serve all classes.

    Args:
        coded: (h, w) labels + 1; 0 is no class.
        distance: distance in pixels.
    """
    kernel = square(distance)
    nothing = coded == 0
    lowest = cv2.erode(np.where(nothing, 255, coded).astype(np.uint8), kernel)
    highest = cv2.dilate(coded, kernel)
    return (lowest != highest) & ~nothing


def square(distance: int) -> np.ndarray:
    """Make the square kernel, (2d + 1, 2d + 1), that reaches a distance d to each side."""
    return np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
