"""Scores of each area of a map by itself, as a table and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from network.datasets.schema import DatasetInfo
from network.evaluation.on_earth.counts import KIND
from network.evaluation.records import ImageRecord
from network.evaluation.scores import MAIN, Scores, compute_scores
from network.writing import replacing

AREA_SCORES = "scores_by_area.csv"

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


def write_area_scores(folder: Path, areas: Sequence[AreaScores], info: DatasetInfo) -> None:
    """Write a row for each area, with the IoU of each class.

    Args:
        folder: folder of the file.
        areas: the scores.
        info: the classes.

    Raises:
        InputError: the disk refuses to write.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["area", "pixels", *MAIN, *(f"IoU {name}" for name in info.classes)])
    for area in areas:
        main = [area.scores.overall[key] for key in MAIN]
        writer.writerow([area.name, area.pixels, *main, *area.scores.by_class["IoU"]])
    with replacing(folder / AREA_SCORES) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


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
        table.add_row(escape(area.name), str(area.pixels), *shown)
    Console().print(table)
    if len(areas) > PRINTED:
        print(f"and {len(areas) - PRINTED} more areas in {AREA_SCORES}")
