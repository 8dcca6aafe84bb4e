"""The steps of the chain, each of which goes on where it was interrupted."""

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from network.config import Experiment, load_experiment
from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.folder_jobs import map_parallel, replacing_folders
from network.datasets.info import BUILDING
from network.datasets.segmentation import Sample
from network.engine.data import evaluation_loader
from network.engine.evaluate import evaluate
from network.engine.train import train_once
from network.engine.weak.record import Step, is_current, read_record
from network.engine.weak.stages import (
    Stage,
    best_threshold,
    stage_of_masks,
    stage_of_test,
    stages_of_maps,
    threshold_counts,
    write_stages,
)
from network.engine.weak.tasks import (
    ClassifierTask,
    RefinerTask,
    TrainingTiles,
    fit,
    imagenet_normalize,
    long_side_between,
    scale_between,
)
from network.engine.weak.work import PSEUDO, Work, read_map, write_map
from network.errors import InputError
from network.models.checkpoint import load_weights
from network.weak.activation import (
    boosted,
    class_activation,
    expanded_activation,
    prototype_direction,
    refined_probabilities,
)
from network.weak.clusters import Clustering, kmeans, read_prototypes, select, write_prototypes
from network.weak.crf import CRFS
from network.weak.seeds import make_seed
from network.weak.tiles import cut_test_tiles, cut_train_tiles, of_label

# From masks to image labels ----------------------------------------------------------------------


def _make_labels(work: Work, made: str) -> dict:
    chain, data = work.chain, work.data
    with replacing_folders(data) as (partial_data,):
        counts = cut_train_tiles(
            chain,
            partial_data / "train/images",
            partial_data / "train/masks",
            partial_data / "train/labels.csv",
        )
        test = cut_test_tiles(chain, partial_data / "test/images", partial_data / "test/masks")
    return {**vars(counts), "test": test}


# The classifier and its maps ---------------------------------------------------------------------


def _train_classifier(work: Work, made: str) -> dict:
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
    model = _classifier(work)
    normalize = imagenet_normalize().to(work.device)
    right = 0
    for batch in _loader(work, work.tiles, "Scoring the classifier"):
        logits = model(normalize(batch["image"].to(work.device)))
        truth = torch.tensor([work.labels[name] for name in batch["name"]])
        right += int(((logits.cpu() > 0) == (truth > 0)).sum())
    return {"accuracy on the training labels": round(right / len(work.tiles), 4)}


def _classifier(work: Work) -> nn.Module:
    """With its trained weights."""
    model = ClassifierTask(work.chain.classifier, work.chain.seed, pretrained=False).model
    return _loaded(model, work.training("classifier") / "last.ckpt", work.device)


def _loaded(model: nn.Module, checkpoint: Path, device: torch.device) -> nn.Module:
    load_weights(model, checkpoint)
    return model.to(device).eval().requires_grad_(False)


def _loader(work: Work, tiles: Sequence[Sample], title: str) -> Iterable[dict]:
    """Batches of tiles of one size."""
    chain = work.chain
    workers = min(chain.workers, len(tiles)) if work.device.type != "cpu" else 0
    loader = evaluation_loader(BUILDING, tiles, chain.batch_size, num_workers=workers)
    with tqdm(total=len(tiles), desc=title, unit="tile") as bar, torch.inference_mode():
        for batch in loader:
            yield batch
            bar.update(len(batch["name"]))


def _write_maps(
    work: Work, folder: Path, title: str, maps_of: Callable[[Tensor, list[str]], Tensor]
) -> None:
    """Write the maps of the positive tiles that have none yet.

    Args:
        maps_of: normalized images (b, 3, H, W) and their names to maps, one each.
    """
    todo = [tile for tile in work.positives if not (folder / f"{tile.name}.npy").is_file()]
    normalize = imagenet_normalize().to(work.device)
    for batch in _loader(work, todo, title) if todo else ():
        maps = maps_of(normalize(batch["image"].to(work.device)), batch["name"]).cpu().numpy()
        for name, own in zip(batch["name"], maps, strict=True):
            write_map(folder / f"{name}.npy", own)


def _missing_maps(kind: str, work: Work) -> Iterable[Path]:
    paths = (work.maps(kind) / f"{tile.name}.npy" for tile in work.positives)
    return (path for path in paths if not path.is_file())


def _make_cam(work: Work, made: str) -> dict:
    model, scales = _classifier(work), work.chain.cam.scales

    def maps_of(image: Tensor, names: list[str]) -> Tensor:
        return class_activation(model, image, scales)

    _write_maps(work, work.maps("cam"), "Class-activation maps", maps_of)
    return {"maps": len(work.positives)}


