"""Steps of the chain, each of which goes on where it was interrupted."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from network.buildings.maps import (
    cluster,
    load_classifier,
    make_bac,
    make_cam,
    make_refined,
    map_files,
    tile_loader,
)
from network.buildings.masks import make_pseudo, make_seeds, pseudo_files, seed_files
from network.buildings.record import Step, is_current, read_record, record_of
from network.buildings.stages import (
    BY_TRUTH,
    Stage,
    stage_of_labels,
    stage_of_masks,
    stage_of_test,
    stages_of_maps,
    write_stages,
)
from network.buildings.tasks import (
    ClassifierTask,
    RefinerTask,
    TrainingTiles,
    checkpoint_of,
    fit,
    long_side_between,
    normalization_record,
    normalize_for,
    scale_between,
)
from network.buildings.tiles import cut_test_tiles, cut_train_tiles, source_digest, tile_names
from network.buildings.work import Work
from network.config import Experiment, load_experiment, settings
from network.datasets.folder_jobs import replacing_folders
from network.datasets.info import BUILDING
from network.datasets.loaders import evaluation_loader
from network.errors import InputError, warn
from network.evaluation.evaluate import evaluate
from network.training.train import train_once


def _make_labels(work: Work) -> dict:
    chain, data = work.chain, work.data
    with replacing_folders(data) as (partial_data,):
        counts = cut_train_tiles(
            chain,
            partial_data / "train/images",
            partial_data / "train/masks",
            partial_data / "train/labels.csv",
        )
        test = 0
        if chain.test:
            test = cut_test_tiles(chain, partial_data / "test/images", partial_data / "test/masks")
        # If this step only makes lost tiles again, its results are the same as before.
        for pseudo in sorted(data.glob("train/pseudo*")):
            shutil.copytree(pseudo, partial_data / "train" / pseudo.name)
    return {**vars(counts), "test": test}


def _label_inputs(work: Work) -> dict:
    digest = source_digest(work.chain)
    return {"digest of the data": digest} if digest else {}


def _label_files(work: Work) -> Iterable[Path]:
    yield work.list_file
    if work.list_file.is_file():
        folders = (
            [work.train_images] if work.chain.labels else [work.train_images, work.train_truth]
        )
        yield from (folder / f"{name}.png" for folder in folders for name in work.labels)


def _train_classifier(work: Work) -> dict:
    chain, s = work.chain, work.chain.classifier
    _check_long_sides(work)
    folder = work.training("classifier")
    is_new = not (folder / "last.ckpt").is_file()
    task = ClassifierTask(s, chain.seed, pretrained=is_new)
    tiles = TrainingTiles(
        work.tiles, work.labels, None, long_side_between(*s.long_sides), s, chain.seed
    )
    fit(
        task,
        tiles,
        folder,
        key="classifier",
        epochs=s.epochs,
        batch_size=s.batch_size,
        chain=chain,
        device=work.device,
    )
    model = load_classifier(work)
    normalize = normalize_for(s).to(work.device)
    right: dict[int, list[bool]] = {0: [], 1: []}
    for batch in tile_loader(work, work.tiles, "Scoring the classifier"):
        logits = model(normalize(batch["image"].to(work.device))).cpu()
        for name, logit in zip(batch["name"], logits, strict=True):
            label = work.labels[name]
            right[label].append(bool(logit > 0) == bool(label))
    recall = {name: round(float(np.mean(right[k])), 4) for k, name in _KINDS.items()}
    for name, share in recall.items():
        if share < 0.5:
            warn(
                f"the classifier recognizes only {share:.0%} of the {name} tiles that it was "
                "trained on, so its maps will mean little; raise classifier.epochs, or change the "
                "learning rates or tiles.negatives"
            )
    return {f"accuracy on {name} tiles": share for name, share in recall.items()}


_KINDS = {1: "positive", 0: "negative"}


def _check_long_sides(work: Work) -> None:
    """Check that the classifier trains on the tiles' own size, at which the maps are made."""
    low, high = work.chain.classifier.long_sides
    length = int(np.median([max(tile.size) for tile in work.tiles]))
    if not low <= length <= high:
        raise InputError(
            f"classifier.long_sides=({low}, {high})",
            f"never trains on the tiles' own size of {length} pixels, at which the maps are made",
            f"give a range around it, such as ({3 * length // 4}, {5 * length // 4}), or other "
            "tiles",
        )


