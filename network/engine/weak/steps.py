"""The steps of the chain, each of which goes on where it was interrupted."""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch

from network.config import Experiment, load_experiment, settings
from network.datasets.folder_jobs import replacing_folders
from network.datasets.info import BUILDING
from network.engine.data import evaluation_loader
from network.engine.evaluate import evaluate
from network.engine.train import train_once
from network.engine.weak.maps import (
    cluster,
    load_classifier,
    make_bac,
    make_cam,
    make_refined,
    map_files,
    tile_loader,
)
from network.engine.weak.masks import make_pseudo, make_seeds, pseudo_files, seed_files
from network.engine.weak.record import Step, is_current, read_record
from network.engine.weak.stages import (
    BY_TRUTH,
    Stage,
    stage_of_labels,
    stage_of_masks,
    stage_of_test,
    stages_of_maps,
    write_stages,
)
from network.engine.weak.tasks import (
    ClassifierTask,
    RefinerTask,
    TrainingTiles,
    checkpoint_of,
    fit,
    imagenet_normalize,
    long_side_between,
    scale_between,
)
from network.engine.weak.work import PSEUDO, Work
from network.errors import InputError
from network.weak.tiles import cut_test_tiles, cut_train_tiles, source_digest


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
    return {**vars(counts), "test": test}


def _label_inputs(work: Work) -> dict:
    digest = source_digest(work.chain)
    return {"digest of the images": digest} if digest else {}


def _label_files(work: Work) -> Iterable[Path]:
    yield work.list_file
    if work.list_file.is_file():
        yield from (work.train_images / f"{name}.png" for name in work.labels)


def _train_classifier(work: Work) -> dict:
    chain, s = work.chain, work.chain.classifier
    folder = work.training("classifier")
    is_new = not (folder / "last.ckpt").is_file()
    task = ClassifierTask(s, chain.seed, pretrained=is_new)
    tiles = TrainingTiles(
        work.tiles, work.labels, None, long_side_between(*s.long_sides), s.crop, chain.seed
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
    normalize = imagenet_normalize().to(work.device)
    right = 0
    for batch in tile_loader(work, work.tiles, "Scoring the classifier"):
        logits = model(normalize(batch["image"].to(work.device)))
        truth = torch.tensor([work.labels[name] for name in batch["name"]])
        right += int(((logits.cpu() > 0) == (truth > 0)).sum())
    return {"accuracy on the training labels": round(right / len(work.tiles), 4)}


def _train_refiner(work: Work) -> dict:
    chain, s = work.chain, work.chain.refiner
    folder = work.training("refiner")
    is_new = not (folder / "last.ckpt").is_file()
    task = RefinerTask(s, chain.seed, pretrained=is_new)
    tiles = TrainingTiles(
        work.tiles, work.labels, work.seeds, scale_between(*s.scales), s.crop, chain.seed
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


def final_experiment(work: Work, labels: str | None, made: str) -> Experiment:
    """The experiment of the config, on the tiles of the work folder.

    Args:
        labels: folder of the masks to train on; None: the truth.
    """
    chain, final = work.chain, work.chain.final
    kind = "full" if labels is None else "final"
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
            f"final.config={final.config}: is on {experiment.dataset.name}, not on "
            f"{BUILDING.name}; take one of config/building/"
        )
    return experiment


def _final_inputs(labels: str | None, work: Work) -> dict:
    """All settings of the training, which its config may change."""
    found = settings(final_experiment(work, labels, ""))
    left_out = ("name", "data.root", "data.workers")
    plain = {key: value for key, value in found.items() if key not in left_out}
    return json.loads(json.dumps(plain, default=str))


def _train(step: str, labels: str | None, work: Work) -> dict:
    experiment = final_experiment(work, labels, read_record(step, work).made)
    is_cuda = work.device.type == "cuda"
    devices = f"{work.device.index or 0}," if is_cuda else "1"
    accelerator = "gpu" if is_cuda else work.device.type
    run = train_once(experiment, accelerator=accelerator, devices=devices)
    return {"run": run.as_posix()}


def _evaluate(work: Work) -> dict:
    """Score what there is, and draw it."""
    stages: list[Stage] = []
    curves: dict[str, list[float]] = {}
    pseudo = read_record("make_pseudo", work).results
    taken = (pseudo["threshold"], pseudo["threshold is"]) if "threshold" in pseudo else None
    if not work.chain.labels:
        tiles = work.tiles_with_truth()
        stages.append(stage_of_labels(work, tiles))
        for kind, name in (("cam", "CAM"), ("bac", "BAC"), ("ar", "AR")):
            own = taken if kind == "ar" else None
            found, curves[name] = stages_of_maps(work, name, kind, tiles, own)
            stages += found
        stages.append(stage_of_masks(work, "pseudo masks", work.pseudo, tiles))
    for step, name, labels in (
        (TRAIN_FINAL, "final network", PSEUDO),
        (TRAIN_FULL, "full supervision", None),
    ):
        if not work.chain.test or not is_current(step, work):
            print(f"evaluate: without {step.name}, which is not done with these settings")
            continue
        record = read_record(step.name, work)
        run = Path(record.results["run"])
        best = run / "best.ckpt"
        experiment = final_experiment(work, labels, record.made)
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


def _never_whole(work: Work) -> Iterable[Path]:
    """Scores are made anew each time: what they are of may have changed."""
    return [work.stages / "never"]


MAKE_LABELS = Step(
    "make_labels",
    _make_labels,
    keys=(*("dataset", "data_root", "train", "test", "labels", "mask_value", "building", "tiles"),),
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
)
MAKE_CAM = Step(
    "make_cam",
    make_cam,
    keys=("cam",),
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
    keys=("cam",),
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
)
MAKE_REFINED = Step(
    "make_refined",
    make_refined,
    keys=("cam",),
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
    partial(_train, "train_final", PSEUDO),
    keys=("final",),
    needs=(MAKE_PSEUDO,),
    outputs=lambda work: [],
    parts=partial(_last_checkpoint, "train_final"),
    inputs=partial(_final_inputs, PSEUDO),
)
TRAIN_FULL = Step(
    "train_full",
    partial(_train, "train_full", None),
    keys=("final",),
    needs=(MAKE_LABELS,),
    outputs=lambda work: [],
    parts=partial(_last_checkpoint, "train_full"),
    inputs=partial(_final_inputs, None),
)
EVALUATE = Step(
    "evaluate",
    _evaluate,
    keys=(),
    needs=(MAKE_PSEUDO,),
    outputs=lambda work: [work.stages],
    parts=_never_whole,
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
"""In their order."""
