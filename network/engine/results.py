"""Scores as a table, JSON and CSV."""

import csv
import io
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from network.datasets.files import replacing
from network.engine.metrics import Scores

_COLUMNS = ("IoU", "F1", "precision", "recall")
# What of the protocol stands in every row of the CSV; the JSON has all of it.
_STAMP = ("data_set", "split", "trained_on", "tta", "views", "checkpoint_sha256")


def write_results(folder: Path, protocol: dict, scores: dict[str, Scores]) -> None:
    """``scores.json`` and ``scores.csv``: scores by label kind, with the protocol."""
    document = {
        "protocol": protocol,
        "scores": {kind: _as_dict(s) for kind, s in scores.items()},
    }
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow([*_STAMP, "labels", "padding", "class", "in_mean", *_COLUMNS, "OA"])
    for kind, s in scores.items():
        stamp = [*(protocol[key] for key in _STAMP), kind, _padding(protocol, kind)]
        for label, values in enumerate(_rows(s)):
            writer.writerow([*stamp, s.classes[label], label in s.scored, *values, None])
        for name, iou, f1 in _means(s):
            writer.writerow([*stamp, name, None, iou, f1, None, None, s.oa])
    _write_text(folder / "scores.csv", rows.getvalue())
    _write_text(folder / "scores.json", json.dumps(document, indent=2) + "\n")


def print_results(protocol: dict, scores: dict[str, Scores]) -> None:
    """A table for each label kind, titled with what it measures."""
    for kind, s in scores.items():
        seen = {True: " (TRAINED ON)", False: "", None: " (unknown if trained on)"}
        title = (
            f"{protocol['data_set']} {protocol['split']}"
            f"{seen[protocol['trained_on']]}, {kind} masks, "
            f"{protocol['images']} images, TTA {protocol['tta']} ({protocol['views']} views), "
            f"padding: {_padding(protocol, kind)}"
        )
        table = Table(title=title, title_justify="left")
        table.add_column("class")
        for column in _COLUMNS:
            table.add_column(column, justify="right")
        for label, values in enumerate(_rows(s)):
            mark = "" if label in s.scored else " (not in mean)"
            table.add_row(s.classes[label] + mark, *map(_percent, values))
        table.add_section()
        for name, iou, f1 in _means(s):
            table.add_row(name, _percent(iou), _percent(f1), "", "")
        table.add_row("OA", _percent(s.oa), "", "", "")
        Console().print(table)
        if s.absent:
            print(f"left out, neither in truth nor in prediction: {', '.join(s.absent)}")


def _padding(protocol: dict, kind: str) -> str:
    return protocol["masks"][kind]["padding_policy"]


def _rows(s: Scores) -> list[tuple[float | None, ...]]:
    return list(zip(s.iou, s.f1, s.precision, s.recall, strict=True))


def _means(s: Scores) -> list[tuple[str, float | None, float | None]]:
    """Name, mIoU and mF1 of each mean; one only where all classes are scored."""
    k = len(s.classes)
    means = [(f"mean of {len(s.scored)}", s.miou, s.mf1)]
    if len(s.scored) < k:
        means.append((f"mean of all {k}", s.miou_all, s.mf1_all))
    return means


def _as_dict(s: Scores) -> dict:
    names = dict(zip(s.classes, _rows(s), strict=True))
    return {
        "mIoU": s.miou,
        "mF1": s.mf1,
        "OA": s.oa,
        "mIoU_all_classes": s.miou_all,
        "mF1_all_classes": s.mf1_all,
        "classes": {
            name: dict(zip(_COLUMNS, values, strict=True)) for name, values in names.items()
        },
        "absent": list(s.absent),
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text)
