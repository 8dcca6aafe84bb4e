"""Scores of each stage of the chain against the true masks.

Without oracles, the final network and all stages before it have seen only image labels, which are
made from these masks unless a list gives them. "Full supervision" is trained on the masks, and a
threshold that is "best by the truth" is chosen by them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from network.buildings.figures import write_chain_panel, write_thresholds
from network.buildings.tiles import image_label
from network.buildings.work import Work, read_map
from network.console import text_console
from network.datasets.files import read_mask
from network.datasets.info import BUILDING
from network.datasets.segmentation import Sample
from network.evaluation.records import read_records
from network.evaluation.scores import Scores, compute_scores
from network.writing import replacing

BINS = 100
"""Number of steps between 0 and 1; thresholds are multiples of a hundredth."""

BY_TRUTH = "best by the truth"


@dataclass(frozen=True)
class Stage:
    """Scores of one stage.

    Attributes:
        name: name of the stage.
        tiles: ``"train"`` or ``"test"``.
        threshold: threshold of the map, and how it was chosen; empty for masks.
        positives: confusion matrix (2, 2) over the positive tiles, with the truth in rows.
        everything: confusion matrix (2, 2) over all test tiles, or over all labeled training tiles.
    """

    name: str
    tiles: str
    threshold: str
    positives: np.ndarray
    everything: np.ndarray


def threshold_counts(activation: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Count pixels by their true class and the value of the map: (2, BINS + 1).

    Column j counts the values above (j - 1) / BINS and up to j / BINS, so with a threshold of
    i / BINS, all columns after i are building.

    Args:
        activation: (h, w), 0 to 1.
        truth: (h, w), 0 for background, 1 for building; other pixels do not count.
    """
    # 0.07 * 100 is a little more than 7.
    columns = np.ceil(np.clip(activation, 0, 1) * BINS - 1e-3).astype(np.int64)
    valid = truth <= 1
    codes = truth[valid].astype(np.int64) * (BINS + 1) + columns[valid]
    return np.bincount(codes, minlength=2 * (BINS + 1)).reshape(2, BINS + 1)


def matrix_at(counts: np.ndarray, threshold: float) -> np.ndarray:
    """Compute the confusion matrix (2, 2) of a threshold, with the truth in rows.

    Args:
        counts: (2, BINS + 1), see :func:`threshold_counts`.
        threshold: a multiple of 0.01.
    """
    column = round(threshold * BINS)
    building = counts[:, column + 1 :].sum(axis=1)
    return np.stack([counts.sum(axis=1) - building, building], axis=1)


def building_iou(matrix: np.ndarray) -> float:
    """Compute the IoU of buildings from a confusion matrix (2, 2); 0 if there are none."""
    return compute_scores(matrix, BUILDING).by_class["IoU"][1] or 0.0


def best_threshold(counts: np.ndarray) -> float:
    """Find the threshold with the highest IoU of buildings, a multiple of 0.01."""
    return int(np.argmax(_ious(counts))) / BINS


def _ious(counts: np.ndarray) -> list[float]:
    return [building_iou(matrix_at(counts, column / BINS)) for column in range(BINS)]


def stages_of_maps(
    work: Work,
    name: str,
    kind: str,
    tiles: Sequence[Sample],
    taken: tuple[float, str] | None = None,
) -> tuple[list[Stage], list[float]]:
    """Score a map at its best threshold, and at the threshold that the chain uses.

    Args:
        work: the work folder.
        name: name of the stage.
        kind: folder of the map, ``cam``, ``bac`` or ``ar``.
        tiles: training tiles with their true masks.
        taken: the threshold that the chain uses, and how it was chosen; None if it uses none.

    Returns:
        The stages, and the IoU of buildings in the positive tiles at all thresholds.
    """
    positive = np.zeros((2, BINS + 1), np.int64)
    negative = np.zeros((2, 2), np.int64)
    for tile in tiles:
        truth = _truth(tile)
        if work.labels[tile.name] == 0:
            negative[:, 0] += np.bincount(truth[truth <= 1], minlength=2)
            continue
        activation = read_map(work.maps(kind) / f"{tile.name}.npy")
        positive += threshold_counts(activation[-1] if activation.ndim == 3 else activation, truth)
    stages = []
    for threshold, how in dict.fromkeys(
        [(best_threshold(positive), BY_TRUTH), *([taken] if taken else [])]
    ):
        matrix = matrix_at(positive, threshold)
        stages.append(Stage(name, "train", f"{threshold:.2f}, {how}", matrix, matrix + negative))
    return stages, _ious(positive)


def stage_of_labels(work: Work, tiles: Sequence[Sample]) -> Stage:
    """Score masks in which all pixels of a positive tile are building.

    This is the score of the image labels alone, with which the other stages are compared.
    """
    matrices = {0: np.zeros((2, 2), np.int64), 1: np.zeros((2, 2), np.int64)}
    for tile in tiles:
        label = work.labels[tile.name]
        truth = _truth(tile)
        matrices[label] += _matrix(truth, np.full(truth.shape, label == 1))
    return Stage("image labels", "train", "", matrices[1], matrices[0] + matrices[1])


