"""Area estimates as tables, JSON, CSV and a figure."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from rich.table import Table

from network.console import text_console
from network.datasets.schema import RGB
from network.errors import InputError
from network.evaluation.area_estimates import SPREAD, AreaEstimates, Estimate
from network.evaluation.figure_fonts import save_figure
from network.evaluation.results import FIGURES
from network.writing import owned, read_json, replacing

AREAS_FILE, AREAS_TABLE, MATRIX_TABLE = "areas.json", "areas.csv", "error_matrix.csv"
FIGURE = f"{FIGURES}/areas.png"

_DEFINING = (
    *("map_sha256", "sample_sha256", "attribute", "values", "stratum", "classes"),
    "areas_sha256",
)


@dataclass(frozen=True)
class AreaReport:
    """All that is written about the area estimates of a map.

    Attributes:
        estimates: the estimates, in hectares.
        classes: names of the classes.
        palette: red, green and blue of each class, 0 to 255.
        pixels: (k,) number of pixels of each class on the map.
        left_out: number of points that do not count, by the reason.
        facts: what the estimates depend on.
    """

    estimates: AreaEstimates
    classes: Sequence[str]
    palette: Sequence[RGB]
    pixels: np.ndarray
    left_out: Mapping[str, int]
    facts: Mapping[str, Any]


def write_areas(folder: Path, report: AreaReport, *, overwrite: bool = False) -> None:
    """Write the estimates into a folder.

    Args:
        folder: the folder.
        report: the estimates.
        overwrite: whether to replace those of another map or sample.

    Raises:
        InputError: the folder holds other estimates, or the disk refuses to write.
    """
    with owned(folder):
        if not overwrite:
            _check_same(folder, report)
        _write(folder / AREAS_TABLE, _table(report))
        _write(folder / MATRIX_TABLE, _matrix_table(report))
        _draw(folder / FIGURE, report)
        _write(folder / AREAS_FILE, json.dumps(_document(report), indent=2) + "\n")


def _check_same(folder: Path, report: AreaReport) -> None:
    path = folder / AREAS_FILE
    if not path.is_file():
        return
    try:
        old = read_json(path)["facts"]
        different = [key for key in _DEFINING if old.get(key) != report.facts.get(key)]
    except (ValueError, KeyError, TypeError, AttributeError):
        different = ["damaged record"]
    if different:
        raise InputError(
            folder,
            f"holds the estimates of another map or sample (another {different[0]})",
            "choose another output, or delete them by overwrite=True",
        )


def _document(report: AreaReport) -> dict[str, Any]:
    found = report.estimates
    points = found.counts.sum(1)
    return {
        "facts": dict(report.facts),
        "points": {"used": int(found.counts.sum()), "left_out": dict(report.left_out)},
        "overall_accuracy": _plain(found.overall),
        "classes": {
            name: {
                "pixels": int(report.pixels[label]),
                "points": int(points[label]),
                "mapped_ha": float(found.mapped[label]),
                "area_ha": _plain(found.areas[label]),
                "users_accuracy": _plain(found.users[label]),
                "producers_accuracy": _plain(found.producers[label]),
            }
            for label, name in enumerate(report.classes)
        },
        "error_matrix": {
            "rows": "class on the map",
            "columns": "reference class",
            "points": found.counts.tolist(),
            "proportions": found.proportions.tolist(),
        },
    }


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value,
        "standard_error": estimate.error,
        "interval_95": list(estimate.interval),
    }


_HEADINGS = ("value", "standard_error", "low_95", "high_95")


def _table(report: AreaReport) -> str:
    """Write a row for each class."""
    found = report.estimates
    names = ("area_ha", "users_accuracy", "producers_accuracy")
    head = ["class", "pixels", "points", "mapped_ha"]
    head += [f"{name}_{heading}" for name in names for heading in _HEADINGS]
    rows: list[list[Any]] = [head]
    points = found.counts.sum(1)
    for label, name in enumerate(report.classes):
        row = [name, int(report.pixels[label]), int(points[label]), float(found.mapped[label])]
        for one in (found.areas[label], found.users[label], found.producers[label]):
            row += [None] * 4 if one is None else [one.value, one.error, *one.interval]
        rows.append(row)
    return _csv(rows)


def _matrix_table(report: AreaReport) -> str:
    """Write the estimated proportions: a row for each class on the map."""
    found = report.estimates
    rows: list[list[Any]] = [["map", *report.classes, "total", "points"]]
    points = found.counts.sum(1)
    for label, name in enumerate(report.classes):
        row = found.proportions[label].tolist()
        rows.append([name, *row, sum(row), int(points[label])])
    columns = found.proportions.sum(0).tolist()
    rows.append(["total", *columns, sum(columns), int(points.sum())])
    return _csv(rows)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def print_areas(report: AreaReport) -> None:
    """Print the error matrix, the accuracies and the areas."""
    found, console = report.estimates, text_console(110)
    matrix = Table(
        title="estimated proportions of the area, percent; rows: map, columns: reference",
        title_justify="left",
    )
    matrix.add_column("class")
    for name in (*report.classes, "total", "points"):
        matrix.add_column(name, justify="right")
    for label, name in enumerate(report.classes):
        row = found.proportions[label]
        shown = [*map(_percent, row), _percent(row.sum())]
        matrix.add_row(name, *shown, str(found.counts[label].sum()))
    columns = found.proportions.sum(0)
    matrix.add_section()
    totals = [*map(_percent, columns), _percent(columns.sum())]
    matrix.add_row("total", *totals, str(found.counts.sum()))
    console.print(matrix)
    table = Table(
        title=f"estimates ± {SPREAD} standard errors (95 % intervals)", title_justify="left"
    )
    table.add_column("class")
    for heading in ("mapped, ha", "area, ha", "user's accuracy, %", "producer's accuracy, %"):
        table.add_column(heading, justify="right")
    for label, name in enumerate(report.classes):
        table.add_row(
            name,
            f"{found.mapped[label]:,.{_digits(SPREAD * found.areas[label].error)}f}",
            _with_margin(found.areas[label]),
            _with_margin(found.users[label], 100.0),
            _with_margin(found.producers[label], 100.0),
        )
    console.print(table)
    print(f"overall accuracy {_with_margin(found.overall, 100.0)} %")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _with_margin(estimate: Estimate | None, factor: float = 1.0) -> str:
    """Write an estimate and its margin, with two digits of the margin before or after the point."""
    if estimate is None:
        return "-"
    value, margin = factor * estimate.value, SPREAD * factor * estimate.error
    digits = _digits(margin)
    return f"{value:,.{digits}f} ± {margin:,.{digits}f}"


def _digits(number: float) -> int:
    """Find how many digits after the point show two digits of a number; 1 for zero."""
    return max(0, 1 - math.floor(math.log10(number))) if number > 0 else 1


def _draw(path: Path, report: AreaReport) -> None:
    """Draw the mapped and the estimated area of each class, with its interval."""
    found, count = report.estimates, len(report.classes)
    figure = Figure(figsize=(8, 1.2 + 0.75 * count), layout="constrained")
    axis = figure.subplots()
    places = np.arange(count)
    values = np.array([one.value for one in found.areas])
    ends = np.array([one.interval for one in found.areas])
    colors = np.array(report.palette) / 255
    axis.barh(
        places - 0.19,
        found.mapped,
        0.36,
        color="white",
        edgecolor="gray",
        hatch="///",
        label="counted on the map",
    )
    axis.barh(places + 0.19, values, 0.36, color=colors, edgecolor="black", linewidth=0.6)
    axis.errorbar(
        values,
        places + 0.19,
        xerr=np.abs(ends.T - values),
        fmt="none",
        ecolor="black",
        capsize=4,
        label="estimated from the sample, 95 % interval",
    )
    for place, one, end in zip(places, found.areas, ends[:, 1], strict=True):
        far = max(end, found.mapped[place])
        axis.annotate(
            _with_margin(one),
            (far, place + 0.19),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axis.set_yticks(places, report.classes)
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set(xlabel="hectares", xlim=(0, 1.3 * max(ends.max(), found.mapped.max())))
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False, ncols=2)
    save_figure(figure, path)
