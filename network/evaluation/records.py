"""Records of the pixel counts of each predicted image, written beside the masks.

All scores of a test come from these counts. So an interrupted test can go on, and scores of images,
intervals and pairs of models can be computed later.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.evaluation.boundary import BoundaryCounts, Part, band_width
from network.evaluation.calibration import BINS, Calibration
from network.writing import parse_json

RECORDS_FILE = "images.jsonl"


@dataclass(frozen=True)
class Counts:
    """Counts of one image for one kind of labels.

    Attributes:
        matrix: (k, k) confusion matrix of pixels, rows = truth, without the padding.
        boundary: (6, k) boundary counts, see :class:`BoundaryCounts`.
        calibration: (3, bins) calibration counts, see :class:`Calibration`.
        padding_matrix: (k, k) confusion matrix of the padding, where the labels give it a class.
        padding: (k,) number of predictions of each class on all padding.
    """

    matrix: np.ndarray
    boundary: np.ndarray
    calibration: np.ndarray
    padding_matrix: np.ndarray
    padding: np.ndarray

    @classmethod
    def none(cls, k: int) -> "Counts":
        """Make the counts of no pixel, for ``k`` classes."""
        return cls(**{name: np.zeros(shape, np.int64) for name, shape in _shapes(k).items()})

    def __add__(self, other: "Counts") -> "Counts":
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in _shapes(0))
        return Counts(**{name: one + another for name, one, another in pairs})

    def is_of(self, k: int) -> bool:
        """Tell whether the counts have the shapes for ``k`` classes."""
        return all(getattr(self, name).shape == shape for name, shape in _shapes(k).items())


def _shapes(k: int) -> dict[str, tuple[int, ...]]:
    """List the shapes of all counts for ``k`` classes, by name."""
    return {
        "matrix": (k, k),
        "boundary": (6, k),
        "calibration": (3, BINS),
        "padding_matrix": (k, k),
        "padding": (k,),
    }


@dataclass(frozen=True)
class ImageRecord:
    """One predicted image and its counts.

    Attributes:
        name: name of the image.
        counts: counts by label kind.
        image: fingerprint of the image file; None in records of older versions.
    """

    name: str
    counts: dict[str, Counts]
    image: str | None = None

    def to_json(self) -> str:
        """Convert the record to one line of JSON text."""
        kinds = {
            kind: {key: value.tolist() for key, value in vars(counts).items()}
            for kind, counts in self.counts.items()
        }
        return json.dumps({"name": self.name, "image": self.image, "counts": kinds})


def read_records(folder: Path) -> dict[str, ImageRecord]:
    """Read the records in the folder of a test, by image name.

    Lines that are no record are left out, such as a line that an interruption cut off.
    """
    path = folder / RECORDS_FILE
    lines = path.read_bytes().splitlines() if path.is_file() else ()
    found = [record for record in map(_record, lines) if record]
    return {record.name: record for record in found}


def _record(line: bytes) -> ImageRecord | None:
    """Read the record in a line; None if the line is no complete record."""
    try:
        entry = parse_json(line)
        counts = {
            kind: Counts(**{key: np.array(value) for key, value in arrays.items()})
            for kind, arrays in entry["counts"].items()
        }
        is_numbers = all(
            np.issubdtype(array.dtype, np.number)
            for one in counts.values()
            for array in vars(one).values()
        )
        name, image = entry["name"], entry.get("image")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    is_whole = is_numbers and isinstance(name, str)
    return ImageRecord(name, counts, image) if is_whole else None


def check_counts(
    folder: Path, records: Iterable[ImageRecord], kinds: Sequence[str], classes: int
) -> None:
    """Raise an :class:`InputError` unless all records have counts for all kinds of labels.

    Args:
        folder: folder of the records, for the error.
        records: the records.
        kinds: the kinds of labels.
        classes: number of classes.
    """
    for record in records:
        for kind in kinds:
            counts = record.counts.get(kind)
            if counts is None or not counts.is_of(classes):
                raise InputError(
                    f"{folder / RECORDS_FILE}",
                    f"no counts of {record.name} for {classes} classes of {kind} masks",
                    "run the test script again, with overwrite=True",
                )


def add_record(folder: Path, record: ImageRecord) -> None:
    """Append one record to the file; a line that an interruption cut off is ended first."""
    with (folder / RECORDS_FILE).open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(record.to_json().encode() + b"\n")


@dataclass(frozen=True)
class Counter:
    """A counter that makes the counts of images.

    Args:
        info: description of the data set.
        tolerance: largest distance of boundaries that boundary F1 takes as matched, in pixels.
    """

    info: DatasetInfo
    tolerance: int

    def reach(self, size: tuple[int, int]) -> int:
        """Return the width of the context that a part of an image needs, in pixels.

        Args:
            size: height and width of the whole image.
        """
        return self._boundary(size).reach

    def _boundary(self, size: tuple[int, int]) -> BoundaryCounts:
        info = self.info
        return BoundaryCounts(
            info.num_classes, info.ignore_index, band_width(*size), self.tolerance
        )

    def count(
        self,
        confidence: Tensor | None,
        prediction: Tensor,
        labels: Tensor,
        margin: tuple[int, int],
    ) -> Counts:
        """Compute the counts of one image on the CPU.

        Args:
            confidence: (h, w) probability of the prediction; if None, calibration stays empty.
            prediction: (h, w) labels 0 to k-1, int64.
            labels: (h, w) uint8.
            margin: rows and columns of padding at the top and left.
        """
        k, ignored = self.info.num_classes, self.info.ignore_index
        labels = labels.long()
        padding = torch.zeros_like(labels, dtype=torch.bool)
        padding[: margin[0]] = True
        padding[:, : margin[1]] = True
        inside = labels.masked_fill(padding, ignored)
        calibration = Calibration()
        if confidence is not None:
            calibration.update(confidence, prediction == inside, inside < k)
        boundary = self._boundary((labels.shape[0], labels.shape[1]))
        return Counts(
            matrix=self._matrix(prediction, inside),
            boundary=boundary.update(prediction.numpy(), inside.numpy()),
            calibration=calibration.counts.numpy(),
            padding_matrix=self._matrix(prediction[padding], labels[padding]),
            padding=torch.bincount(prediction[padding], minlength=k).numpy(),
        )

    def count_part(
        self,
        confidence: np.ndarray | None,
        prediction: np.ndarray,
        labels: np.ndarray,
        part: Part,
    ) -> Counts:
        """Compute the counts of a part of an image without padding.

        The counts of all parts add up to those of :meth:`count` for the whole image.

        Args:
            confidence: (h, w) probability of the prediction; if None, calibration stays empty.
            prediction: (h, w) uint8, labels 0 to k-1 of the window of ``part``.
            labels: (h, w) uint8.
            part: the part, with the context that :meth:`reach` says.
        """
        k = self.info.num_classes
        predicted, true = (
            torch.from_numpy(np.ascontiguousarray(one[part.inside])).long()
            for one in (prediction, labels)
        )
        calibration = Calibration()
        if confidence is not None:
            sure = torch.from_numpy(np.ascontiguousarray(confidence[part.inside]))
            calibration.update(sure, predicted == true, true < k)
        return replace(
            Counts.none(k),
            matrix=self._matrix(predicted, true),
            boundary=self._boundary(part.size).update(prediction, labels, part),
            calibration=calibration.counts.numpy(),
        )

    def _matrix(self, prediction: Tensor, labels: Tensor) -> np.ndarray:
        k = self.info.num_classes
        return multiclass_confusion_matrix(
            prediction, labels.clamp(max=k), k, ignore_index=k, validate_args=False
        ).numpy()
