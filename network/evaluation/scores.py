"""The scores of a test, in one table: a new score is one more entry of ``SCORES``.

An entry says what a score is called, how it is computed from what was counted, and how it is
shown. ``scores.json``, ``scores.csv``, the printed table, the comparison of runs and the report
follow the table; none of them knows a score by its name that is not one of ``MAIN``.

Sources: of the boundary scores and the calibration error, see these files.
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
"""A score, 0 to 1; None where there is nothing to score."""

MAIN = ("mIoU", "mF1", "OA")
"""The scores that a training logs, published rows state, and every ``scores.json`` has."""


@dataclass(frozen=True)
class Pooled:
    """What was counted over all images of a test, for one kind of labels.

    Attributes:
        info: facts of the data set.
        kind: of the labels, such as ``"full"``; None where nobody has said.
        matrix: (k, k) float64 pixels; rows = truth, columns = prediction.
        boundary: (6, k) pixels, see :class:`BoundaryCounts`; zero where the labels have no
            boundaries, as on eroded masks.
        calibration: (3, bins), see :class:`Calibration`; zero where no confidences are known.
    """

    info: DatasetInfo
    kind: str | None
    matrix: np.ndarray
    boundary: np.ndarray
    calibration: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """Pixels of each class that are right; (k,)."""
        return self.matrix.diagonal()

    @property
    def truth(self) -> np.ndarray:
        """Pixels of each class in the truth; (k,)."""
        return self.matrix.sum(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """Pixels of each class in the prediction; (k,)."""
        return self.matrix.sum(axis=0)


@dataclass(frozen=True)
class Score:
    """One score: what it is called, how it is computed, and how it is shown.

    Args:
        name: its key in ``scores.json``; of each class, if every class has a value of its own.
        heading: of its column where models stand side by side.
        compute: from the counts to one :data:`Value`, or to a tuple of k values, by label.
        per_class: every class has a value of its own.
        mean: key in ``scores.json`` of the mean over the scored classes; None where a mean would
            say nothing.
        lower_is_better: as with errors.
        of_matrix: it is computed from the confusion matrix alone. Then it is also given for the
            other padding policy.
        in_rows: its mean, or its one number, is in the last rows of the printed table and of
            ``scores.csv``, and there is a mean over all classes. Else it is in ``scores.json``
            alone and, if it is one number, in a line below the table.
        within_tolerance: it counts boundaries that are ``--boundary-tolerance`` pixels apart.
        source: who has defined it, for the reader of a table.
        drawn: makes of the scored labels the statistic that bootstrap intervals are of; None: it
            has no interval.

    Raises:
        ValueError: a mean of what is one number.
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
        """Key in ``scores.json`` of the one number that stands for a test; None: there is none."""
        return self.mean if self.per_class else self.name

    @property
    def mean_of_all(self) -> str | None:
        """Key in ``scores.json`` of the mean over all classes, those that do not count too."""
        return f"{self.mean}_all_classes" if self.mean and self.in_rows else None

    @property
    def words(self) -> str:
        """The name as people write it."""
        return self.name.replace("_", " ")

    def note(self, tolerance: int) -> str:
        """What a reader of its column should know, in a few words; often nothing.

        Args:
            tolerance: of boundaries, pixels.
        """
        return f"within {tolerance} pixels" if self.within_tolerance else self.source


def ratio(part: float, whole: float) -> Value:
    """A share; None where there is nothing to have a share in."""
    return float(part / whole) if whole else None


def ratios(parts: np.ndarray, wholes: np.ndarray) -> tuple[Value, ...]:
    """The share of each class; (k,) and (k,)."""
    return tuple(ratio(part, whole) for part, whole in zip(parts, wholes, strict=True))


# Files and tables have them in this order.
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
    """The scores that every class has a value of, in the order of columns."""
    return [score for score in SCORES if score.per_class]


def overall_scores() -> dict[str, Score]:
    """The scores that a test has one number of, by the key of that number, in order."""
    return {score.overall: score for score in SCORES if score.overall}


def row_scores() -> dict[str, Score]:
    """Those of :func:`overall_scores` that are one number from the start, and stand in rows."""
    found = overall_scores().items()
    return {key: score for key, score in found if score.in_rows and not score.per_class}


def drawn_scores(scored: Sequence[int]) -> dict[str, bootstrap.Statistic]:
    """The statistics that have bootstrap intervals, by key.

    Args:
        scored: labels in the means.
    """
    found = overall_scores().items()
    return {key: score.drawn(scored) for key, score in found if score.drawn}


@dataclass(frozen=True)
class Scores:
    """What a test has scored on one kind of labels.

    A class that is neither in the truth nor in the prediction has no score and is left out of the
    means; ``absent`` names it.

    Attributes:
        classes: names, by label.
        scored: labels in the means.
        by_class: by the name of a score, its value of each class.
        overall: by key, as in ``scores.json``: the means, and what is one number for all classes.
        absent: names of the classes that are nowhere.
    """

    classes: tuple[str, ...]
    scored: tuple[int, ...]
    by_class: dict[str, tuple[Value, ...]]
    overall: dict[str, Value]
    absent: tuple[str, ...]

    def mean_rows(self) -> list[tuple[str, list[Value]]]:
        """The last rows of a table with a column for each of :func:`class_scores`.

        Returns:
            Name and values of each; None where a column has no mean. There is one row where all
            classes are scored, else a second with the means over all.
        """
        k, scores = len(self.classes), class_scores()
        means = [score.mean if score.mean_of_all else None for score in scores]
        rows = [(f"mean of {len(self.scored)}", [self._overall(key) for key in means])]
        if len(self.scored) < k:
            of_all = [self._overall(score.mean_of_all) for score in scores]
            rows.append((f"mean of all {k}", of_all))
        return rows

    def _overall(self, key: str | None) -> Value:
        return None if key is None else self.overall[key]

    def classes_to_json(self) -> dict[str, dict[str, Value]]:
        """By the name of a class, its value of each score."""
        return {
            name: {score: values[label] for score, values in self.by_class.items()}
            for label, name in enumerate(self.classes)
        }

    @classmethod
    def from_json(
        cls, document: Any, classes: Sequence[str], in_mean: Sequence[str], where: str
    ) -> "Scores":
        """Those of one kind of labels in ``scores.json``; None for scores that have come since.

        Args:
            document: of that file, under ``scores`` and the kind.
            classes: names, by label.
            in_mean: names of the scored classes.
            where: what to call the document in an error.

        Raises:
            ValueError: something is missing or no number; it says what.
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
    """What ``scores.json`` must hold for a kind of labels; it may hold more."""

    def field(key: str | None) -> Any:
        return (Value, ... if key in MAIN else None)

    of_class: Any = create_model(
        "_ClassScores", **{score.name: field(score.overall) for score in class_scores()}
    )
    fields: dict[str, Any] = {key: field(key) for key in overall_scores()}
    fields |= {"classes": (dict[str, of_class], ...), "absent": (list[str], ...)}
    return create_model("_Scores", **fields)


def pooled_scores(counts: Pooled, table: Sequence[Score] | None = None) -> Scores:
    """The scores of a test.

    Args:
        counts: pooled over its images.
        table: which scores; all of ``SCORES`` by default.
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
    """Compute the scores that a confusion matrix alone gives.

    Args:
        matrix: pixels (k, k), rows = truth.
        info: facts of the data set.

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

    >>> mean_of_present([0.5, None, 1.0])
    0.75
    """
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
