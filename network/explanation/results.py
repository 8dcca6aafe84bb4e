"""The folder of a look inside a network: its figures, its tables, and a record of them."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from network.errors import InputError
from network.evaluation.json_forms import checked
from network.explanation.explain import Findings
from network.explanation.figures import write_heatmaps, write_pooled
from network.explanation.looks import pooled_shares
from network.explanation.split_figures import write_border_errors, write_embeddings
from network.writing import owned, read_json, replacing

FOLDER = "explain"
"""Name of the folder among the figures of a test."""

RECORD, EMBEDDINGS, CONFUSION = "explanation.json", "embeddings.png", "confusion.png"
HEATMAPS, POOLED = "heatmaps_", "pooled_"
"""Beginnings of the names of the figures of an image."""

_TABLES = (".csv", ".json")
"""Endings of the tables beside a figure."""

_OURS = (f"{HEATMAPS}*.png", f"{POOLED}*.png", "embeddings.*", "confusion.*", RECORD, ".*")


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The record of a look inside a network.

    Attributes:
        name: name of the experiment.
        checkpoint: path of the checkpoint.
        checkpoint_sha256: digest of the checkpoint.
        data_set: name of the data set.
        split: name of the split.
        count: number of images that embeddings and errors are taken from.
        images_in_split: number of images of the split.
        are_windows: whether some of these images are windows of large ones.
        figures: names of the figures, in the order in which they are shown.
        left_out: a sentence for each part that is missing.
        ratios: scatter within the classes divided by that between them, by layer.
        pooled: share of the pooled weight that lies on the class in the truth, by image, layer and
            class; None if the truth lacks the class, or no labeled pixel has a weight.
        border: largest distance of a pixel that is near a border, in pixels.
        wrong: number of wrong pixels; None without labels.
        wrong_near: number of those near a border with the class that they are taken for.
    """

    name: str
    checkpoint: str
    checkpoint_sha256: str
    data_set: str
    split: str
    count: int
    images_in_split: int
    are_windows: bool
    figures: list[str]
    left_out: list[str]
    ratios: dict[str, float]
    pooled: dict[str, dict[str, dict[str, float | None]]]
    border: int | None = None
    wrong: int | None = None
    wrong_near: int | None = None

    @property
    def over(self) -> str:
        """The images that embeddings and errors are taken from, in words."""
        of = "" if self.count == self.images_in_split else f" of {self.images_in_split}"
        return f"{self.count}{of} {'images or windows of them' if self.are_windows else 'images'}"


def check_folder(output: Path) -> None:
    """Raise an :class:`InputError` if a folder is a file, or holds files of others."""
    if output.exists() and not output.is_dir():
        raise InputError(output, "is a file", "choose another output")
    others = sorted(path.name for path in output.glob("*") if not _is_ours(path))
    if others:
        raise InputError(output, f"holds other files ({others[0]})", "choose another output folder")


def read_explanation(folder: Path) -> Explanation | None:
    """Read the record in a folder; None if there is none.

    Raises:
        InputError: the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return checked(Explanation, read_json(path))
    except (ValueError, OSError) as error:
        raise InputError(path, f"damaged ({error})", "run tools/explain.py again") from error


def write_explanation(found: Findings, output: Path) -> Explanation:
    """Write figures, tables and their record; an older look in the folder is replaced.

    Args:
        found: what was found.
        output: the folder.

    Raises:
        InputError: the folder holds other files, or the disk refuses to write.
    """
    check_folder(output)
    record = _record(found)
    on = f"{record.name}, {record.data_set} {record.split}"
    with owned(output):
        # The record is written last, so a folder without it was not finished.
        (output / RECORD).unlink(missing_ok=True)
        for look in found.looks:
            where = f"{on}, {look.name}{', a window' if look.is_window else ''}"
            if look.heatmaps:
                path = output / _figure_of(HEATMAPS, look.name)
                write_heatmaps(look, found.info, path, f"Class heatmaps: {where}")
            if look.pooling:
                path = output / _figure_of(POOLED, look.name)
                write_pooled(look, found.info, path, f"Pixels that refine each class: {where}")
        if found.layers:
            _write_embeddings(found, output, f"Class embeddings of {record.over}: {on}")
        if found.errors:
            title = f"Confusion between neighbors, {record.over}: {on}"
            write_border_errors(found.errors, found.info, output / CONFUSION, title)
            _write_table(output / "confusion.csv", found.errors.rows(found.info.classes))
        kept = {RECORD, *record.figures}
        kept |= {f"{Path(name).stem}{ending}" for name in record.figures for ending in _TABLES}
        for path in output.glob("*"):  # of an older look
            if path.name not in kept and not path.name.startswith("."):
                path.unlink()
        _write_json(output / RECORD, asdict(record))
    return record


def _record(found: Findings) -> Explanation:
    figures, left_out, errors = [], [], found.errors
    for look in found.looks:
        figures += [_figure_of(HEATMAPS, look.name)] if look.heatmaps else []
        figures += [_figure_of(POOLED, look.name)] if look.pooling else []
    if any(not look.heatmaps for look in found.looks):
        left_out.append("heatmaps: this network has none")
    if any(not look.pooling for look in found.looks):
        left_out.append("pooled pixels: this network selects none")
    if found.layers:
        figures.append(EMBEDDINGS)
    else:
        left_out.append("class embeddings: this network has none")
    if errors:
        figures.append(CONFUSION)
    else:
        left_out.append("confusion between neighbors: this split has no labels")
    near, far = (errors.near.sum(), errors.far.sum()) if errors else (0, 0)
    return Explanation(
        name=found.name,
        checkpoint=found.checkpoint.as_posix(),
        checkpoint_sha256=found.checkpoint_sha256,
        data_set=found.info.name,
        split=found.split,
        count=found.count,
        images_in_split=found.images_in_split,
        are_windows=found.are_windows,
        figures=figures,
        left_out=left_out,
        ratios={layer.name: layer.scatter.ratio.item() for layer in found.layers},
        pooled=_pooled(found),
        border=errors.distance if errors else None,
        wrong=int(near + far) if errors else None,
        wrong_near=int(near) if errors else None,
    )


def _pooled(found: Findings) -> dict[str, dict[str, dict[str, float | None]]]:
    """Compute the shares of the pooled weight by image, layer and class."""
    return {
        look.name: {
            f"layer {number}": dict(
                zip(found.info.classes, pooled_shares(layer, look.truth), strict=True)
            )
            for number, layer in enumerate(look.pooling, 1)
        }
        for look in found.looks
        if look.truth is not None and look.pooling
    }


def _write_embeddings(found: Findings, output: Path, title: str) -> None:
    path, classes = output / EMBEDDINGS, found.info.classes
    write_embeddings(found.layers, found.projections, found.present, found.info, path, title)
    documents = [layer.to_json(classes) for layer in found.layers]
    _write_json(path.with_suffix(".json"), {"images": found.count, "layers": documents})
    rows = [
        {"layer": layer.name, **pair} for layer in found.layers for pair in layer.pairs(classes)
    ]
    _write_table(path.with_suffix(".csv"), rows)


def _figure_of(kind: str, name: str) -> str:
    return f"{kind}{name.replace('/', '_')}.png"


def _is_ours(path: Path) -> bool:
    return path.is_file() and any(fnmatch(path.name, pattern) for pattern in _OURS)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
