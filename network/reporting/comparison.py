"""Comparison of several runs in one table: which results are comparable, and how they differ.

Runs of one model that differ only by their seed share a row, with mean and standard deviation.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from network.differences import defines_training
from network.errors import InputError
from network.evaluation import bootstrap
from network.evaluation.protocol import LABELS_KEY
from network.evaluation.records import check_counts, read_records
from network.evaluation.results import SCORES_FILE, Result, read_result
from network.evaluation.scores import Scores, Value, class_scores, drawn_scores, overall_scores
from network.evaluation.stamp import Fact


@dataclass(frozen=True)
class Model:
    """A model with its runs.

    Attributes:
        name: name of the model.
        runs: results of the runs, at least one.
    """

    name: str
    runs: tuple[Result, ...]

    @property
    def seeds(self) -> list[int | None]:
        return [run.protocol.seed for run in self.runs]


@dataclass(frozen=True)
class Cell:
    """A score of one model in the table.

    Attributes:
        mean: mean over the runs; None if a run does not have the score.
        std: sample standard deviation over the runs; None also with only one run.
    """

    mean: float | None
    std: float | None


@dataclass(frozen=True)
class Comparison:
    """A table of several models for one kind of labels.

    Attributes:
        kind: kind of the labels.
        models: the models.
        protocol: facts that all models share, by name.
        differences: facts that differ: by name, the fact of each model.
        columns: keys of the scores as in ``scores.json``; for a class, as in ``"IoU Car"``.
        cells: scores, one row for each model.
        best: for each column, the row with the best mean; None if rows are not comparable.
    """

    kind: str
    models: tuple[Model, ...]
    protocol: dict[str, str]
    differences: dict[str, list[str]]
    columns: tuple[str, ...]
    cells: list[list[Cell]]
    best: list[int | None]


def read_models(words: Sequence[str]) -> list[Model]:
    """Read models from the words ``FOLDER`` or ``NAME=FOLDER``; runs with one name are one model.

    A folder without a name gets the name of its experiment.

    Args:
        words: the words, as given on the command line.

    Raises:
        InputError: a folder has no result, a checkpoint comes twice, or runs with the same name
            differ by more than their seed.
    """
    named: dict[str, list[Result]] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if Path(word).is_dir() or not equals:
            name, folder = "", word
        result = read_result(Path(folder))
        name = name or result.protocol.name
        for other in named.setdefault(name, []):
            check_runs_of_one_model(other, result)
        named[name].append(result)
    return [Model(name, tuple(results)) for name, results in named.items()]


def check_runs_of_one_model(one: Result, other: Result) -> None:
    """Raise an :class:`InputError` unless two results differ only by their seed."""
    where, apart = f"{other.folder}", f"give the two different names, e.g. OTHER={other.folder}"
    trainings = [result.protocol.training for result in (one, other)]
    if one.protocol.checkpoint_sha256 == other.protocol.checkpoint_sha256:
        raise InputError(
            where, f"of the same checkpoint as {one.folder}", f"leave it out or {apart}"
        )
    if not all(trainings):
        raise InputError(
            where,
            f"nothing says how it and {one.folder} were trained, so they may not be runs of one "
            "model",
            f"{apart}",
        )
    if one.protocol.seed == other.protocol.seed:
        # Equal runs would make the standard deviation too small.
        raise InputError(
            where,
            f"of the same seed {one.protocol.seed} as {one.folder}",
            f"leave it out or {apart}",
        )
    # The seed also draws the images of a share, so the labels of two seeds differ.
    is_drawn = all(training.get("data.image_share", 1.0) < 1 for training in trainings if training)
    settings: list[dict[str, Any]] = [
        {
            key: value
            for key, value in (training or {}).items()
            if key != "seed" and defines_training(key) and not (is_drawn and key == LABELS_KEY)
        }
        for training in trainings
    ]
    stated = [
        {
            f"{key} ({kind})": fact.words
            for kind in one.scores.keys() & other.scores.keys()
            for key, fact in result.protocol.comparability(kind).items()
        }
        for result in (one, other)
    ]
    for a, b in (settings, stated):
        for key in sorted(a.keys() | b.keys()):
            if a.get(key) != b.get(key):
                raise InputError(
                    where,
                    f"{key} is {b.get(key)}, in {one.folder} {a.get(key)}: not runs of one "
                    "model under one protocol",
                    f"{apart}",
                )


def common_kinds(models: Sequence[Model]) -> list[str]:
    """List the label kinds that all runs were scored on.

    Raises:
        InputError: there is no such kind.
    """
    results = [run for model in models for run in model.runs]
    kinds = [kind for kind in results[0].scores if all(kind in r.scores for r in results)]
    if not kinds:
        held = "; ".join(f"{r.folder}: {', '.join(r.scores) or 'none'}" for r in results)
        raise InputError(f"no kind of labels that all runs were scored on ({held})")
    return kinds


def compare(
    models: Sequence[Model], kind: str, per_class: str | None = None, mixed: bool = False
) -> Comparison:
    """Put the scores of several models into one table.

    Args:
        models: the models.
        kind: kind of the labels.
        per_class: name of a score, e.g. ``"IoU"``, whose values of each class get columns too.
        mixed: whether to allow results of different protocols; the table then lists the
            differences.

    Raises:
        InputError: the protocols differ.
    """
    stated = [
        model.runs[0].protocol.comparability(kind)
        | {"absent classes (left out of the mean)": Fact(_left_out(model, kind))}
        for model in models
    ]
    by_name = {key: [one[key] for one in stated] for key in stated[0]}
    # Facts that are unknown may differ, so they are not shared.
    shared = {
        key: facts[0].words
        for key, facts in by_name.items()
        if len(set(facts)) == 1 and facts[0].is_known
    }
    differences = {
        key: [fact.words for fact in facts] for key, facts in by_name.items() if key not in shared
    }
    if differences and not mixed:
        folders = [model.runs[0].folder / SCORES_FILE for model in models]
        key, values = next(iter(differences.items()))
        listed = "; ".join(f"{f}: {v}" for f, v in zip(folders, values, strict=True))
        raise InputError(
            "",
            f"different protocols, these scores cannot be compared: {key} ({listed})"
            + (f", and {', '.join(list(differences)[1:])}" if len(differences) > 1 else ""),
            "test all runs alike, or give mixed=True for a table that says so",
        )
    # Models with other classes get empty cells in these columns.
    classes = models[0].runs[0].protocol.classes if per_class else []
    overall = overall_scores()
    columns = [*overall, *(f"{per_class} {name}" for name in classes)]
    lower_is_better = {score.name for score in class_scores() if score.lower_is_better}
    is_lower = [score.lower_is_better for score in overall.values()]
    is_lower += [per_class in lower_is_better] * len(classes)
    rows = []
    for model in models:
        of_runs = [_values(run.scores[kind], per_class, classes) for run in model.runs]
        rows.append([_cell(column) for column in zip(*of_runs, strict=True)])
    kept = [n for n in range(len(columns)) if any(row[n].mean is not None for row in rows)]
    best = [None if differences else _best([row[n] for row in rows], is_lower[n]) for n in kept]
    return Comparison(
        kind=kind,
        models=tuple(models),
        protocol=shared,
        differences=differences,
        columns=tuple(columns[n] for n in kept),
        cells=[[row[n] for n in kept] for row in rows],
        best=best,
    )


def _left_out(model: Model, kind: str) -> str:
    """List the classes that are in neither truth nor prediction, so not in the mean."""
    names = set(model.runs[0].protocol.classes_in_mean)
    by_run = [names & set(run.scores[kind].absent) for run in model.runs]
    return " / ".join(sorted({", ".join(sorted(absent)) or "none" for absent in by_run}))


def _values(scores: Scores, per_class: str | None, classes: Sequence[str]) -> list[Value]:
    of_classes = scores.by_class.get(per_class, ()) if per_class else ()
    by_name = dict(zip(scores.classes, of_classes, strict=False))
    return [
        *(scores.overall[key] for key in overall_scores()),
        *(by_name.get(name) for name in classes),
    ]


def _cell(values: Sequence[float | None]) -> Cell:
    # If only some runs have the score, their mean would not be comparable with that of all runs.
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Cell(None, None)
    return Cell(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def _best(cells: Sequence[Cell], lower_is_better: bool) -> int | None:
    found = [(cell.mean, row) for row, cell in enumerate(cells) if cell.mean is not None]
    if len(found) < 2:
        return None
    return (min if lower_is_better else max)(found)[1]


@dataclass(frozen=True)
class Difference:
    """A difference between the scores of two models.

    Attributes:
        one: name of the first model.
        other: name of the second model.
        score: key of the score.
        difference: score of the second model minus score of the first, -1 to 1.
        interval: 95 % interval over tiles or images; None with fewer than two of them. With fewer
            than six, it is only the range of the draws.
        count: number of tiles or images.
        unit: ``"tiles"`` or ``"images"``.
    """

    one: str
    other: str
    score: str
    difference: float
    interval: tuple[float, float] | None
    count: int
    unit: str

    @property
    def is_clear(self) -> bool:
        """Whether the whole interval is on one side of zero, and there are enough units."""
        if self.interval is None or self.has_few:
            return False
        return self.interval[0] > 0 or self.interval[1] < 0

    @property
    def has_few(self) -> bool:
        """Whether there are too few tiles or images for a 95 % interval."""
        return self.count < bootstrap.FEWEST


def paired_differences(models: Sequence[Model], kind: str) -> list[Difference]:
    """Compare each further model with the first, on the same draws of the tiles or images.

    The runs of a model are averaged within each draw. So the interval shows the effect of other
    test images, but not that of other trainings.

    Args:
        models: the models.
        kind: kind of the labels.

    Raises:
        InputError: two runs have different images or different truth.
    """
    first = models[0].runs[0]
    names, truth, over = None, None, first.protocol.unit
    stacks: list[list[np.ndarray]] = []
    for model in models:
        stacks.append([])
        for run in model.runs:
            found = read_records(run.folder)
            if len(found) != run.protocol.images:
                raise InputError(
                    run.folder,
                    f"counts of {len(found)} images, the result is of {run.protocol.images}",
                    "run the test script again",
                )
            names = names or sorted(found)
            if sorted(found) != names:
                raise InputError(
                    run.folder, f"other images than in {first.folder}", "test both on one split"
                )
            check_counts(run.folder, found.values(), [kind], len(run.protocol.classes))
            counts = [found[name].counts[kind] for name in names]
            matrices = np.stack([c.matrix + c.padding_matrix for c in counts])
            pixels = matrices.sum(axis=2)  # pixels of each class in the truth of each image
            truth = pixels if truth is None else truth
            if pixels.shape != truth.shape or (pixels != truth).any():
                raise InputError(
                    run.folder,
                    f"other {kind} masks than in {first.folder}",
                    "test both on the same masks",
                )
            patch_names = first.protocol.patch_names or ""
            units = bootstrap.units(names, matrices, over == "tiles", patch_names)
            stacks[-1].append(units)
    classes = first.protocol.classes
    scored = [classes.index(name) for name in first.protocol.classes_in_mean]
    drawn = drawn_scores(scored)
    differences = []
    for model, stack in zip(models[1:], stacks[1:], strict=True):
        for key, statistic in drawn.items():
            measured = [
                np.mean([statistic(m.sum(0)[None])[0] for m in s]) for s in (stacks[0], stack)
            ]
            differences.append(
                Difference(
                    one=models[0].name,
                    other=model.name,
                    score=key,
                    difference=float(measured[1] - measured[0]),
                    interval=bootstrap.paired_difference(stacks[0], stack, statistic),
                    count=len(stack[0]),
                    unit=over,
                )
            )
    return differences
