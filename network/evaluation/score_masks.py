"""Scores of masks that other code has predicted, with counts and a stamp as in a test."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from network.config import Experiment
from network.datasets.files import (
    ignore_invalid,
    list_images,
    read_mask,
    read_own_mask,
    read_valid_image,
)
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import (
    Sample,
    check_samples,
    find_samples,
    is_read_in_windows,
)
from network.datasets.window_reader import WindowReader, strips
from network.datasets.windows import Window, padding_margin
from network.errors import InputError, nearest
from network.evaluation.evaluate import BOUNDARY_TOLERANCE
from network.evaluation.large_images import count_in_parts
from network.evaluation.output_folder import check_no_test, write_scores
from network.evaluation.protocol import PADDING_KEY, UNKNOWN
from network.evaluation.records import Counter, ImageRecord
from network.evaluation.results import print_results
from network.evaluation.stamp import make_stamp
from network.evaluation.summary import Summary, summarize
from network.evaluation.training_distance import distance_to_training
from network.progress import progress_bar
from network.tta import TTA_NAMES, build_views
from network.writing import file_hash


def score_masks(
    experiment: Experiment,
    masks: Path,
    output: Path,
    *,
    split: str,
    tta: str = UNKNOWN,
    trained_on: str = UNKNOWN,
    chosen_on: str = UNKNOWN,
    trained_padding: str = UNKNOWN,
    boundary_tolerance: int = BOUNDARY_TOLERANCE,
    overwrite: bool = False,
) -> dict[str, Summary]:
    """Score the masks (labels or colors) in ``masks``, named like the images of ``split``.

    Args:
        experiment: an experiment with the data set and its root; its model is not used.
        masks: folder of the masks.
        output: folder of the scores; it may be ``masks``.
        split: name of the split.
        tta: test-time augmentation of the masks, according to their author.
        trained_on: split of the training, according to their author.
        chosen_on: split of the model selection, according to their author; ``"none"`` if the model
            of the last epoch was taken.
        trained_padding: padding policy of the training masks, according to their author.
        boundary_tolerance: largest distance of boundaries that boundary F1 takes as matched, in
            pixels.
        overwrite: whether to delete the scores of other masks in ``output``; otherwise they raise
            an error.

    Returns:
        The measured scores by label kind, without calibration.

    Raises:
        InputError: the split has no labels; a mask is missing, of another size, damaged, or has
            pixels without a class; ``output`` belongs to a test script, or holds the scores of
            other masks.
    """
    info = experiment.dataset
    check_no_test(output)
    if split not in info.splits:
        raise InputError(info.name, f"no split '{split}'{nearest(split, info.splits)}")
    samples = find_samples(info, experiment.root, split)
    kinds = list(samples[0].masks)
    if not kinds:
        raise InputError(
            info.name, f"the labels of '{split}' are held by a server", "try the val split"
        )
    paths = _paired(samples, masks)
    digests = check_samples(samples, info, split).digests  # of all masks, as in a test
    counter = Counter(info, boundary_tolerance)
    records = [
        _record(sample, paths[sample.name], counter)
        for sample in progress_bar(samples, desc="Scoring masks", unit="mask")
    ]
    files = "".join(f"{sample.name} {file_hash(paths[sample.name])}\n" for sample in samples)
    training = _stated_training(info, trained_on, chosen_on, trained_padding)
    protocol = make_stamp(
        experiment,
        split=split,
        samples=samples,
        digests=digests,
        checkpoint=f"masks in {masks.as_posix()}",
        sha256=hashlib.sha256(files.encode()).hexdigest(),
        training=training,
        tta=tta,
        views=len(build_views(tta, info)) if tta in TTA_NAMES else None,
        boundary_tolerance=boundary_tolerance,
        training_distance=distance_to_training(info, experiment.root, split, samples, training),
    )
    # Only the data settings of the config were used.
    used = {k: v for k, v in protocol.settings.items() if k == "name" or k.startswith("data.")}
    protocol = replace(protocol, settings=used, precision=UNKNOWN, predictions=masks.as_posix())
    summaries = {kind: summarize(records, kind, info) for kind in kinds}
    write_scores(output, protocol, records, summaries, "masks", overwrite=overwrite)
    print_results(protocol, summaries)
    return summaries


def _stated_training(
    info: DatasetInfo, trained_on: str, chosen_on: str, padding: str
) -> dict | None:
    """Collect the known facts of the training, as a checkpoint would hold them; None if none is."""
    for split in (trained_on, chosen_on):
        if split not in (UNKNOWN, "none", *info.splits):
            raise InputError(info.name, f"no split '{split}'{nearest(split, info.splits)}")
    stated = {"data.train": trained_on, "data.val": chosen_on, PADDING_KEY: padding}
    known: dict[str, str | None] = {k: value for k, value in stated.items() if value != UNKNOWN}
    if known.get("data.val") == "none":
        known["data.val"] = None
    return known or None


def _paired(samples: Sequence[Sample], folder: Path) -> dict[str, Path]:
    paths = list_images(folder)
    missing = [sample.name for sample in samples if sample.name not in paths]
    if missing:
        raise InputError(
            folder,
            f"no mask of {missing[0]} ({len(missing)} of {len(samples)} images have none)",
            "name the masks like the images",
        )
    return paths


def _record(sample: Sample, path: Path, counter: Counter) -> ImageRecord:
    info = counter.info
    if is_read_in_windows(sample.size) and not info.tiles:
        return _record_in_parts(sample, path, counter)
    mask = read_own_mask(path, info)
    _check_size(path, mask.shape, sample)
    image, valid = read_valid_image(sample.image, info)
    if valid is not None:  # pixels without data need no class, and do not count
        mask = np.where(valid, mask, np.uint8(0))
    _check_ignored(path, int((mask == info.ignore_index).sum()))
    margin = padding_margin(image) if info.tiles else (0, 0)
    prediction = torch.from_numpy(mask).long()
    counts = {
        kind: counter.count(
            None,
            prediction,
            torch.from_numpy(ignore_invalid(read_mask(truth, info), valid, info)),
            margin,
        )
        for kind, truth in sample.masks.items()
    }
    return ImageRecord(sample.name, counts)


def _record_in_parts(sample: Sample, path: Path, counter: Counter) -> ImageRecord:
    """Count a large mask part by part; the counts are those of the whole mask."""
    info = counter.info
    reader, own = WindowReader(info), WindowReader(info.decoded)
    _check_size(path, own.size(path), sample)

    def predicted(window: Window) -> np.ndarray:
        mask = own.mask(path, window)
        valid = reader.valid(sample, window)
        return mask if valid is None else np.where(valid, mask, np.uint8(0))

    ignored = (predicted(window) == info.ignore_index for window in strips(sample.size))
    _check_ignored(path, sum(int(np.count_nonzero(one)) for one in ignored))
    counts = {
        kind: count_in_parts(counter, sample.size, predicted, partial(reader.labels, sample, truth))
        for kind, truth in sample.masks.items()
    }
    return ImageRecord(sample.name, counts)


def _check_size(path: Path, size: tuple[int, ...], sample: Sample) -> None:
    if size != sample.size:
        raise InputError(
            path,
            f"{size[0]} x {size[1]} pixels, its image {sample.image} has "
            f"{sample.size[0]} x {sample.size[1]}",
            "predict at full size",
        )


def _check_ignored(path: Path, pixels: int) -> None:
    if pixels:
        raise InputError(
            path,
            f"{pixels} pixels have no class",
            "leaving pixels out would be another protocol: predict a class for every pixel",
        )
