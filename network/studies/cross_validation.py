"""Cross-validation: for each fold of ground, a training on the others and a test on this one."""

import csv
import io
import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from network.config import Experiment, default_settings, settings
from network.datasets.on_earth.files import AreaFile
from network.datasets.on_earth.find import find_images
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import SPLITS, DatasetInfo
from network.differences import defines_training
from network.errors import InputError, listed
from network.evaluation.records import read_records
from network.evaluation.results import read_result
from network.evaluation.scores import Scores, Value, overall_scores
from network.evaluation.summary import summarize
from network.extras import require_extra
from network.studies.claims import claim
from network.writing import file_hash, replacing

RESULT, TABLE = "cross_validation.json", "cross_validation.csv"
STUDY_FILE = "cross_validation_study.json"


@dataclass(frozen=True)
class CrossValidation:
    """The scores of all folds on one kind of labels.

    Attributes:
        kind: kind of the labels.
        folds: the scores of the test on each fold.
        pooled: the scores of the counts of all folds together, in which each pixel counts once.
    """

    kind: str
    folds: tuple[Scores, ...]
    pooled: Scores

    def spread(self, key: str) -> tuple[Value, Value]:
        """Compute mean and standard deviation over the folds of a score.

        Args:
            key: name of the score as in ``scores.json``, or ``"IoU CLASS"`` for a class.

        Returns:
            The mean, None if no fold has the score; and the deviation of a sample, None if fewer
            than two have it.
        """
        known = [value for one in self.folds if (value := values_of(one)[key]) is not None]
        mean = statistics.fmean(known) if known else None
        return mean, statistics.stdev(known) if len(known) > 1 else None


def values_of(scores: Scores) -> dict[str, Value]:
    """List the scores of a test by name: those of ``scores.json``, and the IoU of each class."""
    classes = zip(scores.classes, scores.by_class["IoU"], strict=True)
    overall = {key: scores.overall[key] for key in overall_scores()}
    return overall | {f"IoU {name}": value for name, value in classes}


def count_folds(areas: Path) -> int:
    """Count the folds of a file that :func:`network.datasets.on_earth.split.write_division` wrote.

    Args:
        areas: the file.

    Raises:
        InputError: the file cannot be read, or has no folds.
    """
    require_extra("vectors", "a cross-validation")
    from network.rasters.vectors import list_values

    names = set(list_values(areas, "fold", "folds"))
    if names != {str(fold) for fold in range(len(names))} or len(names) < 2:
        raise InputError(
            areas, "its folds are not numbered 0, 1, ...", "make it with tools/split_scenes.py"
        )
    return len(names)


def fold_experiment(base: Experiment, areas: Path, fold: int) -> Experiment:
    """Build the experiment in which one fold is tested.

    All scenes of the data set are used, with the areas of the fold instead of their own.

    Args:
        base: the experiment; its data set has scenes.
        areas: the file of the folds.
        fold: number of the tested fold.

    Raises:
        InputError: the data set has folders of images and masks, or the file of the folds cannot be
            read.
    """
    # Other folds are other runs, even if they are in a file of the same name.
    digest, has_val = file_hash(areas)[:8], count_folds(areas) > 2
    return replace(
        base,
        name=f"{base.name}/folds-{digest}/fold_{fold}",
        dataset=_of_fold(base, areas.resolve(), fold),
        data=replace(base.data, train="train", val="val" if has_val else None, test="test"),
    )


def _of_fold(base: Experiment, areas: Path, fold: int) -> DatasetInfo:
    described, data = _all_scenes(base), base.data
    splits = {}
    for split, own in zip(SPLITS, (data.train, data.val or data.test, data.test), strict=True):
        part = AreaFile(path=areas, layer=f"fold_{fold}", attribute="split", only=(split,))
        splits[split] = tuple(
            replace(scenes, areas=part, border=_border(base, scenes, own)) for scenes in described
        )
    return replace(base.dataset, splits=splits)


def _border(base: Experiment, scenes: Scenes, split: str) -> int:
    """Find the border that a split has for some images, or for all of its own."""
    images = set(find_images(base.root, scenes))
    own = base.dataset.scenes(split)
    same = [one for one in own if images & set(find_images(base.root, one))]
    borders = sorted({one.border for one in same or own or [scenes]})
    if len(borders) > 1:
        raise InputError(
            base.dataset.name,
            f"split '{split}' has border={borders[0]} and border={borders[1]}, and does not say "
            f"which is that of {listed(scenes.images)}",
            "name these images in this split, too, or give one border",
        )
    return borders[0]


