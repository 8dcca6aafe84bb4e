"""Writing of a test's results as a table, JSON, CSV and figures, and reading them again."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from network.config import Experiment
from network.console import text_console
from network.datasets.frames import find_frames
from network.datasets.segmentation import Sample, find_samples
from network.errors import InputError
from network.evaluation.figures import write_reliability
from network.evaluation.json_forms import checked
from network.evaluation.scores import (
    SCORES,
    Scores,
    Value,
    class_scores,
    overall_scores,
    row_scores,
)
from network.evaluation.stamp import Stamp
from network.evaluation.summary import Summary
from network.writing import read_json, replacing

# Entries of the protocol in every row of the CSV; the JSON has the whole protocol.
_STAMP = ("data_set", "split", "trained_on", "tta", "views", "checkpoint_sha256")
PROTOCOL_FILE, SCORES_FILE, SCORES_TABLE = "protocol.json", "scores.json", "scores.csv"
REPORT_FILE, AREA_SCORES = "report.html", "scores_by_area.csv"
FIGURES = "figures"


@dataclass(frozen=True)
class Result:
    """The content of ``scores.json``.

    Attributes:
        folder: folder of the file.
        protocol: the protocol stamp.
        scores: scores by label kind; None for a score that the code did not have when the file was
            written.
    """

    folder: Path
    protocol: Stamp
    scores: dict[str, Scores]


@dataclass(frozen=True)
class _ResultFile:
    """The outer form of ``scores.json``."""

    protocol: dict[str, Any]
    scores: dict[str, Any]


def read_result(folder: Path) -> Result:
    """Read the result that a test script wrote into ``folder``.

    Raises:
        InputError: there is no result, or it does not say how it was measured.
    """
    with _stamped(folder / SCORES_FILE) as document:
        file = checked(_ResultFile, document)
        protocol = Stamp.from_json(file.protocol, "protocol")
        scores = {
            kind: Scores.from_json(
                found, protocol.classes, protocol.classes_in_mean, f"scores.{kind}"
            )
            for kind, found in file.scores.items()
        }
        for kind in scores:
            protocol.comparability(kind)
    return Result(folder, protocol, scores)


def tested_samples(experiment: Experiment, protocol: Stamp) -> Sequence[Sample]:
    """Find the images of a test.

    Args:
        experiment: the experiment.
        protocol: the protocol stamp of the test.
    """
    if protocol.frames is not None:
        return find_frames(Path(protocol.frames), experiment.dataset)
    return find_samples(experiment.dataset, experiment.root, protocol.split)


def read_protocol(folder: Path) -> Stamp:
    """Read the stamp of a test, which may not have scores (yet).

    Raises:
        InputError: there is no stamp, or it is not complete.
    """
    path = folder / PROTOCOL_FILE
    with _stamped(path if path.is_file() else folder / SCORES_FILE) as document:
        protocol = Stamp.from_json(document.get("protocol", document))
        if protocol.precision is None:
            raise ValueError("precision: Field required")
        for kind in protocol.label_kinds:
            protocol.comparability(kind)
    return protocol


@contextmanager
def _stamped(path: Path) -> Iterator[Any]:
    """Provide the content of a JSON file; errors in the block mean that its stamp is incomplete."""
    if not path.is_file():
        raise InputError(path, "no such file", "give a folder that a test script wrote")
    try:
        yield read_json(path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            path,
            f"no complete protocol stamp ({error}), nobody can tell what these scores may be "
            "compared with",
            "run the test script again",
        ) from error


def write_results(folder: Path, protocol: Stamp, summaries: dict[str, Summary]) -> None:
    """Write scores and protocol to ``scores.json`` and ``scores.csv``.

    Args:
        folder: folder of the files.
        protocol: the protocol stamp.
        summaries: the scores by label kind.
    """
    document = {
        "protocol": protocol.to_json(),
        "scores": {kind: _as_dict(summary) for kind, summary in summaries.items()},
    }
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    columns, numbers = [score.name for score in class_scores()], list(row_scores())
    writer.writerow([*_STAMP, "labels", "padding", "class", "in_mean", *columns, *numbers])
    for kind, summary in summaries.items():
        s = summary.scores
        padding = protocol.masks[kind].padding_policy
        stamp = [*(getattr(protocol, name) for name in _STAMP), kind, padding]
        for label, values in enumerate(_rows(s)):
            nothing = [None] * len(numbers)
            writer.writerow([*stamp, s.classes[label], label in s.scored, *values, *nothing])
        for name, means in s.mean_rows():
            overall = [s.overall[key] for key in numbers]
            writer.writerow([*stamp, name, None, *means, *overall])
    _write_text(folder / SCORES_TABLE, rows.getvalue())
    _write_text(folder / SCORES_FILE, json.dumps(document, indent=2) + "\n")


def write_figures(folder: Path, protocol: Stamp, summaries: dict[str, Summary]) -> None:
    """Draw the reliability diagram ``figures/reliability_<kind>.png`` of each kind of labels.

    A diagram of an earlier result is deleted where this one has no probabilities.
    """
    for kind, summary in summaries.items():
        figure = folder / FIGURES / f"reliability_{kind}.png"
        if not summary.calibration.any():
            figure.unlink(missing_ok=True)
            continue
        title = f"{protocol.data_set} {protocol.split}, {kind} masks"
        write_reliability(summary.calibration, figure, title)


def print_results(protocol: Stamp, summaries: dict[str, Summary]) -> None:
    """Print a table of scores for each label kind; the title says how they were measured."""
    for kind, summary in summaries.items():
        s = summary.scores
        stated = {key: fact.words for key, fact in protocol.comparability(kind).items()}
        title = (
            f"{stated['data set']} {stated['split']}, {kind} masks, {protocol.size}, "
            f"TTA {stated['TTA']}, padding: {stated['padding']}"
        )
        table = Table(title=title, title_justify="left")
        table.add_column("class")
        for score in class_scores():
            table.add_column(score.words, justify="right")
        for label, values in enumerate(_rows(s)):
            mark = "" if label in s.scored else " (not in mean)"
            table.add_row(s.classes[label] + mark, *map(_percent, values))
        table.add_section()
        for name, means in s.mean_rows():
            shown = zip(class_scores(), means, strict=True)
            table.add_row(name, *(_percent(v) if score.mean_of_all else "" for score, v in shown))
        for key, score in row_scores().items():
            table.add_row(score.words, _percent(s.overall[key]))
        text_console(110).print(table)
        for name, (low, high) in summary.intervals.items():
            print(
                f"{name} {_percent(low)} to {_percent(high)} (95 % interval over {protocol.unit})"
            )
        if not summary.intervals:
            print(f"too few {protocol.unit} for 95 % intervals: {summary.units}")
        print("; ".join(_remarks(s, protocol.boundary_tolerance)))
        if summary.other_padding:
            miou, oa = (_percent(summary.other_padding.overall[key]) for key in ("mIoU", "OA"))
            print(f"{other_padding(summary)}: mIoU {miou}, OA {oa}")
        if s.absent:
            print(f"left out, neither in truth nor in prediction: {', '.join(s.absent)}")


def other_padding(summary: Summary) -> str:
    """Describe in words how padding counts in the scores under the other padding policy."""
    if summary.padding_is_labeled:
        return "without padding"
    return "with padding scored as the first class, as in many published rows"


def _rows(s: Scores) -> list[tuple[Value, ...]]:
    """List the values of each class, in the order of the columns."""
    return list(zip(*(s.by_class[score.name] for score in class_scores()), strict=True))


def _remarks(s: Scores, tolerance: int) -> list[str]:
    """List the remarks below the printed table."""
    return [
        *(
            f"{score.words} {_percent(s.overall[key])}"
            for key, score in overall_scores().items()
            if not score.in_rows and not score.per_class
        ),
        *(f"{score.words} {score.note(tolerance)}" for score in SCORES if score.within_tolerance),
    ]


def _as_dict(summary: Summary) -> dict:
    s, other = summary.scores, summary.other_padding
    return {
        **s.overall,
        "intervals_95": {name: list(ends) for name, ends in summary.intervals.items()},
        "classes": s.classes_to_json(),
        "absent": list(s.absent),
        "padding_is_labeled": summary.padding_is_labeled,
        "other_padding": None if other is None else other.overall,
        "worst_images": [{"name": name, "mIoU": miou} for name, miou in summary.worst],
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