# Prototypes and expanded maps --------------------------------------------------------------------


def _cluster(work: Work, made: str) -> dict:
    s, model = work.chain.clusters, _classifier(work)
    rng = np.random.default_rng(s.seed)
    positives = work.positives
    drawn, times = np.unique(rng.integers(len(positives), size=s.images), return_counts=True)
    often = {positives[i].name: int(n) for i, n in zip(drawn, times, strict=True)}
    found: dict[bool, list[tuple[Tensor, Tensor]]] = {True: [], False: []}
    normalize = imagenet_normalize().to(work.device)
    for batch in _loader(work, [positives[i] for i in drawn], "Features"):
        features = model.features(normalize(batch["image"].to(work.device))).half().cpu()
        for name, own in zip(batch["name"], features, strict=True):
            cells = _at_cells(read_map(work.maps("cam") / f"{name}.npy"), own.shape[1:])
            vectors = own.flatten(1).T  # (h * w, c)
            for is_building, chosen in (
                (True, cells > s.foreground),
                (False, cells < s.foreground),
            ):
                picked = vectors[torch.from_numpy(chosen.ravel())]
                found[is_building].append((picked, torch.full((len(picked),), often[name])))
    clusterings: dict[bool, Clustering | None] = {}
    for is_building, parts in found.items():
        vectors = torch.cat([vectors for vectors, _ in parts])
        weights = torch.cat([weights for _, weights in parts])
        if len(vectors) > s.max_vectors:
            order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(s.seed))[
                : s.max_vectors
            ]
            vectors, weights = vectors[order], weights[order]
        if not len(vectors):
            clusterings[is_building] = None
            continue
        clusterings[is_building] = kmeans(
            vectors.to(work.device),
            s.k,
            seed=s.seed,
            weights=weights.to(work.device),
            tolerance=s.tolerance,
            max_iterations=s.max_iterations,
        )
    if clusterings[True] is None:
        raise InputError(
            f"{work.folder}: no class-activation map exceeds clusters.foreground="
            f"{s.foreground}; lower it, or train the classifier longer"
        )
    context = clusterings[False] if s.context else None
    with torch.inference_mode():
        prototypes = select(clusterings[True], context, model.head_weight, s.keep)
    if prototypes.fell_back:
        print(
            f"warning: no building center is likelier than clusters.keep={s.keep}; the likeliest "
            f"({float(prototypes.foreground_p.max()):.3f}) is taken instead"
        )
    write_prototypes(work.prototypes, prototypes)
    return {
        "building centers": int(prototypes.foreground_kept.sum()),
        "context centers": int(prototypes.context_kept.sum()),
        "fell back": prototypes.fell_back,
    }


