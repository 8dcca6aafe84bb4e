"""The report of a test: one HTML page that needs no other files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from network.compute import find_device
from network.config import Experiment
from network.datasets.files import list_images
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.errors import InputError, listed, nearest
from network.evaluation.records import ImageRecord, check_counts, read_records
from network.evaluation.results import read_protocol, tested_samples
from network.evaluation.scores import (
    MAIN,
    class_scores,
    row_scores,
)
from network.evaluation.shown_windows import has_large
from network.evaluation.stamp import Stamp
from network.progress import progress_bar
from network.reporting import charts
from network.reporting.explained import read_explained
from network.reporting.gallery import (
    Gallery,
    Pictured,
    ScoredImage,
    by_miou,
    choose_images,
    show_windows,
)
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
        images: number of images to show; half are the worst, half the best. Of scenes and other
            large images, windows are shown: a third the worst, a third typical, a third the best.
        heatmaps: number of these images that also get class heatmaps, if the tested checkpoint
            still exists.
        device: name of the device for the heatmaps, see :func:`network.compute.find_device`.

    Raises:
        InputError: the test is not finished, or its files do not fit the data.
    """
    info = experiment.dataset
    protocol = read_protocol(folder)
    _check_same_config(folder, protocol, experiment)
    samples = {sample.name: sample for sample in tested_samples(experiment, protocol)}
    found = read_records(folder)
    _check_same_data(folder, protocol, samples, found)
    records = [found[name] for name in samples if name in found]
    masks = _masks(folder, protocol, samples)
    gallery = choose_images(records, protocol, info, images)
    with TemporaryDirectory() as cut:
        shown = Pictured(samples, masks, info)
        if has_large(list(samples.values()), info, experiment.data):
            gallery, shown = show_windows(gallery, shown, experiment.data, Path(cut))
        heat, no_heat = _heatmaps(
            experiment, protocol, shown.samples, gallery.worst, gallery.best, heatmaps, device
        )
        context = page_context(protocol, info, records, gallery) | {
            "published": _published(protocol),
            "curves": _curve_charts(read_curves(Path(protocol.checkpoint))),
            "heatmaps": heat,
            "no_heatmaps": no_heat,
            "explained": read_explained(folder, protocol),
        }

        def draw(name: str, side: int) -> Layers:
            mask = shown.masks.get(name)
            return draw_layers(shown.samples[name], gallery.kind, mask, shown.info, side)

        write_page(output, context, gallery, draw)


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
    shown = "windows" if gallery.are_windows else protocol.records
    groups = {"Worst": gallery.worst, "Typical": gallery.typical, "Best": gallery.best}
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
        "images": sorted(gallery.scored, key=by_miou),
        "groups": [(f"{how} {shown}", of) for how, of in groups.items() if of],
        "shown_unit": shown[:-1],
        "shown_kind": gallery.kind,
        "heatmaps": {},
        "no_heatmaps": "",
        "explained": None,
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


def _masks(folder: Path, protocol: Stamp, samples: dict[str, Sample]) -> dict[str, Path]:
    """Find the predicted masks, by the names of their images."""
    if protocol.predictions is not None:
        return list_images(Path(protocol.predictions))
    paths = {
        name: folder / f"{name}.{'tif' if sample.scene else 'png'}"
        for name, sample in samples.items()
    }
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
    # Scenes whose labels all lie where their map has no data have no counts.
    needed = {name for name, sample in samples.items() if sample.scene is None}
    missing = sorted(needed - found.keys())
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
    if protocol.exported:
        return {}, "None: an exported file gives no heatmaps."
    if not checkpoint.is_file() or file_hash(checkpoint) != protocol.checkpoint_sha256:
        return {}, f"None: {checkpoint} is missing, or it is not the checkpoint that was tested."
    names = [samples[image.name] for image in chosen]
    heat = draw_heatmaps(experiment, checkpoint, names, find_device(device))
    return heat, "" if heat else "This model has no class heatmaps."
