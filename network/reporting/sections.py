"""Parts of the report that stand in tables: the protocol, and the scores on one kind of labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from network.datasets.schema import DatasetInfo
from network.evaluation.records import ImageRecord
from network.evaluation.results import other_padding
from network.evaluation.scores import Scores, overall_scores
from network.evaluation.stamp import ExportedStamp, MapTruth, Stamp
from network.evaluation.summary import Summary, summarize
from network.rasters.place import length_text


def stated(protocol: Stamp) -> list[tuple[str, str]]:
    """Make the rows of the protocol table: the name and the value of each fact.

    Args:
        protocol: the protocol stamp.
    """
    kinds = protocol.label_kinds
    by_kind = {kind: protocol.comparability(kind) for kind in kinds}
    rows = []
    for key in next(iter(by_kind.values()), {}):
        values = {kind: facts[key].words for kind, facts in by_kind.items()}
        if key == "masks":
            rows.append((key, ", ".join(kinds)))
        elif len(set(values.values())) == 1:
            rows.append((key, values[kinds[0]]))
        else:
            rows.append((key, "; ".join(f"{kind}: {value}" for kind, value in values.items())))
    if not kinds:
        rows += [("data set", protocol.data_set), ("split", protocol.split)]
        rows += [("masks", "none: this split has no masks here")]
        rows += [("TTA", protocol.tta)]
    software = ", ".join(f"{name} {number}" for name, number in protocol.software.items())
    seed = protocol.seed
    return [
        *rows,
        *_stated_of_map(protocol.on_earth),
        *_stated_distance(protocol.training_distance),
        ("config", protocol.config or "none"),
        ("seed", "unknown" if seed is None else str(seed)),
        ("precision", protocol.precision or "unknown"),
        ("checkpoint", protocol.checkpoint),
        ("checkpoint, SHA-256", protocol.checkpoint_sha256),
        *_stated_exported(protocol.exported),
        ("software", software),
    ]


def _stated_exported(facts: ExportedStamp | None) -> list[tuple[str, str]]:
    """Make the rows of the protocol table that only exported files have."""
    if facts is None:
        return []
    return [
        ("exported from", f"{facts.checkpoint}, {facts.checkpoint_sha256}"),
        ("run by", f"{facts.runtime}, as {facts.format}"),
        ("layers", f"some in {facts.bits} bits" if facts.bits else "as in the network"),
    ]


def _stated_distance(meters: float | None) -> list[tuple[str, str]]:
    """Make the row of the protocol table that tells how far the training images are."""
    if meters is None:
        return []
    words = length_text(meters) if meters else "0 m: they touch or overlap"
    return [("distance to the training images", words)]


def _stated_of_map(facts: MapTruth | None) -> list[tuple[str, str]]:
    """Make the rows of the protocol table that only maps have."""
    if facts is None:
        return []
    rows = [
        ("truth", facts.truth + (f", layer {facts.layer}" if facts.layer else "")),
        ("truth, SHA-256", facts.truth_sha256),
        (
            "truth on the map's grid",
            f"from {facts.truth_crs} to {facts.map_crs}: {facts.resampling}",
        ),
    ]
    if facts.pixel_meters is not None:
        rows.append(("pixel of the map", f"{facts.pixel_meters:.3g} m"))
    if facts.areas:
        rows += [("areas", facts.areas), ("areas, SHA-256", facts.areas_sha256 or "unknown")]
    if facts.background:
        rows.append(("class where there is no polygon", facts.background))
    shares = ", ".join(f"{name} {100 * share:.2f} %" for name, share in facts.ignored.items())
    return [*rows, ("pixels that count", f"{facts.pixels}"), ("not counted", shares)]


def kind_section(
    records: Sequence[ImageRecord], kind: str, protocol: Stamp, info: DatasetInfo
) -> dict[str, Any]:
    """Collect what the template shows of the scores on one kind of labels.

    Args:
        records: records of all images.
        kind: the kind of labels.
        protocol: the protocol stamp.
        info: description of the data set.
    """
    summary = summarize(records, kind, info)
    counts = [record.counts[kind] for record in records]
    matrix = np.sum([c.matrix + c.padding_matrix for c in counts], axis=0)
    return {
        "name": kind,
        "summary": summary,
        "tiles": _tiles(summary.scores),
        "padding": protocol.masks[kind].padding_policy,
        "other_padding": other_padding(summary),
        "matrix": matrix.tolist(),
        "shares": (matrix.sum(1) / max(1, matrix.sum())).tolist(),
        "bins": _bins(summary),
    }


def _tiles(scores: Scores) -> list[tuple[str, str, float | None]]:
    """List the key, the name and the value of each score at the top of the page."""
    in_rows, others = [], []
    for key, score in overall_scores().items():
        if score.in_rows:
            in_rows.append((key, score.heading, scores.overall[key]))
        elif not score.per_class:
            others.append((key, score.words.capitalize(), scores.overall[key]))
    return in_rows + others


def _bins(summary: Summary) -> list[dict]:
    """Compute the bars of the reliability diagram; a bin without pixels has no bar."""
    pixels, confidence, correct = summary.calibration
    total = max(1, pixels.sum())
    return [
        {
            "low": n / len(pixels),
            "share": pixels[n] / total,
            "accuracy": correct[n] / pixels[n],
            "confidence": confidence[n] / pixels[n],
        }
        for n in range(len(pixels))
        if pixels[n]
    ]