def _at_cells(activation: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A map (H, W) at the centers of the feature cells, (h, w)."""
    rows, columns = (
        np.minimum((np.arange(cells) * 2 + 1) * side // (2 * cells), side - 1)
        for cells, side in zip(shape, activation.shape, strict=True)
    )
    return activation[np.ix_(rows, columns)]


def _make_bac(work: Work, made: str) -> dict:
    model, scales = _classifier(work), work.chain.cam.scales
    prototypes = read_prototypes(work.prototypes)
    direction = prototype_direction(
        prototypes.foreground[prototypes.foreground_kept],
        prototypes.context[prototypes.context_kept],
    ).to(work.device)

    def maps_of(image: Tensor, names: list[str]) -> Tensor:
        return expanded_activation(model, image, direction, scales)

    _write_maps(work, work.maps("bac"), "Expanded maps", maps_of)
    return {"maps": len(work.positives)}


# Seeds and refinement ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _SeedWriter:
    """Writes one seed or pseudo mask; runs in a worker."""

    source: Path
    output: Path
    foreground: float
    background: float
    crf: str
    channel: int | None = None

    def __call__(self, tile: Sample) -> np.ndarray:
        """Pixels of background, building and unsure."""
        if multiprocessing.parent_process():
            torch.set_num_threads(1)  # the processes share the cores
        activation = read_map(self.source / f"{tile.name}.npy")
        if self.channel is not None:
            activation = activation[self.channel]
        solve = None if self.crf == "none" else CRFS[self.crf]
        seed = make_seed(activation, read_rgb(tile.image), self.foreground, self.background, solve)
        write_image(self.output / f"{tile.name}.png", seed)
        return _count_seed(seed)


def _count_seed(seed: np.ndarray) -> np.ndarray:
    counts = np.bincount(seed.ravel(), minlength=256)
    return counts[[0, 1, 255]]


def _write_masks(work: Work, write: _SeedWriter) -> dict:
    """Write the masks that are missing; negative tiles are background everywhere."""
    for tile in of_label(work.tiles, work.labels, 0):
        path = write.output / f"{tile.name}.png"
        if not path.is_file():
            write_image(path, np.zeros(tile.size, np.uint8))
    todo = [t for t in work.positives if not (write.output / f"{t.name}.png").is_file()]
    if todo:
        map_parallel(write, todo, workers=max(1, work.chain.workers), unit="tile")
    masks = (read_mask(write.output / f"{tile.name}.png", BUILDING) for tile in work.positives)
    counts = sum(map(_count_seed, masks))
    shares = np.round(counts / counts.sum(), 4).tolist()
    names = ("background", "building", "unsure")
    return {f"{name} in positive tiles": share for name, share in zip(names, shares, strict=True)}


def _missing_masks(folder: Callable[[Work], Path], work: Work) -> Iterable[Path]:
    paths = (folder(work) / f"{tile.name}.png" for tile in work.tiles)
    return (path for path in paths if not path.is_file())


def _make_seeds(work: Work, made: str) -> dict:
    s = work.chain.seeds
    return _write_masks(
        work,
        _SeedWriter(work.maps(s.maps), work.seeds, s.foreground, s.background, s.crf),
    )


def _train_refiner(work: Work, made: str) -> dict:
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
    return {"epoch": "best by the truth" if s.oracle else "last"}


def _make_refined(work: Work, made: str) -> dict:
    s = work.chain.refiner
    name = "best.ckpt" if s.oracle else "last.ckpt"
    task = RefinerTask(s, work.chain.seed, pretrained=False)
    model = _loaded(task.model, work.training("refiner") / name, work.device)

    def maps_of(image: Tensor, names: list[str]) -> Tensor:
        seeds = np.stack([read_mask(work.seeds / f"{name}.png", BUILDING) for name in names])
        probabilities = refined_probabilities(model, image, work.chain.cam.scales)
        return boosted(probabilities, torch.from_numpy(seeds).to(work.device))

    _write_maps(work, work.maps("ar"), "Refined maps", maps_of)
    return {"maps": len(work.positives)}


def _make_pseudo(work: Work, made: str) -> dict:
    s = work.chain.pseudo
    threshold, how = s.threshold, "fixed"
    if s.oracle:
        truth = {tile.name: tile for tile in work.tiles_with_truth()}
        counts = sum(
            threshold_counts(
                read_map(work.maps("ar") / f"{tile.name}.npy")[1],
                read_mask(next(iter(truth[tile.name].masks.values())), BUILDING),
            )
            for tile in work.positives
        )
        threshold, how = best_threshold(counts), "best by the truth"
    if s.crf == "none":
        # One threshold: nothing is unsure.
        write = _SeedWriter(work.maps("ar"), work.pseudo, threshold, threshold, "none", channel=1)
    else:
        write = _SeedWriter(
            work.maps("ar"), work.pseudo, s.foreground, s.background, s.crf, channel=1
        )
    found = _write_masks(work, write)
    chosen = {"threshold": threshold, "threshold is": how} if s.crf == "none" else {}
    return {**chosen, **found}


# The final network -------------------------------------------------------------------------------


def final_experiment(work: Work, labels: str | None, made: str) -> Experiment:
    """The experiment of the config, on the tiles of the work folder.

    Args:
        labels: folder of the masks to train on; None: the truth.
    """
    final = work.chain.final
    kind = "full" if labels is None else "final"
    words = [
        f"data.root={work.data}",
        f"data.train_labels={labels}",
        f"name=weak/{work.folder.resolve().name}/{kind}_{made}",
    ]
    experiment = load_experiment(final.config, [*final.overrides, *words])
    if experiment.dataset.name != BUILDING.name:
        raise InputError(
            f"final.config={final.config}: is on {experiment.dataset.name}, not on "
            f"{BUILDING.name}; take one of config/building/"
        )
    return experiment


def _train(work: Work, labels: str | None, made: str) -> dict:
    experiment = final_experiment(work, labels, made)
    is_cuda = work.device.type == "cuda"
    devices = f"{work.device.index or 0}," if is_cuda else "1"
    accelerator = "gpu" if is_cuda else work.device.type
    run = train_once(experiment, accelerator=accelerator, devices=devices)
    return {"run": run.as_posix()}


def _train_final(work: Work, made: str) -> dict:
    return _train(work, PSEUDO, made)


def _train_full(work: Work, made: str) -> dict:
    return _train(work, None, made)


def _missing_run(step: str, work: Work) -> Iterable[Path]:
    record = read_record(step, work)
    run = Path(record.results["run"]) if record and record.results else work.folder / "no run"
    return () if (run / "last.ckpt").is_file() else (run,)


# The table of stages -----------------------------------------------------------------------------


def _evaluate(work: Work, made: str) -> dict:
    """Score what there is; the only step after the first that opens the truth."""
    stages: list[Stage] = []
    curves: dict[str, list[float]] = {}
    if not work.chain.labels:
        tiles = work.tiles_with_truth()
        for kind, name in (("cam", "CAM"), ("bac", "BAC"), ("ar", "AR")):
            found, curves[name] = stages_of_maps(work, name, kind, tiles)
            stages += found
        stages.append(stage_of_masks(work, "pseudo masks", work.pseudo, tiles))
    for step, name, labels in (
        (TRAIN_FINAL, "final network", PSEUDO),
        (TRAIN_FULL, "full supervision", None),
    ):
        if not is_current(step, work):
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
    write_stages(work, stages, curves)
    return {}


def _nothing(work: Work) -> Sequence[Path]:
    return ()


def _is_missing(outputs: Callable[[Work], Sequence[Path]], work: Work) -> Iterable[Path]:
    return (path for path in outputs(work) if not path.exists())


def _outputs(*find: Callable[[Work], Path]) -> Callable[[Work], Sequence[Path]]:
    return lambda work: [one(work) for one in find]


def _always(work: Work) -> Iterable[Path]:
    return _STAGES(work)


_DATA = _outputs(lambda w: w.data)
_CLASSIFIER = _outputs(lambda w: w.training("classifier"))
_PROTOTYPES = _outputs(lambda w: w.prototypes)
_REFINER = _outputs(lambda w: w.training("refiner"))
_STAGES = _outputs(lambda w: w.stages)

MAKE_LABELS = Step(
    "make_labels",
    _make_labels,
    ("dataset", "data_root", "train", "test", "labels", "mask_value", "building", "tiles"),
    (),
    _DATA,
    partial(_is_missing, _DATA),
    is_first=True,
)
TRAIN_CLASSIFIER = Step(
    "train_classifier",
    _train_classifier,
    ("classifier", "seed"),
    (MAKE_LABELS,),
    _CLASSIFIER,
    partial(_is_missing, _CLASSIFIER),
)
MAKE_CAM = Step(
    "make_cam",
    _make_cam,
    ("cam",),
    (TRAIN_CLASSIFIER,),
    _outputs(lambda w: w.maps("cam")),
    partial(_missing_maps, "cam"),
)
CLUSTER = Step(
    "cluster",
    _cluster,
    ("clusters",),
    (MAKE_CAM,),
    _PROTOTYPES,
    partial(_is_missing, _PROTOTYPES),
)
MAKE_BAC = Step(
    "make_bac",
    _make_bac,
    ("cam",),
    (CLUSTER,),
    _outputs(lambda w: w.maps("bac")),
    partial(_missing_maps, "bac"),
)
MAKE_SEEDS = Step(
    "make_seeds",
    _make_seeds,
    ("seeds",),
    (MAKE_BAC,),
    _outputs(lambda w: w.seeds),
    partial(_missing_masks, lambda w: w.seeds),
)
TRAIN_REFINER = Step(
    "train_refiner",
    _train_refiner,
    ("refiner", "seed"),
    (MAKE_SEEDS,),
    _REFINER,
    partial(_is_missing, _REFINER),
)
MAKE_REFINED = Step(
    "make_refined",
    _make_refined,
    ("cam",),
    (TRAIN_REFINER,),
    _outputs(lambda w: w.maps("ar")),
    partial(_missing_maps, "ar"),
)
MAKE_PSEUDO = Step(
    "make_pseudo",
    _make_pseudo,
    ("pseudo",),
    (MAKE_REFINED,),
    _outputs(lambda w: w.pseudo),
    partial(_missing_masks, lambda w: w.pseudo),
)
TRAIN_FINAL = Step(
    "train_final",
    _train_final,
    ("final",),
    (MAKE_PSEUDO,),
    _nothing,
    partial(_missing_run, "train_final"),
)
TRAIN_FULL = Step(
    "train_full",
    _train_full,
    ("final",),
    (MAKE_LABELS,),
    _nothing,
    partial(_missing_run, "train_full"),
)
EVALUATE = Step("evaluate", _evaluate, (), (MAKE_PSEUDO,), _STAGES, _always)

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
