"""Checks of images and masks before a training, and summaries of the labels of masks.

This module needs no torch, so processes that share the work start in half a second.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from network.datasets.files import (
    check_header,
    check_pair,
    mask_labels,
    read_mask,
    read_plain_mask,
    used_size,
)
from network.datasets.schema import DatasetInfo
from network.datasets.window_reader import WindowReader, strips
from network.errors import InputError
from network.rasters.header import read_header
from network.rasters.pixels import count_labels
from network.rasters.plain import plain_header

DIGEST = 32
"""Bytes of a SHA-256."""


class PatchFiles(NamedTuple):
    """The files of an image in a folder.

    Attributes:
        image: path of the image.
        masks: path of its mask of each kind.
        alone: for the image and then for each mask, whether no file beside it belongs to it.
    """

    image: str
    masks: tuple[str, ...]
    alone: tuple[bool, ...]


class MaskFiles(NamedTuple):
    """The masks of an image.

    Attributes:
        size: height and width of the image in pixels.
        paths: its mask of each kind.
    """

    size: tuple[int, int]
    paths: tuple[Path, ...]


@dataclass
class LabelFacts:
    """Facts about the labels of images.

    Attributes:
        known: whether they were found, (n,) bool. If not, the other numbers are 0.
        digests: SHA-256 of the labels by kind, (n, kinds, 32) uint8.
        counts: number of pixels of each class by kind, (n, kinds, k) int64.
    """

    known: np.ndarray
    digests: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, count: int, kinds: int, classes: int) -> Self:
        """Make facts of which none is known.

        Args:
            count: number of images.
            kinds: number of kinds of labels.
            classes: number of classes.
        """
        return cls(
            np.zeros(count, bool),
            np.zeros((count, kinds, DIGEST), np.uint8),
            np.zeros((count, kinds, classes), np.int64),
        )

    def rows(self, rows: np.ndarray) -> Self:
        """Take the facts of some images.

        Args:
            rows: their rows.
        """
        return type(self)(self.known[rows], self.digests[rows], self.counts[rows])

    def set_rows(self, rows: np.ndarray | slice, other: Self) -> None:
        """Put facts of other images into some rows.

        Args:
            rows: the rows.
            other: the facts, in the order of the rows.
        """
        self.known[rows] = other.known
        self.digests[rows], self.counts[rows] = other.digests, other.counts

    def set_row(self, row: int, summaries: Sequence[tuple[bytes, np.ndarray]]) -> None:
        """Note the labels of an image.

        Args:
            row: its row.
            summaries: SHA-256 and number of pixels of each class, by kind.
        """
        for kind, (digest, counts) in enumerate(summaries):
            self.digests[row, kind] = np.frombuffer(digest, np.uint8)
            self.counts[row, kind] = counts
        self.known[row] = True


def check_files(
    patches: Sequence[PatchFiles], info: DatasetInfo, largest: int
) -> tuple[np.ndarray, LabelFacts]:
    """Check the headers of images and their masks; read masks that are plain PNG files, too.

    Such a mask is read at once, since opening it again would take longer. If its labels are wrong,
    they are not known, and the error comes when the mask is used.

    Args:
        patches: the images with their masks.
        info: description of the data set.
        largest: number of pixels of the largest masks that are read.

    Returns:
        Height and width of each image as they are used, (n, 2) int64; and facts about its labels.

    Raises:
        InputError: an image does not fit the data set, a mask does not fit its image, or a file is
            damaged.
    """
    sizes = np.zeros((len(patches), 2), np.int64)
    kinds = len(patches[0].masks) if patches else 0
    labels = LabelFacts.empty(len(patches), kinds, info.num_classes)
    for row, patch in enumerate(patches):
        sizes[row], summaries = _check_patch(patch, info, largest)
        if len(summaries) == kinds:
            labels.set_row(row, summaries)
    return sizes, labels


def _check_patch(
    patch: PatchFiles, info: DatasetInfo, largest: int
) -> tuple[tuple[int, int], list[tuple[bytes, np.ndarray]]]:
    """Check an image and its masks: find the size, and a summary of each mask that is read."""
    image = Path(patch.image)
    header = (plain_header(image) if patch.alone[0] else None) or read_header(image)
    check_header(image, header, info)
    size = used_size(header, info)
    is_small = size[0] * size[1] <= largest
    summaries = []
    for path, is_alone in zip(map(Path, patch.masks), patch.alone[1:], strict=True):
        raster = read_plain_mask(path) if is_alone and is_small else None
        check_pair(image, path, header, info, raster.header if raster else None)
        if raster:
            with suppress(InputError):
                summaries.append(_summary((mask_labels(path, raster, info),), info))
    return size, summaries


def read_labels(masks: Sequence[MaskFiles], info: DatasetInfo, largest: int) -> LabelFacts:
    """Read masks and check their labels.

    Args:
        masks: the masks of each image.
        info: description of the data set.
        largest: number of pixels of the largest masks that are read at once.

    Raises:
        InputError: a mask cannot be read, or holds a label or color that is no class.
    """
    kinds = len(masks[0].paths) if masks else 0
    labels = LabelFacts.empty(len(masks), kinds, info.num_classes)
    for row, one in enumerate(masks):
        strips_of = (_mask_strips(one.size, path, info, largest) for path in one.paths)
        labels.set_row(row, [_summary(each, info) for each in strips_of])
    return labels


def _mask_strips(
    size: tuple[int, int], path: Path, info: DatasetInfo, largest: int
) -> Iterator[np.ndarray]:
    """Read a mask, strip by strip if it is large."""
    if size[0] * size[1] <= largest:
        yield read_mask(path, info)
        return
    reader = WindowReader(info)
    for window in strips(size):
        yield reader.mask(path, window)


def _summary(strips: Iterable[np.ndarray], info: DatasetInfo) -> tuple[bytes, np.ndarray]:
    """Compute the SHA-256 of the labels of a mask, and the number of pixels of each class."""
    digest, counts = hashlib.sha256(), np.zeros(256, np.int64)
    for mask in strips:
        digest.update(np.ascontiguousarray(mask).data)
        counts += count_labels(mask)
    return digest.digest(), counts[: info.num_classes]
