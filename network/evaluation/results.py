"""What a test has measured as a table, JSON, CSV and figures, and read again."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from network.errors import InputError
from network.evaluation.figures import write_reliability
from network.evaluation.metrics import Scores, mean_of_present
from network.evaluation.protocol import comparability
from network.evaluation.stamp import check_result, check_stamp
from network.evaluation.summary import Summary
from network.writing import read_json, replacing

_COLUMNS = ("IoU", "F1", "precision", "recall", "boundary_IoU", "boundary_F1")
# What of the protocol stands in every row of the CSV; the JSON has all of it.
_STAMP = ("data_set", "split", "trained_on", "tta", "views", "checkpoint_sha256")
PROTOCOL_FILE, SCORES_FILE, SCORES_TABLE = "protocol.json", "scores.json", "scores.csv"
REPORT_FILE = "report.html"
FIGURES = "figures"


@dataclass(frozen=True)
class Result:
    """What ``scores.json`` holds.

    Attributes:
        protocol: the stamp, see :func:`network.evaluation.protocol.stamp`.
        scores: by label kind.
    """

    folder: Path
    protocol: dict
    scores: dict[str, dict]


def read_result(folder: Path) -> Result:
    """The result that a test script left in ``folder``.

    Raises:
        InputError: there is none, or it does not say how it was measured.
    """
    with _stamped(folder / SCORES_FILE) as document:
        check_result(document)
        result = Result(folder, document["protocol"], document["scores"])
        for kind in result.scores:
            comparability(result.protocol, kind)
    return result


def read_protocol(folder: Path) -> dict:
    """The stamp of a test that may have no scores, or not yet.

    Raises:
        InputError: there is none, or it is not complete.
    """
    path = folder / PROTOCOL_FILE
    with _stamped(path if path.is_file() else folder / SCORES_FILE) as document:
        protocol = document.get("protocol", document)
        check_stamp(protocol)
        for kind in protocol["label_kinds"]:
            comparability(protocol, kind)
    return protocol


@contextmanager
def _stamped(path: Path) -> Iterator[Any]:
    """What a JSON file holds, for a block that fails where the stamp in it is not complete."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a folder that a test script wrote")
    try:
        yield read_json(path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: no complete protocol stamp ({error}), nobody can tell what these scores may "
            "be compared with; run the test script again"
        ) from error


def write_results(folder: Path, protocol: dict, summaries: dict[str, Summary]) -> None:
    """Write scores by label kind, with the protocol: ``scores.json`` and ``scores.csv``."""
    document = {
        "protocol": protocol,
        "scores": {kind: _as_dict(summary) for kind, summary in summaries.items()},
    }
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow([*_STAMP, "labels", "padding", "class", "in_mean", *_COLUMNS, "OA"])
    for kind, summary in summaries.items():
        s = summary.scores
        stamp = [*(protocol[key] for key in _STAMP), kind, _padding(protocol, kind)]
        for label, values in enumerate(_rows(summary)):
            writer.writerow([*stamp, s.classes[label], label in s.scored, *values, None])
        for name, iou, f1 in _means(s):
            writer.writerow([*stamp, name, None, iou, f1, None, None, None, None, s.oa])
    _write_text(folder / SCORES_TABLE, rows.getvalue())
    _write_text(folder / SCORES_FILE, json.dumps(document, indent=2) + "\n")


def write_figures(folder: Path, protocol: dict, summaries: dict[str, Summary]) -> None:
    """Write ``figures/reliability_<kind>.png`` for each kind of labels."""
    for kind, summary in summaries.items():
        if summary.calibration_error is None:
            continue
        title = f"{protocol['data_set']} {protocol['split']}, {kind} masks"
        figure = folder / FIGURES / f"reliability_{kind}.png"
        write_reliability(summary.calibration, summary.calibration_error, figure, title)