def _all_scenes(base: Experiment) -> list[Scenes]:
    """Describe the scenes of all splits, each image once."""
    info = base.dataset
    described: dict[tuple[str, ...], Scenes] = {}
    for split in info.splits:
        for scenes in info.scenes(split):
            known = described.setdefault(scenes.images, scenes)
            _check_same(info, f"split '{split}'", known, scenes)
            left_out = tuple(name for name in known.leave_out if name in scenes.leave_out)
            described[scenes.images] = replace(known, leave_out=left_out)
    if not described:
        raise InputError(
            info.name,
            "has folders of images and masks, not scenes on Earth",
            "describe its images as Scenes in its config",
        )
    found: list[Scenes] = []
    seen: dict[Path, Scenes] = {}
    for scenes in described.values():
        images = find_images(base.root, scenes)
        for image in images:
            _check_same(info, f"a split with {image.name}", seen.get(image, scenes), scenes)
        new = [image for image in images if image not in seen]
        if len(new) < len(images):  # other patterns name the rest
            names = tuple(os.path.relpath(path, base.root) for path in new)
            scenes = replace(scenes, images=names, leave_out=())
        if new or not images:  # a pattern without files is refused where it is read
            found.append(scenes)
        seen |= dict.fromkeys(new, scenes)
    return found


def _check_same(info: DatasetInfo, where: str, one: Scenes, other: Scenes) -> None:
    """Raise an :class:`InputError` if two descriptions of the same images differ."""
    for name in ("labels", "bands"):
        if getattr(one, name) != getattr(other, name):
            raise InputError(
                info.name,
                f"{where} has other {name} for {listed(other.images)} than a split before it",
                f"name the same {name} in both, since folds train and test on the same ones",
            )


def claim_output(output: Path, base: Experiment, areas: Path) -> None:
    """Reserve a folder for a cross-validation, or check that it belongs to this one.

    Args:
        output: the folder.
        base: the experiment.
        areas: the file of the folds.

    Raises:
        InputError: the folder belongs to another cross-validation, or holds other files.
    """
    if fold_folder(output, 0).exists() and not (output / STUDY_FILE).exists():
        return  # of an older version; each fold checks its own folder
    kept = {key: value for key, value in settings(base).items() if defines_training(key)}
    for name in ("data.train", "data.val"):  # each fold sets these itself
        kept.pop(name, None)
    facts = kept | {"data_set": base.dataset.name, "areas_sha256": file_hash(areas)}
    claim(output, STUDY_FILE, facts, default_settings(base))


def fold_folder(output: Path, fold: int) -> Path:
    """Name the folder of the masks and scores of a fold."""
    return output / f"fold_{fold}"


def collect_folds(output: Path, folds: int, info: DatasetInfo) -> list[CrossValidation]:
    """Read the finished tests of all folds, and pool their counts.

    Args:
        output: folder of the cross-validation.
        folds: number of folds.
        info: description of the data set.

    Returns:
        The scores on each kind of labels.

    Raises:
        InputError: a test is not finished.
    """
    results = [read_result(fold_folder(output, fold)) for fold in range(folds)]
    records = [
        record
        for fold in range(folds)
        for record in read_records(fold_folder(output, fold)).values()
    ]
    return [
        CrossValidation(
            kind,
            tuple(result.scores[kind] for result in results),
            summarize(records, kind, info).scores,
        )
        for kind in results[0].scores
    ]


def write_folds(found: Sequence[CrossValidation], output: Path, areas: Path) -> None:
    """Write mean, deviation and pooled scores to ``cross_validation.json`` and ``.csv``.

    Args:
        found: the scores on each kind of labels.
        output: folder of the cross-validation.
        areas: the file of the folds.
    """
    document: dict[str, Any] = {"areas_sha256": file_hash(areas), "scores": {}}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = list(values_of(found[0].pooled))
    writer.writerow(["labels", "fold", *keys])
    for one in found:
        folds, pooled = [values_of(scores) for scores in one.folds], values_of(one.pooled)
        spread = {key: one.spread(key) for key in keys}
        document["scores"][one.kind] = {
            "folds": folds,
            "mean": {key: mean for key, (mean, _) in spread.items()},
            "std": {key: deviation for key, (_, deviation) in spread.items()},
            "pooled": pooled,
        }
        for number, values in enumerate(folds):
            writer.writerow([one.kind, number, *(values[key] for key in keys)])
        for name, values in document["scores"][one.kind].items():
            if name != "folds":
                writer.writerow([one.kind, name, *(values[key] for key in keys)])
    contents = {RESULT: json.dumps(document, indent=2) + "\n", TABLE: text.getvalue()}
    for name, content in contents.items():
        with replacing(output / name) as partial:
            partial.write_text(content, encoding="utf-8")
