"""The report of a test: one HTML page that needs no other files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from network.compute import find_device
from network.config import Experiment
from network.datasets.files import list_images
from network.datasets.frames import find_frames
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, find_samples
from network.errors import InputError, listed, nearest
from network.evaluation.records import ImageRecord, check_counts, read_records
from network.evaluation.results import read_protocol
from network.evaluation.scores import (
    MAIN,
    class_scores,
    compute_scores,
    row_scores,
)
from network.evaluation.stamp import Stamp
from network.progress import progress_bar
from network.reporting import charts
from network.reporting.pictures import Layers, draw_heatmaps, draw_layers
from network.reporting.published import PUBLISHED
from network.reporting.sections import kind_section, stated
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
    gallery = choose_images(records, protocol, info, images)
    heat, no_heat = _heatmaps(
        experiment, protocol, samples, gallery.worst, gallery.best, heatmaps, device
    )
    context = page_context(protocol, info, records, gallery) | {
        "published": _published(protocol),
        "curves": _curve_charts(read_curves(Path(protocol.checkpoint))),
        "heatmaps": heat,
        "no_heatmaps": no_heat,
    }

    def draw(name: str, side: int) -> Layers:
        return draw_layers(samples[name], gallery.kind, masks.get(name), info, side)

    write_page(output, context, gallery, draw)


@dataclass(frozen=True)
class Gallery:
    """The images that are shown on a page.

    Attributes:
        asked: number of images that were asked for.
        kind: kind of the labels by which they are chosen; None if there are no labels.
        scored: all images.
        worst: the shown images with the lowest scores, worst first.
        best: the shown images with the highest scores, best first.
    """

    asked: int
    kind: str | None
    scored: list[ScoredImage]
    worst: list[ScoredImage]
    best: list[ScoredImage]

    @property
    def shown(self) -> list[str]:
        """Names of the shown images."""
        return [image.name for image in (*self.worst, *self.best)]


def choose_images(
    records: Sequence[ImageRecord], protocol: Stamp, info: DatasetInfo, count: int
) -> Gallery:
    """Choose the images to show; half are the worst, half the best.

    Args:
        records: records of all images.
        protocol: the protocol stamp.
        info: description of the data set.
        count: number of images to show.
    """
    kinds = protocol.label_kinds
    # Full masks show more than eroded ones.
    kind = next((k for k in ("full", *kinds) if k in kinds), None)
    scored = [_scored_image(record, kind, info) for record in records]
    return Gallery(count, kind, scored, *_selection(scored, count))


def page_context(
    protocol: Stamp, info: DatasetInfo, records: Sequence[ImageRecord], gallery: Gallery
) -> dict[str, Any]:
    """Collect what the template shows of any test; parts that a test may lack are left out.

    Args:
        protocol: the protocol stamp.
        info: description of the data set.
        records: records of all images.
        gallery: the images to show.
    """
    groups = {"Worst": gallery.worst, "Best": gallery.best}
    return {
        "protocol": protocol,
        "info": info,
        "colors": ["#{:02x}{:02x}{:02x}".format(*color) for color in info.palette],
        "main": MAIN,
        "columns": class_scores(),
        "numbers": row_scores(),
        "kinds": [kind_section(records, kind, protocol, info) for kind in protocol.label_kinds],
        "stated": stated(protocol),
        "published": None,
        "curves": [],
        "images": sorted(gallery.scored, key=_by_miou),
        "groups": [(f"{how} {protocol.records}", of) for how, of in groups.items() if of],
        "shown_kind": gallery.kind,
        "heatmaps": {},
        "no_heatmaps": "",
        "geometry": charts,
    }


def write_page(
    output: Path,
    context: dict[str, Any],
    gallery: Gallery,
    draw: Callable[[str, int], Layers],
) -> None:
    """Write a page whose pictures are as large as its size allows.

    Args:
        output: the HTML file to write.
        context: what the template shows, see :func:`page_context`.
        gallery: the images to show.
        draw: draws the layers of an image by its name, with a largest side in pixels.

    Raises:
        InputError: the page would get too large, or the disk refuses to write.
    """
    for side in SIDES:
        layers = {
            name: draw(name, side)
            for name in progress_bar(
                gallery.shown, desc=f"Drawing at {side} pixels", unit="image", leave=False
            )
        }
        page = _render(layers=layers, **context)
        if len(page.encode()) < MAX_BYTES:
            break
    else:
        raise InputError(
            f"images={gallery.asked}", "the page gets larger than 15 MB", "show fewer images"
        )
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
