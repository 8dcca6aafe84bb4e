"""The report of a test: one HTML page that needs no other files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from network.compute import find_device
from network.config import Experiment
from network.datasets.files import list_images
from network.datasets.frames import find_frames
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, find_samples
from network.errors import InputError, listed, nearest
from network.evaluation.records import ImageRecord, check_counts, read_records
from network.evaluation.results import other_padding, read_protocol
from network.evaluation.scores import (
    MAIN,
    Scores,
    class_scores,
    compute_scores,
    overall_scores,
    row_scores,
)
from network.evaluation.stamp import Stamp
from network.evaluation.summary import Summary, summarize
from network.progress import progress_bar
from network.reporting import charts
from network.reporting.pictures import draw_heatmaps, draw_layers
from network.reporting.published import PUBLISHED
from network.training.runs import read_curves
from network.writing import file_hash, replacing

TEMPLATES = Path(__file__).with_name("templates")

MAX_BYTES = 15 * 10**6
SIDES = (512, 384, 256, 192, 128)
"""Lengths of a picture's longer side in pixels; the report takes the largest length with which the
page has fewer than ``MAX_BYTES``."""


@dataclass(frozen=True)
class ScoredImage:
    """A row of the table of images.

    Attributes:
        name: name of the image.
        miou: mIoU of the image; None if it has no labels.
        oa: overall accuracy of the image; None if it has no labels.
        pixels: number of labeled pixels.
    """

    name: str
    miou: float | None
    oa: float | None
    pixels: int


def write_report(
    experiment: Experiment,
    folder: Path,
    output: Path,
    *,
    images: int = 20,
    heatmaps: int = 4,
    device: str = "auto",
) -> None:
    """Write the report of a finished test as an HTML page.

    Args:
        experiment: the experiment.
        folder: output folder of the test script, or folder with the scores of other masks.
        output: the HTML file to write.
        images: number of images to show; half are the worst, half the best.
        heatmaps: number of these images that also get class heatmaps, if the tested checkpoint
            still exists.
        device: name of the device for the heatmaps, see :func:`network.compute.find_device`.

    Raises:
        InputError: the test is not finished, or its files do not fit the data.
    """
    info = experiment.dataset
    protocol = read_protocol(folder)
    _check_same_config(folder, protocol, experiment)
    samples = {sample.name: sample for sample in _samples(experiment, protocol)}
    found = read_records(folder)
    _check_same_data(folder, protocol, samples, found)
    records = [found[name] for name in samples]
    masks = _masks(folder, protocol, samples)
    kinds = protocol.label_kinds
    # Full masks show more than eroded ones.
    shown_kind = next((k for k in ("full", *kinds) if k in kinds), None)
    scored = [_scored_image(record, shown_kind, info) for record in records]
    worst, best = _selection(scored, images)
    chosen = [image.name for image in (*worst, *best)]
    heat, no_heat = _heatmaps(experiment, protocol, samples, worst, best, heatmaps, device)
    curves = read_curves(Path(protocol.checkpoint))
    context = {
        "protocol": protocol,
        "info": info,
        "colors": ["#{:02x}{:02x}{:02x}".format(*color) for color in info.palette],
        "main": MAIN,
        "columns": class_scores(),
        "numbers": row_scores(),
        "kinds": [_kind_section(records, kind, protocol, info) for kind in kinds],
        "stated": _stated(protocol),
        "published": _published(protocol),
        "curves": _curve_charts(curves),
        "images": sorted(scored, key=_by_miou),
        "groups": [g for g in (("Worst images", worst), ("Best images", best)) if g[1]],
        "shown_kind": shown_kind,
        "heatmaps": heat,
        "no_heatmaps": no_heat,
        "geometry": charts,
    }
    for side in SIDES:
        layers = {
            name: draw_layers(samples[name], shown_kind, masks.get(name), info, side)
            for name in progress_bar(
                chosen, desc=f"Drawing at {side} pixels", unit="image", leave=False
            )
        }
        page = _render(layers=layers, **context)
        if len(page.encode()) < MAX_BYTES:
            break
    else:
        raise InputError(f"images={images}", "the page gets larger than 15 MB", "show fewer images")
    with replacing(output) as partial:
        partial.write_text(page, encoding="utf-8")


def _samples(experiment: Experiment, protocol: Stamp) -> list[Sample]:
    if protocol.frames is not None:
        return find_frames(Path(protocol.frames), experiment.dataset)
    return find_samples(experiment.dataset, experiment.root, protocol.split)


def _masks(folder: Path, protocol: Stamp, samples: dict[str, Sample]) -> dict[str, Path]:
    """Find the predicted masks, by the names of their images."""
    if protocol.predictions is not None:
        return list_images(Path(protocol.predictions))
    paths = {name: folder / f"{name}.png" for name in samples}
    return {name: path for name, path in paths.items() if path.is_file()}


def _check_same_config(folder: Path, protocol: Stamp, experiment: Experiment) -> None:
    """Raise an :class:`InputError` if the config does not fit the test any more."""
    info, split = experiment.dataset, protocol.split
    stated = {
        "data set": ([protocol.data_set], [info.name]),
        "classes": (protocol.classes, info.classes),
        "classes in the mean": (
            protocol.classes_in_mean,
            tuple(info.classes[label] for label in info.scored),
        ),
    }
    remedy = "restore the tested values in the config, or test again"
    for name, (tested, now) in stated.items():
        if tested != now:
            raise InputError(
                folder,
                f"{name}: {listed(tested)} in the test, {listed(now)} in {experiment.config} now",
                f"{remedy}",
            )
    if protocol.frames is None and split not in info.splits:
        raise InputError(
            folder,
            f"tested on the split '{split}', which {experiment.config} does not "
            f"have{nearest(split, info.splits)}",
            f"{remedy}",
        )


def _check_same_data(
    folder: Path, protocol: Stamp, samples: dict[str, Sample], found: dict[str, ImageRecord]
) -> None:
    missing = sorted(samples.keys() - found.keys())
    if missing:
        raise InputError(
            folder,
            f"no counts of {missing[0]} ({len(missing)} of {len(samples)} images have none)",
            "run the test script again to finish it",
        )
    gone = sorted(found.keys() - samples.keys())
    if gone or len(samples) != protocol.images:
        raise InputError(
            folder,
            f"the test had {protocol.images} images, the data has {len(samples)} "
            f"now{f' (without {gone[0]})' if gone else ''}",
            "give data.root=PATH of the tested data, or test again",
        )
    kinds = set(protocol.label_kinds) - next(iter(samples.values())).masks.keys()
    if kinds:
        raise InputError(
            folder,
            f"scored on {listed(sorted(kinds))} masks that the data no longer has",
            "put the masks back, or test again",
        )
    check_counts(folder, found.values(), protocol.label_kinds, len(protocol.classes))


def _render(**context: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    return environment.get_template("report.html").render(**context)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"  # noqa: RUF001


def _scored_image(record: ImageRecord, kind: str | None, info: DatasetInfo) -> ScoredImage:
    if kind is None:
        return ScoredImage(record.name, None, None, 0)
    counts = record.counts[kind]
    matrix = counts.matrix + counts.padding_matrix
    scores = compute_scores(matrix, info)
    miou, oa = scores.overall["mIoU"], scores.overall["OA"]
    return ScoredImage(record.name, miou, oa, int(matrix.sum()))


def _by_miou(image: ScoredImage) -> tuple[bool, float, str]:
    return image.miou is None, image.miou or 0, image.name


def _selection(
    scored: Sequence[ScoredImage], count: int
) -> tuple[list[ScoredImage], list[ScoredImage]]:
    """Choose the worst images, worst first, and the best images, best first.

    If no image has a score, take the first ``count`` images and no best ones.
    """
    ranked = sorted((image for image in scored if image.miou is not None), key=_by_miou)
    if not ranked:
        return list(scored[:count]), []
    count = min(count, len(ranked))
    worst = ranked[: count - count // 2]
    return worst, ranked[len(ranked) - count // 2 :][::-1]


def _stated(protocol: Stamp) -> list[tuple[str, str]]:
    """Make the rows of the protocol table."""
    kinds = protocol.label_kinds
    by_kind = {kind: protocol.comparability(kind) for kind in kinds}
    rows = []
    for key in next(iter(by_kind.values()), {}):
        values = {kind: stated[key].words for kind, stated in by_kind.items()}
        if key == "masks":
            rows.append((key, ", ".join(kinds)))
        elif len(set(values.values())) == 1:
            rows.append((key, values[kinds[0]]))
        else:
            rows.append((key, "; ".join(f"{kind}: {value}" for kind, value in values.items())))
    if not kinds:
        rows += [("data set", protocol.data_set), ("split", protocol.split)]
        rows += [("masks", "none: the labels of this split are held by a server")]
        rows += [("TTA", protocol.tta)]
    software = ", ".join(f"{name} {number}" for name, number in protocol.software.items())
    seed = protocol.seed
    return [
        *rows,
        ("config", protocol.config),
        ("seed", "unknown" if seed is None else str(seed)),
        ("precision", protocol.precision or "unknown"),
        ("checkpoint", protocol.checkpoint),
        ("checkpoint, SHA-256", protocol.checkpoint_sha256),
        ("software", software),
    ]


def _kind_section(
    records: Sequence[ImageRecord], kind: str, protocol: Stamp, info: DatasetInfo
) -> dict:
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


def _published(protocol: Stamp) -> dict | None:
    """Find the published scores of the data set; tell if their split and masks are the tested ones.

    Returns:
        The table and this fact; None if no scores are published here.
    """
    published = PUBLISHED.get(protocol.data_set)
    if published is None:
        return None
    same = protocol.split == published.split and published.kind in protocol.label_kinds
    return {"table": published, "is_same_split": same}


def _curve_charts(curves: dict) -> list[charts.Chart]:
    def select(names: Sequence[str], factor: float = 1) -> dict:
        return {n: [(x, factor * y) for x, y in curves[n]] for n in names if n in curves}

    scores = [f"{split}/{name}" for name in MAIN for split in ("train", "val")]
    classes = [name for name in curves if name.startswith("val/IoU/")]
    parts = [n for n in curves if n.startswith("train/") and n not in scores]
    found = [
        charts.line_chart("Scores, percent", select(scores, 100)),
        charts.line_chart("Loss and its weighted parts", select([*parts, "val/loss"])),
        charts.line_chart("IoU of each class on val, percent", select(classes, 100)),
        charts.line_chart("Learning rate", select([n for n in curves if n == "lr"])),
    ]
    return [chart for chart in found if chart]


def _heatmaps(
    experiment: Experiment,
    protocol: Stamp,
    samples: dict[str, Sample],
    worst: Sequence[ScoredImage],
    best: Sequence[ScoredImage],
    count: int,
    device: str,
) -> tuple[dict, str]:
    """Draw heatmaps of the first worst and best images; if there are none, say why."""
    from_best = min(count // 2, len(best))
    chosen = [*worst[: count - from_best], *best[:from_best]]
    checkpoint = Path(protocol.checkpoint)
    if not chosen:
        return {}, "No heatmaps were asked for."
    if not checkpoint.is_file() or file_hash(checkpoint) != protocol.checkpoint_sha256:
        return {}, f"None: {checkpoint} is missing, or it is not the checkpoint that was tested."
    names = [samples[image.name] for image in chosen]
    heat = draw_heatmaps(experiment, checkpoint, names, find_device(device))
    return heat, "" if heat else "This model has no class heatmaps."