def print_results(protocol: dict, summaries: dict[str, Summary]) -> None:
    """A table for each label kind, titled with what it measures."""
    for kind, summary in summaries.items():
        s = summary.scores
        stated = comparability(protocol, kind)
        title = (
            f"{stated['data set']} {stated['split']}, {kind} masks, {stated['images']} images, "
            f"TTA {stated['TTA']}, padding: {stated['padding']}"
        )
        table = Table(title=escape(title), title_justify="left")
        table.add_column("class")
        for column in _COLUMNS:
            table.add_column(column.replace("_", " "), justify="right")
        for label, values in enumerate(_rows(summary)):
            mark = "" if label in s.scored else " (not in mean)"
            table.add_row(escape(s.classes[label] + mark), *map(_percent, values))
        table.add_section()
        for name, iou, f1 in _means(s):
            table.add_row(name, _percent(iou), _percent(f1))
        table.add_row("OA", _percent(s.oa))
        # In a narrow terminal whole lines wrap: the cells of a table stay in one piece.
        Console(width=max(110, Console().width)).print(table)
        for name, (low, high) in summary.intervals.items():
            print(
                f"{name} {_percent(low)} to {_percent(high)} (95 % interval over {unit(protocol)})"
            )
        print(
            f"calibration error {_percent(summary.calibration_error)}; boundary F1 within "
            f"{protocol['boundary_tolerance']} pixels"
        )
        if summary.other_padding:
            o = summary.other_padding
            print(f"{other_padding(summary)}: mIoU {_percent(o.miou)}, OA {_percent(o.oa)}")
        if s.absent:
            print(f"left out, neither in truth nor in prediction: {', '.join(s.absent)}")


def _padding(protocol: dict, kind: str) -> str:
    return protocol["masks"][kind]["padding_policy"]


def other_padding(summary: Summary) -> str:
    """What the scores under the other policy are."""
    if summary.padding_is_labeled:
        return "without padding"
    return "with padding scored as the first class, as in many published rows"


def unit(protocol: dict) -> str:
    """What bootstrap intervals are over."""
    is_cut = any(masks["tiling"].startswith("patches") for masks in protocol["masks"].values())
    return "tiles" if is_cut else "images"


def _rows(summary: Summary) -> list[tuple[float | None, ...]]:
    s = summary.scores
    columns = s.iou, s.f1, s.precision, s.recall, summary.boundary_iou, summary.boundary_f1
    return list(zip(*columns, strict=True))


def _means(s: Scores) -> list[tuple[str, float | None, float | None]]:
    """Name, mIoU and mF1 of each mean; one only where all classes are scored."""
    k = len(s.classes)
    means = [(f"mean of {len(s.scored)}", s.miou, s.mf1)]
    if len(s.scored) < k:
        means.append((f"mean of all {k}", s.miou_all, s.mf1_all))
    return means


def _as_dict(summary: Summary) -> dict:
    s, other = summary.scores, summary.other_padding
    names = dict(zip(s.classes, _rows(summary), strict=True))
    scored = list(s.scored)
    return {
        **_mean_scores(s),
        "mean_boundary_IoU": mean_of_present([summary.boundary_iou[n] for n in scored]),
        "mean_boundary_F1": mean_of_present([summary.boundary_f1[n] for n in scored]),
        "calibration_error": summary.calibration_error,
        "intervals_95": {name: list(ends) for name, ends in summary.intervals.items()},
        "classes": {
            name: dict(zip(_COLUMNS, values, strict=True)) for name, values in names.items()
        },
        "absent": list(s.absent),
        "padding_is_labeled": summary.padding_is_labeled,
        "other_padding": None if other is None else _mean_scores(other),
        "worst_images": [{"name": name, "mIoU": miou} for name, miou in summary.worst],
    }


def _mean_scores(s: Scores) -> dict[str, float | None]:
    return {
        "mIoU": s.miou,
        "mF1": s.mf1,
        "OA": s.oa,
        "mIoU_all_classes": s.miou_all,
        "mF1_all_classes": s.mf1_all,
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
