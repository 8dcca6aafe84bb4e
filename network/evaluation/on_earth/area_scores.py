"""Scores of each area of a map by itself, as a table and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from network.console import text_console
from network.datasets.schema import DatasetInfo
from network.evaluation.on_earth.counts import KIND
from network.evaluation.records import ImageRecord
from network.evaluation.results import AREA_SCORES
from network.evaluation.scores import MAIN, Scores, compute_scores

PRINTED = 30
"""Largest number of areas that are printed; the file has all of them."""


@dataclass(frozen=True)
class AreaScores:
    """The scores of one area.

    Attributes:
        name: name of the area.
        pixels: number of pixels that count.
        scores: its scores, without those of boundaries.
    """

    name: str
    pixels: int
    scores: Scores


def score_areas(records: Sequence[ImageRecord], info: DatasetInfo) -> list[AreaScores]:
    """Compute the scores of each area.

    Args:
        records: records of the areas.
        info: the classes.
    """
    matrices = [(record.name, record.counts[KIND].matrix) for record in records]
    return [
        AreaScores(name, int(matrix.sum()), compute_scores(matrix, info))
        for name, matrix in matrices
    ]


def area_table(areas: Sequence[AreaScores], info: DatasetInfo) -> str:
    """Make a CSV table with a row for each area, which also has the IoU of each class.

    Args:
        areas: the scores.
        info: the classes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["area", "pixels", *MAIN, *(f"IoU {name}" for name in info.classes)])
    for area in areas:
        main = [area.scores.overall[key] for key in MAIN]
        writer.writerow([area.name, area.pixels, *main, *area.scores.by_class["IoU"]])
    return text.getvalue()


def print_area_scores(areas: Sequence[AreaScores]) -> None:
    """Print the scores of each area, if there are several."""
    if len(areas) < 2:
        return
    table = Table("area")
    for heading in ("pixels", *MAIN):
        table.add_column(heading, justify="right")
    for area in areas[:PRINTED]:
        values = [area.scores.overall[key] for key in MAIN]
        shown = ["-" if value is None else f"{100 * value:.2f}" for value in values]
        table.add_row(area.name, str(area.pixels), *shown)
    text_console().print(table)
    if len(areas) > PRINTED:
        print(f"and {len(areas) - PRINTED} more areas in {AREA_SCORES}")