def stage_of_masks(work: Work, name: str, folder: Path, tiles: Sequence[Sample]) -> Stage:
    """Score masks of the training tiles, in which unsure pixels count as background."""
    matrices = {0: np.zeros((2, 2), np.int64), 1: np.zeros((2, 2), np.int64)}
    for tile in tiles:
        mask = read_mask(folder / f"{tile.name}.png", BUILDING)
        matrices[work.labels[tile.name]] += _matrix(_truth(tile), mask == 1)
    return Stage(name, "train", "", matrices[1], matrices[0] + matrices[1])


def stage_of_test(work: Work, name: str, folder: Path) -> Stage:
    """Score a network on the test tiles from the records of its test."""
    positives = np.zeros((2, 2), np.int64)
    everything = np.zeros((2, 2), np.int64)
    for record in read_records(folder).values():
        counts = next(iter(record.counts.values())).matrix.astype(np.int64)
        everything += counts
        truth = read_mask(work.test_truth / f"{record.name}.png", BUILDING)
        if image_label(truth, work.chain.tiles.positive_share) == 1:
            positives += counts
    return Stage(name, "test", "", positives, everything)


def _truth(tile: Sample) -> np.ndarray:
    return read_mask(next(iter(tile.masks.values())), BUILDING)


def _matrix(truth: np.ndarray, building: np.ndarray) -> np.ndarray:
    valid = truth <= 1
    codes = truth[valid].astype(np.int64) * 2 + building[valid]
    return np.bincount(codes, minlength=4).reshape(2, 2)


def write_stages(
    work: Work,
    stages: Sequence[Stage],
    curves: Mapping[str, Sequence[float]],
    taken: float | None,
) -> None:
    """Write ``stages.json``, ``stages.md`` and the figures, and print the table.

    Args:
        work: the work folder.
        stages: the scores.
        curves: IoU at all thresholds, by name of the map (see :func:`stages_of_maps`); empty if
            the training tiles have no true masks.
        taken: the threshold of the refined map; None if there is none.
    """
    folder = work.stages
    rows = [_row(stage) for stage in stages]
    document = {
        "rule of the image labels": _rule(work),
        "oracle": work.chain.is_oracle,
        "stages": [{**asdict(stage), "scores": _scores(stage)} for stage in stages],
    }
    with replacing(folder / "stages.json") as partial:
        text = json.dumps(document, indent=2, default=lambda array: array.tolist())
        partial.write_text(text + "\n", encoding="utf-8")
    lines = [f"| {' | '.join(_HEAD)} |", f"|{' --- |' * 3}{' ---: |' * (len(_HEAD) - 3)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    notes = _notes(work)
    with replacing(folder / "stages.md") as partial:
        partial.write_text("\n".join([*lines, "", *notes]) + "\n", encoding="utf-8")
    title = f"{work.chain.dataset.name}, {work.chain.building} from image labels"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0)  # 80 columns hold it
    for heading in _HEAD[:3]:
        table.add_column(heading, max_width=16)
    for heading in _HEAD[3:]:
        table.add_column(heading.replace(", ", "\n"), justify="right", min_width=5)
    for row in rows:
        table.add_row(*row)
    if stages:
        console = text_console()
        console.print(table)
        for note in notes:
            console.print(note)
    write_chain_panel(work, folder / "panel.png")
    if curves:
        write_thresholds(curves, taken, folder / "thresholds.png")
    print(folder / "stages.md")


_HEAD = (
    *("stage", "tiles", "threshold"),
    *("IoU, positives", "F1", "OA", "IoU, all tiles", "F1", "OA"),
)


def _row(stage: Stage) -> list[str]:
    cells = []
    for matrix in (stage.positives, stage.everything):
        scores = compute_scores(matrix, BUILDING)
        of_building = [scores.by_class[name][1] for name in ("IoU", "F1")]
        cells += [_percent(value) for value in (*of_building, scores.overall["OA"])]
    return [stage.name, stage.tiles, stage.threshold, *cells]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _scores(stage: Stage) -> dict:
    def of(scores: Scores) -> dict:
        building = {name: values[1] for name, values in scores.by_class.items()}
        precision = building["precision"]
        return {
            "IoU": building["IoU"],
            "mIoU": scores.overall["mIoU"],
            "F1": building["F1"],
            "precision": precision,
            "recall": building["recall"],
            "OA": scores.overall["OA"],
            "false share of predicted building": None if precision is None else 1 - precision,
        }

    return {
        "positives": of(compute_scores(stage.positives, BUILDING)),
        "all tiles": of(compute_scores(stage.everything, BUILDING)),
    }


def _rule(work: Work) -> str:
    """The rule of the image labels of training tiles, in words."""
    if work.chain.labels:
        return "those of a list"
    share = f"{100 * work.chain.tiles.positive_share:g}"
    return (
        f"positive if buildings cover at least {share} % of the tile, negative if they cover none"
    )


def _notes(work: Work) -> list[str]:
    notes = [
        f"IoU and F1 of buildings, percent. Labels of the training tiles: {_rule(work)}.",
        f"'{BY_TRUTH}': the truth chooses the threshold, for this table alone.",
    ]
    if work.chain.is_oracle:
        notes.append(
            "ORACLE: training truth chose the epoch or the threshold; this is not a result of "
            "image labels alone."
        )
    return notes
