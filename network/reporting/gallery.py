"""The images that a report shows: the worst and the best, or windows of large ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from network.datasets.cut_windows import SIDE, cut_window, everything
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, evenly_spread
from network.datasets.window_reader import WindowReader
from network.datasets.windows import Window, covering_windows
from network.errors import InputError
from network.evaluation.records import Counts, ImageRecord
from network.evaluation.scores import compute_scores
from network.evaluation.shown_windows import check_prediction, cut_mask, has_large, shown_kind
from network.evaluation.stamp import Stamp
from network.progress import progress_bar
from network.settings import Data

FEW = 0.25
"""A window is only shown if it has at least this share of the labels of the fullest window."""


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


@dataclass(frozen=True)
class Gallery:
    """The images that are shown on a page.

    Attributes:
        asked: number of images that were asked for.
        kind: kind of the labels by which they are chosen; None if there are no labels.
        scored: all images.
        worst: the shown images with the lowest scores, worst first.
        best: the shown images with the highest scores, best first.
        typical: shown images between them, if there are such.
        are_windows: whether windows of the images are shown, not the images.
    """

    asked: int
    kind: str | None
    scored: list[ScoredImage]
    worst: list[ScoredImage]
    best: list[ScoredImage]
    typical: list[ScoredImage] = field(default_factory=list)
    are_windows: bool = False

    @property
    def shown(self) -> list[str]:
        """Names of the shown images."""
        return [image.name for image in (*self.worst, *self.typical, *self.best)]


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
    kind = shown_kind(protocol.label_kinds)
    scored = [scored_image(record, kind, info) for record in records]
    return Gallery(count, kind, scored, *selection(scored, count))


def scored_image(record: ImageRecord, kind: str | None, info: DatasetInfo) -> ScoredImage:
    """Compute the scores of an image.

    Args:
        record: its counts.
        kind: kind of the labels; None if there are no labels.
        info: description of the data set.
    """
    if kind is None:
        return ScoredImage(record.name, None, None, 0)
    counts = record.counts[kind]
    matrix = counts.matrix + counts.padding_matrix
    scores = compute_scores(matrix, info)
    miou, oa = scores.overall["mIoU"], scores.overall["OA"]
    return ScoredImage(record.name, miou, oa, int(matrix.sum()))


def by_miou(image: ScoredImage) -> tuple[bool, float, str]:
    """Return the key that sorts images: worst first, and those without a score last."""
    return image.miou is None, image.miou or 0, image.name


def selection(
    scored: Sequence[ScoredImage], count: int
) -> tuple[list[ScoredImage], list[ScoredImage]]:
    """Choose the worst images, worst first, and the best images, best first.

    If no image has a score, take the first ``count`` images and no best ones.

    Args:
        scored: the images.
        count: number of images to choose.
    """
    ranked = sorted((image for image in scored if image.miou is not None), key=by_miou)
    if not ranked:
        return list(scored[:count]), []
    count = min(count, len(ranked))
    worst = ranked[: count - count // 2]
    return worst, ranked[len(ranked) - count // 2 :][::-1]


@dataclass(frozen=True)
class Pictured:
    """The files from which pictures are drawn.

    Attributes:
        samples: the images by name.
        masks: their predicted masks by name; some may be missing.
        info: description of their masks.
    """

    samples: dict[str, Sample]
    masks: dict[str, Path]
    info: DatasetInfo


def show_windows(
    gallery: Gallery, pictured: Pictured, data: Data, folder: Path
) -> tuple[Gallery, Pictured]:
    """Choose windows of scenes and of other large images, and cut them out for the pictures.

    A third are the worst windows, a third typical ones and a third the best. Images that are not
    large are a window each.

    Args:
        gallery: the chosen images.
        pictured: their files.
        data: settings of the data, which say what images are large.
        folder: an empty folder for the windows.

    Returns:
        The windows, and their files.

    Raises:
        InputError: a prediction is missing or has another size, or a file is damaged.
    """
    info, own = pictured.info, {image.name for image in gallery.scored}
    samples = [sample for sample in pictured.samples.values() if sample.name in own]
    places = {}
    for sample in samples:
        is_cut = has_large([sample], info, data) and max(sample.size) > SIDE
        windows = covering_windows(*sample.size, (SIDE, SIDE), (SIDE, SIDE))
        for window in windows if is_cut else [everything(sample)]:
            rows, columns = window
            name = f"{sample.name}, row {rows.start}, column {columns.start}"
            places[name if is_cut else sample.name] = sample, window
    readers = WindowReader(info), WindowReader(info.decoded)
    scored = []
    if gallery.kind is None:  # nothing tells which are the best: some that are spread evenly
        chosen = evenly_spread(list(places), gallery.asked)
        scored = [ScoredImage(name, None, None, 0) for name in chosen]
    else:
        for name in progress_bar(places, desc="Choosing windows", unit="window", leave=False):
            sample, window = places[name]
            path = pictured.masks.get(sample.name)
            counted = _count(sample, gallery.kind, path, window, readers)
            scored.append(scored_image(ImageRecord(name, counted), gallery.kind, info))
        most = max(one.pixels for one in scored)
        scored = [one for one in scored if one.pixels >= max(1, FEW * most)]
    found = replace(_thirds(scored, gallery), are_windows=places.keys() != own)
    cut, masks = {}, {}
    for number, name in enumerate(found.shown):
        sample, window = places[name]
        cut[name] = replace(cut_window(sample, window, info, folder, f"{number}"), name=name)
        path = pictured.masks.get(sample.name)
        if path is not None:
            masks[name] = folder / f"{number}_predicted.png"
            check_prediction(path, sample, readers[1])
            cut_mask(path, window, readers[1], masks[name])
    return found, Pictured(cut, masks, info.decoded)


def _count(
    sample: Sample,
    kind: str,
    path: Path | None,
    window: Window,
    readers: tuple[WindowReader, WindowReader],
) -> dict[str, Counts]:
    """Count a window of a prediction against its labels."""
    info = readers[0].info
    if path is None:
        raise InputError(sample.image, "no prediction of this image", "run the test script again")
    check_prediction(path, sample, readers[1])
    truth = readers[0].labels(sample, sample.masks[kind], window)
    predicted = readers[1].mask(path, window)
    truth = np.where(predicted == info.ignore_index, predicted, truth)  # a map has no data there
    k, counted = info.num_classes, truth < info.num_classes
    pairs = k * truth[counted].astype(int) + predicted[counted]
    matrix = np.bincount(pairs, minlength=k * k).reshape(k, k)
    return {kind: replace(Counts.none(k), matrix=matrix)}


def _thirds(scored: Sequence[ScoredImage], gallery: Gallery) -> Gallery:
    """Choose worst, typical and best windows; in the same order as in :func:`selection`."""
    ranked = sorted((image for image in scored if image.miou is not None), key=by_miou)
    if not ranked:
        return replace(gallery, worst=list(scored), best=[])
    count = min(gallery.asked, len(ranked))
    best, middle = count // 3, count // 3
    worst = count - best - middle
    rest = ranked[worst : len(ranked) - best]
    start = (len(rest) - middle) // 2
    return replace(
        gallery,
        worst=ranked[:worst],
        typical=rest[start : start + middle],
        best=ranked[len(ranked) - best :][::-1],
    )
