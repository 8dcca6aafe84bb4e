"""Steps of the chain that make activation maps, and the step that makes prototypes."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from network.buildings.activation import (
    boosted,
    class_activation,
    expanded_activation,
    prototype_direction,
    refined_probabilities,
)
from network.buildings.classifier import BuildingClassifier
from network.buildings.clusters import Clustering, kmeans, read_prototypes, select, write_prototypes
from network.buildings.tasks import (
    ClassifierTask,
    RefinerTask,
    checkpoint_of,
    normalize_for,
)
from network.buildings.work import Work, read_map, write_map
from network.datasets.files import read_mask
from network.datasets.info import BUILDING
from network.datasets.loaders import evaluation_loader
from network.datasets.segmentation import Sample
from network.errors import InputError, warn
from network.models.checkpoint import load_weights
from network.models.encoder import DENSE_STRIDE
from network.progress import progress_bar

Model = TypeVar("Model", bound=nn.Module)

LARGEST_HALF = 65504
"""Largest value of float16, the type in which features are stored."""


def load_classifier(work: Work) -> BuildingClassifier:
    """Load the classifier with its trained weights."""
    model = ClassifierTask(work.chain.classifier, work.chain.seed, pretrained=False).model
    return _loaded(model, checkpoint_of(work.training("classifier")), work.device)


def _loaded(model: Model, checkpoint: Path, device: torch.device) -> Model:
    load_weights(model, checkpoint)
    return model.to(device).eval().requires_grad_(False)


def tile_loader(work: Work, tiles: Sequence[Sample], title: str) -> Iterable[dict]:
    """Yield the tiles in batches; the tiles of a batch have the same size.

    Args:
        work: the work folder.
        tiles: the tiles.
        title: text of the progress bar.
    """
    chain = work.chain
    workers = min(chain.workers, len(tiles)) if work.device.type != "cpu" else 0
    loader = evaluation_loader(BUILDING, tiles, chain.batch_size, num_workers=workers)
    with progress_bar(total=len(tiles), desc=title, unit="tile") as bar, torch.inference_mode():
        for batch in loader:
            yield batch
            bar.update(len(batch["name"]))


def _write_maps(
    work: Work,
    folder: Path,
    title: str,
    normalize: nn.Module,
    maps_of: Callable[[Tensor, list[str]], Tensor],
) -> None:
    """Write the maps of the positive tiles that have none yet.

    Args:
        work: the work folder.
        folder: folder of the maps.
        title: text of the progress bar.
        normalize: normalizes images of 0 to 255 as the network expects.
        maps_of: computes one map for each of the normalized images (b, 3, H, W) with their names.
    """
    todo = [tile for tile in work.positives if not (folder / f"{tile.name}.npy").is_file()]
    normalize = normalize.to(work.device)
    for batch in tile_loader(work, todo, title) if todo else ():
        maps = maps_of(normalize(batch["image"].to(work.device)), batch["name"]).cpu().numpy()
        for name, own in zip(batch["name"], maps, strict=True):
            write_map(folder / f"{name}.npy", own)


def map_files(kind: str, work: Work) -> Iterable[Path]:
    """List the map files of all positive tiles."""
    return (work.maps(kind) / f"{tile.name}.npy" for tile in work.positives)


def make_cam(work: Work) -> dict:
    """Write the class-activation maps."""
    model, scales = load_classifier(work), work.chain.scales
    normalize = normalize_for(work.chain.classifier)

    def maps_of(image: Tensor, names: list[str]) -> Tensor:
        return class_activation(model, image, scales)

    _write_maps(work, work.maps("cam"), "Class-activation maps", normalize, maps_of)
    return {"maps": len(work.positives)}


def cluster(work: Work) -> dict:
    """Cluster the features of some positive tiles and write the prototypes."""
    s, model = work.chain.clusters, load_classifier(work)
    rng = np.random.default_rng(s.seed)
    positives = work.positives
    drawn, times = np.unique(rng.integers(len(positives), size=s.images), return_counts=True)
    share = -(-s.max_vectors // len(drawn))
    often = {positives[i].name: int(n) for i, n in zip(drawn, times, strict=True)}
    found: dict[bool, list[tuple[Tensor, Tensor]]] = {True: [], False: []}
    normalize = normalize_for(work.chain.classifier).to(work.device)
    for batch in tile_loader(work, [positives[i] for i in drawn], "Features"):
        features = model.features(normalize(batch["image"].to(work.device)))
        features = features.clamp(-LARGEST_HALF, LARGEST_HALF).half().cpu()
        for name, own in zip(batch["name"], features, strict=True):
            cells = _at_cells(read_map(work.maps("cam") / f"{name}.npy"), own.shape[1:])
            vectors = own.flatten(1).T  # (h * w, c)
            for is_building, chosen in (
                (True, cells > s.foreground),
                (False, cells < s.foreground),
            ):
                places = np.flatnonzero(chosen)
                if len(places) > share:
                    places = rng.choice(places, share, replace=False)
                picked = vectors[torch.from_numpy(places)]
                found[is_building].append((picked, torch.full((len(picked),), often[name])))
    clusterings: dict[bool, Clustering | None] = {True: None, False: None}
    for is_building in (True, False):
        vectors = torch.cat([vectors for vectors, _ in found[is_building]])
        weights = torch.cat([weights for _, weights in found.pop(is_building)])
        if len(vectors):
            clusterings[is_building] = kmeans(
                vectors.to(work.device),
                s.k,
                seed=s.seed,
                weights=weights.to(work.device),
                tolerance=s.tolerance,
                max_iterations=s.max_iterations,
            )
    foreground = clusterings[True]
    if foreground is None:
        raise InputError(
            work.folder,
            f"no class-activation map exceeds clusters.foreground={s.foreground}",
            "lower it, or train the classifier longer",
        )
    context = clusterings[False] if s.context else None
    with torch.inference_mode():
        prototypes = select(foreground, context, model.head_weight, s.keep)
    if prototypes.fell_back:
        warn(
            f"no building center is likelier than clusters.keep={s.keep}; the likeliest "
            f"({float(prototypes.foreground_p.max()):.3f}) is taken instead"
        )
    write_prototypes(work.prototypes, prototypes)
    return {
        "building centers": int(prototypes.foreground_kept.sum()),
        "context centers": int(prototypes.context_kept.sum()),
        "fell back": prototypes.fell_back,
    }


def _at_cells(activation: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Sample a map (H, W) at the centers of the feature cells, (h, w)."""
    rows, columns = (
        # The last cell may reach beyond the image.
        np.minimum(np.arange(cells) * DENSE_STRIDE + DENSE_STRIDE // 2, side - 1)
        for cells, side in zip(shape, activation.shape, strict=True)
    )
    return activation[np.ix_(rows, columns)]


def make_bac(work: Work) -> dict:
    """Write the maps that are expanded by the prototypes."""
    model, scales = load_classifier(work), work.chain.scales
    prototypes = read_prototypes(work.prototypes)
    direction = prototype_direction(
        prototypes.foreground[prototypes.foreground_kept],
        prototypes.context[prototypes.context_kept],
    ).to(work.device)

    def maps_of(image: Tensor, names: list[str]) -> Tensor:
        return expanded_activation(model, image, direction, scales)

    normalize = normalize_for(work.chain.classifier)
    _write_maps(work, work.maps("bac"), "Expanded maps", normalize, maps_of)
    return {"maps": len(work.positives)}


def make_refined(work: Work) -> dict:
    """Write the refined maps of background and building."""
    s = work.chain.refiner
    task = RefinerTask(s, work.chain.seed, pretrained=False)
    checkpoint = checkpoint_of(work.training("refiner"), s.oracle)
    model = _loaded(task.model, checkpoint, work.device)

    def maps_of(image: Tensor, names: list[str]) -> Tensor:
        seeds = np.stack([read_mask(work.seeds / f"{name}.png", BUILDING) for name in names])
        probabilities = refined_probabilities(model, image, work.chain.scales)
        return boosted(probabilities, torch.from_numpy(seeds).to(work.device))

    _write_maps(work, work.maps("ar"), "Refined maps", normalize_for(s), maps_of)
    return {"maps": len(work.positives)}