def _train_refiner(work: Work) -> dict:
    chain, s = work.chain, work.chain.refiner
    folder = work.training("refiner")
    is_new = not (folder / "last.ckpt").is_file()
    task = RefinerTask(s, chain.seed, pretrained=is_new)
    tiles = TrainingTiles(
        work.tiles, work.labels, work.seeds, scale_between(*s.scales), s, chain.seed
    )
    oracle = None
    if s.oracle:
        truth = [tile for tile in work.tiles_with_truth() if work.labels[tile.name] == 1]
        oracle = evaluation_loader(BUILDING, truth, chain.batch_size)
    fit(
        task,
        tiles,
        folder,
        key="refiner",
        epochs=s.epochs,
        batch_size=s.batch_size,
        chain=chain,
        device=work.device,
        oracle=oracle,
    )
    return {"epoch": BY_TRUTH if s.oracle else "last"}


def final_experiment(work: Work, is_full: bool, made: str) -> Experiment:
    """Load the experiment of the final network, on the tiles of the work folder.

    Args:
        work: the work folder.
        is_full: whether to train on true masks instead of pseudo masks.
        made: time of the step, a part of the experiment's name.

    Raises:
        InputError: the config cannot be used, or is on another data set.
    """
    chain, final = work.chain, work.chain.final
    kind, labels = ("full", None) if is_full else ("final", work.pseudo.name)
    words = [
        f"seed={chain.seed}",
        f"data.workers={chain.workers}",
        *final.overrides,
        f"data.root={work.data}",
        f"data.train_labels={labels}",
        f"name=weak/{work.folder.resolve().name}/{kind}_{made}",
    ]
    experiment = load_experiment(final.config, words)
    if experiment.dataset.name != BUILDING.name:
        raise InputError(
            f"final.config={final.config}",
            f"is on {experiment.dataset.name}, not on {BUILDING.name}",
            "take one of config/building/",
        )
    # Intervals are over the images, since tiles of one image look alike.
    names = tile_names(chain, work.data / "test/images")
    return replace(experiment, dataset=replace(experiment.dataset, patch_names=names))


def _final_inputs(is_full: bool, work: Work) -> dict:
    """Collect all settings of the final network, since its config may change."""
    found = settings(final_experiment(work, is_full, ""))
    left_out = ("name", "data.root", "data.workers")
    plain = {key: value for key, value in found.items() if key not in left_out}
    return json.loads(json.dumps(plain, default=str))


def _train(step: str, is_full: bool, work: Work) -> dict:
    experiment = final_experiment(work, is_full, record_of(step, work).made)
    is_cuda = work.device.type == "cuda"
    devices = f"{work.device.index or 0}," if is_cuda else "1"
    accelerator = "gpu" if is_cuda else work.device.type
    run = train_once(experiment, accelerator=accelerator, devices=devices)
    return {"run": run.as_posix()}


def _evaluate(work: Work) -> dict:
    """Score and draw all stages that are done."""
    stages: list[Stage] = []
    curves: dict[str, list[float]] = {}
    pseudo = record_of("make_pseudo", work).results
    taken = (pseudo["threshold"], pseudo["threshold is"]) if "threshold" in pseudo else None
    if not work.chain.labels:
        tiles = work.tiles_with_truth()
        stages.append(stage_of_labels(work, tiles))
        for kind, name in (("cam", "CAM"), ("bac", "BAC"), ("ar", "AR")):
            own = taken if kind == "ar" else None
            found, curves[name] = stages_of_maps(work, name, kind, tiles, own)
            stages += found
        stages.append(stage_of_masks(work, "pseudo masks", work.pseudo, tiles))
    for step, name, is_full in (
        (TRAIN_FINAL, "final network", False),
        (TRAIN_FULL, "full supervision", True),
    ):
        if not work.chain.test or not is_current(step, work):
            reason = "is not done with these settings" if work.chain.test else "has no test images"
            print(f"evaluate: without {step.name}, which {reason}")
            shutil.rmtree(work.stages / step.name, ignore_errors=True)  # it has other settings
            continue
        record = record_of(step.name, work)
        run = Path(record.results["run"])
        best = run / "best.ckpt"
        experiment = final_experiment(work, is_full, record.made)
        evaluate(
            experiment,
            checkpoint=best if best.is_file() else run / "last.ckpt",
            output=work.stages / step.name,
            split="test",
            batch_size=work.chain.batch_size,
            device=str(work.device),
        )
        stages.append(stage_of_test(work, name, work.stages / step.name))
    write_stages(work, stages, curves, taken[0] if taken else None)
    return {}


