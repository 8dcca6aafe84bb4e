"""The scores of a test, in one table: a new score is one more entry of ``SCORES``.

An entry gives the name of a score, how it is computed from the counts, and how it is shown.
``scores.json``, ``scores.csv``, the printed table, the comparison of runs and the report follow
the table; they use no score by its name, except those in ``MAIN``.

Sources: for the boundary scores and the calibration error, see boundary.py and calibration.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import create_model
from torch import Tensor

from network.datasets.schema import DatasetInfo
from network.evaluation import bootstrap
from network.evaluation.boundary import boundary_f1, boundary_iou
from network.evaluation.calibration import BINS, expected_calibration_error
from network.evaluation.json_forms import checked

Value = float | None
"""A score, 0 to 1; None if there is nothing to score."""

MAIN = ("mIoU", "mF1", "OA")
"""Scores that a training logs, that published rows state, and that every ``scores.json`` has."""


@dataclass(frozen=True)
class Pooled:
    """Pixel counts pooled over all images of a test, for one kind of labels.

    Attributes:
        info: description of the data set.
        kind: kind of the labels, such as ``"full"``; None if unknown.
        matrix: (k, k) float64 confusion matrix of pixels; rows = truth, columns = prediction.
        boundary: (6, k) pixels, see :class:`BoundaryCounts`; zero if the labels have no
            boundaries, as in eroded masks.
        calibration: (3, bins) counts, see :class:`Calibration`; zero if confidences are unknown.
    """

    info: DatasetInfo
    kind: str | None
    matrix: np.ndarray
    boundary: np.ndarray
    calibration: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """Number of correct pixels of each class, (k,)."""
        return self.matrix.diagonal()

    @property
    def truth(self) -> np.ndarray:
        """Number of pixels of each class in the truth, (k,)."""
        return self.matrix.sum(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """Number of pixels of each class in the prediction, (k,)."""
        return self.matrix.sum(axis=0)


@dataclass(frozen=True)
class Score:
    """A score: its name, its computation, and how it is shown.

    Args:
        name: key in ``scores.json``; if each class has its own value, key of the class's value.
        heading: heading of the score's column in a table of several models.
        compute: function from the counts to one :data:`Value`, or to a tuple of k values by label.
        per_class: whether each class has its own value.
        mean: key in ``scores.json`` of the mean over the scored classes; None if a mean would not
            be useful.
        lower_is_better: whether lower values are better, as for errors.
        of_matrix: whether the confusion matrix alone gives the score. If so, the score is also
            given for the other padding policy.
        in_rows: whether the mean (or the single number) is in the last rows of the printed table
            and of ``scores.csv``. If True, the mean over all classes is given too. If False, it is
            only in ``scores.json``; a single number is also printed below the table.
        within_tolerance: whether boundaries match up to ``--boundary-tolerance`` pixels apart.
        source: author of the definition, for the reader of a table.
        drawn: function that makes the statistic for bootstrap intervals from the scored labels;
            None if the score has no interval.

    Raises:
        ValueError: there is a ``mean``, but the score is a single number.
    """

    name: str
    heading: str
    compute: Callable[[Pooled], Any]
    per_class: bool = False
    mean: str | None = None
    lower_is_better: bool = False
    of_matrix: bool = True
    in_rows: bool = True
    within_tolerance: bool = False
    source: str = ""
    drawn: Callable[[Sequence[int]], bootstrap.Statistic] | None = None

    def __post_init__(self) -> None:
        if self.mean and not self.per_class:
            raise ValueError(f"score {self.name}: is one number, {self.mean} cannot be its mean")

    @property
    def overall(self) -> str | None:
        """Key in ``scores.json`` of the single number for a whole test; None if there is none."""
        return self.mean if self.per_class else self.name

    @property
    def mean_of_all(self) -> str | None:
        """Key in ``scores.json`` of the mean over all classes, also those that are not scored."""
        return f"{self.mean}_all_classes" if self.mean and self.in_rows else None

    @property
    def words(self) -> str:
        """Name of the score in texts for people."""
        return self.name.replace("_", " ")

    def note(self, tolerance: int) -> str:
        """Make a short note for readers of the score's column; it is often empty.

        Args:
            tolerance: largest distance of matched boundaries, in pixels.
        """
        return f"within {tolerance} pixels" if self.within_tolerance else self.source


def ratio(part: float, whole: float) -> Value:
    """Compute the share of a part in a whole; None if the whole is zero."""
    return float(part / whole) if whole else None


def ratios(parts: np.ndarray, wholes: np.ndarray) -> tuple[Value, ...]:
    """Compute the share of each class.

    Args:
        parts: (k,) parts.
        wholes: (k,) wholes.
    """
    return tuple(ratio(part, whole) for part, whole in zip(parts, wholes, strict=True))


# Files and tables list the scores in this order.
SCORES: tuple[Score, ...] = (
    Score(
        "IoU",
        "mIoU",
        lambda counts: ratios(counts.hits, counts.truth + counts.predicted - counts.hits),
        per_class=True,
        mean="mIoU",
        drawn=bootstrap.mean_iou,
    ),
    Score(
        "F1",
        "mF1",
        lambda counts: ratios(2 * counts.hits, counts.truth + counts.predicted),
        per_class=True,
        mean="mF1",
    ),
    Score(
        "precision",
        "precision",
        lambda counts: ratios(counts.hits, counts.predicted),
        per_class=True,
    ),
    Score(
        "recall",
        "recall",
        lambda counts: ratios(counts.hits, counts.truth),
        per_class=True,
    ),
    Score(
        "OA",
        "OA",
        lambda counts: ratio(counts.hits.sum(), counts.matrix.sum()),
        drawn=lambda scored: bootstrap.overall_accuracy,
    ),
    Score(
        "boundary_IoU",
        "boundary IoU",
        lambda counts: boundary_iou(counts.boundary),
        per_class=True,
        mean="mean_boundary_IoU",
        of_matrix=False,
        in_rows=False,
        source="Cheng 2021",
    ),
    Score(
        "boundary_F1",
        "boundary F1",
        lambda counts: boundary_f1(counts.boundary),
        per_class=True,
        mean="mean_boundary_F1",
        of_matrix=False,
        in_rows=False,
        within_tolerance=True,
    ),
    Score(
        "calibration_error",
        "ECE",
        lambda counts: expected_calibration_error(torch.from_numpy(counts.calibration)),
        lower_is_better=True,
        of_matrix=False,
        in_rows=False,
    ),
)


def class_scores() -> list[Score]:
    """List the scores with a value for each class, in the order of the columns."""
    return [score for score in SCORES if score.per_class]


def overall_scores() -> dict[str, Score]:
    """List the scores with a single number for a whole test, by the key of that number."""
    return {score.overall: score for score in SCORES if score.overall}


def row_scores() -> dict[str, Score]:
    """List those :func:`overall_scores` that are no means, and that are in the last rows."""
    found = overall_scores().items()
    return {key: score for key, score in found if score.in_rows and not score.per_class}


def drawn_scores(scored: Sequence[int]) -> dict[str, bootstrap.Statistic]:
    """Make the statistics for bootstrap intervals, by the key of the score.

    Args:
        scored: labels of the scored classes.
    """
    found = overall_scores().items()
    return {key: score.drawn(scored) for key, score in found if score.drawn}


@dataclass(frozen=True)
class Scores:
    """The scores of a test on one kind of labels.

    A class that is neither in the truth nor in the prediction has no score. It is left out of the
    means, and ``absent`` names it.

    Attributes:
        classes: names of the classes, by label.
        scored: labels of the classes in the means.
        by_class: the values of each class, by the name of the score.
        overall: the means and the scores that are single numbers, by their key in ``scores.json``.
        absent: names of the classes that are neither in the truth nor in the prediction.
    """

    classes: tuple[str, ...]
    scored: tuple[int, ...]
    by_class: dict[str, tuple[Value, ...]]
    overall: dict[str, Value]
    absent: tuple[str, ...]

    def mean_rows(self) -> list[tuple[str, list[Value]]]:
        """List the last rows of a table with a column for each of :func:`class_scores`.

        Returns:
            Name and values of each row; None if a column has no mean. If some classes are not
            scored, a second row has the means over all classes. Classes that are neither in the
            masks nor predicted have no IoU, and the name says how many these are.
        """
        k, scores = len(self.classes), class_scores()
        means = [score.mean if score.mean_of_all else None for score in scores]
        rows = [(self._mean_of(self.scored, ""), [self._overall(key) for key in means])]
        if len(self.scored) < k:
            of_all = [self._overall(score.mean_of_all) for score in scores]
            rows.append((self._mean_of(range(k), "all "), of_all))
        return rows

    def _mean_of(self, labels: Sequence[int], which: str) -> str:
        absent = sum(self.by_class["IoU"][label] is None for label in labels)
        return f"mean of {which}{len(labels) - absent}" + (f", {absent} absent" if absent else "")

    def _overall(self, key: str | None) -> Value:
        return None if key is None else self.overall[key]

    def classes_to_json(self) -> dict[str, dict[str, Value]]:
        """Convert to the values of each score, by the name of the class."""
        return {
            name: {score: values[label] for score, values in self.by_class.items()}
            for label, name in enumerate(self.classes)
        }

    @classmethod
    def from_json(
        cls, document: Any, classes: Sequence[str], in_mean: Sequence[str], where: str
    ) -> "Scores":
        """Read the scores of one kind of labels from ``scores.json``.

        A score that the code did not have when the file was written is None.

        Args:
            document: the part of the file under ``scores`` and the kind.
            classes: names of the classes, by label.
            in_mean: names of the scored classes.
            where: name of the document in an error.

        Raises:
            ValueError: an entry is missing or no number; the error names it.
        """
        found = checked(_form(), document, where)
        nothing = dict.fromkeys(score.name for score in class_scores())
        rows = [vars(found.classes[name]) if name in found.classes else nothing for name in classes]
        return cls(
            classes=tuple(classes),
            scored=tuple(label for label, name in enumerate(classes) if name in in_mean),
            by_class={name: tuple(row[name] for row in rows) for name in nothing},
            overall={key: getattr(found, key) for key in overall_scores()},
            absent=tuple(found.absent),
        )


def _form() -> type:
    """Make the type that ``scores.json`` must have for a kind of labels; it may hold more."""

    def field(key: str | None) -> Any:
        return (Value, ... if key in MAIN else None)

    of_class: Any = create_model(
        "_ClassScores", **{score.name: field(score.overall) for score in class_scores()}
    )
    fields: dict[str, Any] = {key: field(key) for key in overall_scores()}
    fields |= {"classes": (dict[str, of_class], ...), "absent": (list[str], ...)}
    return create_model("_Scores", **fields)


def pooled_scores(counts: Pooled, table: Sequence[Score] | None = None) -> Scores:
    """Compute the scores of a test.

    Args:
        counts: counts pooled over its images.
        table: the scores to compute; all of ``SCORES`` by default.
    """
    table = SCORES if table is None else table
    info, values = counts.info, {score.name: score.compute(counts) for score in table}
    overall: dict[str, Value] = {}
    for in_rows in (True, False):
        group = [score for score in table if score.in_rows is in_rows]
        for score in group:
            found = values[score.name]
            if score.mean:
                overall[score.mean] = mean_of_present([found[label] for label in info.scored])
            elif not score.per_class:
                overall[score.name] = found
        for score in group:
            if score.mean_of_all:
                overall[score.mean_of_all] = mean_of_present(values[score.name])
    seen = counts.truth + counts.predicted
    return Scores(
        classes=info.classes,
        scored=info.scored,
        by_class={score.name: tuple(values[score.name]) for score in table if score.per_class},
        overall=overall,
        absent=tuple(name for name, count in zip(info.classes, seen, strict=True) if not count),
    )


def compute_scores(matrix: Tensor | np.ndarray, info: DatasetInfo) -> Scores:
    """Compute the scores that need only a confusion matrix.

    Args:
        matrix: (k, k) pixels, rows = truth.
        info: description of the data set.

    Examples:
        >>> from network.datasets.info import BUILDING
        >>> scores = compute_scores(np.array([[90, 0], [5, 5]]), BUILDING)
        >>> scores.overall["OA"], scores.by_class["IoU"][1]
        (0.95, 0.5)
    """
    k = info.num_classes
    counts = Pooled(
        info=info,
        kind=None,
        matrix=torch.as_tensor(matrix).double().cpu().numpy(),
        boundary=np.zeros((6, k)),
        calibration=np.zeros((3, BINS)),
    )
    return pooled_scores(counts, [score for score in SCORES if score.of_matrix])


def mean_of_present(values: Sequence[Value]) -> Value:
    """Compute the mean of the values that are not None; None if there is no such value.

    Examples:
        >>> mean_of_present([0.5, None, 1.0])
        0.75
    """
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