def _last_checkpoint(step: str, work: Work) -> Iterable[Path]:
    record = read_record(step, work)
    return [Path(record.results["run"]) / "last.ckpt"] if record and record.results else []


MAKE_LABELS = Step(
    "make_labels",
    _make_labels,
    keys=(*("dataset", "root", "train", "test", "labels", "mask_value", "building", "tiles"),),
    needs=(),
    outputs=lambda work: [work.data],
    parts=_label_files,
    inputs=_label_inputs,
    is_first=True,
)
TRAIN_CLASSIFIER = Step(
    "train_classifier",
    _train_classifier,
    keys=("classifier", "seed"),
    needs=(MAKE_LABELS,),
    outputs=lambda work: [work.training("classifier")],
    parts=lambda work: [checkpoint_of(work.training("classifier"))],
    inputs=lambda work: normalization_record(work.chain.classifier),
)
MAKE_CAM = Step(
    "make_cam",
    make_cam,
    keys=("scales",),
    needs=(TRAIN_CLASSIFIER,),
    outputs=lambda work: [work.maps("cam")],
    parts=partial(map_files, "cam"),
)
CLUSTER = Step(
    "cluster",
    cluster,
    keys=("clusters",),
    needs=(MAKE_CAM,),
    outputs=lambda work: [work.prototypes],
)
MAKE_BAC = Step(
    "make_bac",
    make_bac,
    keys=("scales",),
    needs=(CLUSTER,),
    outputs=lambda work: [work.maps("bac")],
    parts=partial(map_files, "bac"),
)
MAKE_SEEDS = Step(
    "make_seeds",
    make_seeds,
    keys=("seeds",),
    needs=(MAKE_BAC,),
    outputs=lambda work: [work.seeds],
    parts=seed_files,
)
TRAIN_REFINER = Step(
    "train_refiner",
    _train_refiner,
    keys=("refiner", "seed"),
    needs=(MAKE_SEEDS,),
    outputs=lambda work: [work.training("refiner")],
    parts=lambda work: [checkpoint_of(work.training("refiner"), work.chain.refiner.oracle)],
    inputs=lambda work: normalization_record(work.chain.refiner),
)
MAKE_REFINED = Step(
    "make_refined",
    make_refined,
    keys=("scales",),
    needs=(TRAIN_REFINER,),
    outputs=lambda work: [work.maps("ar")],
    parts=partial(map_files, "ar"),
)
MAKE_PSEUDO = Step(
    "make_pseudo",
    make_pseudo,
    keys=("pseudo",),
    needs=(MAKE_REFINED,),
    outputs=lambda work: [work.pseudo],
    parts=pseudo_files,
)
TRAIN_FINAL = Step(
    "train_final",
    partial(_train, "train_final", False),
    keys=("final",),
    needs=(MAKE_PSEUDO,),
    outputs=lambda work: [],
    parts=partial(_last_checkpoint, "train_final"),
    inputs=partial(_final_inputs, False),
)
TRAIN_FULL = Step(
    "train_full",
    partial(_train, "train_full", True),
    keys=("final",),
    needs=(MAKE_LABELS,),
    outputs=lambda work: [],
    parts=partial(_last_checkpoint, "train_full"),
    inputs=partial(_final_inputs, True),
)
EVALUATE = Step(
    "evaluate",
    _evaluate,
    keys=(),
    needs=(MAKE_PSEUDO,),
    outputs=lambda work: [work.stages],
    always=True,  # what it scores may have changed
)

STEPS = (
    MAKE_LABELS,
    TRAIN_CLASSIFIER,
    MAKE_CAM,
    CLUSTER,
    MAKE_BAC,
    MAKE_SEEDS,
    TRAIN_REFINER,
    MAKE_REFINED,
    MAKE_PSEUDO,
    TRAIN_FINAL,
    TRAIN_FULL,
    EVALUATE,
)
"""All steps in their order."""
