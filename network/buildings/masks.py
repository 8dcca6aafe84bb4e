"""Steps of the chain that make masks of all tiles: first seeds, later pseudo masks."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network.buildings.crf import CRFS
from network.buildings.seeds import UNSURE, make_seed
from network.buildings.stages import BINS, BY_TRUTH, best_threshold, threshold_counts
from network.buildings.tiles import of_label
from network.buildings.work import Work, read_map
from network.datasets.files import read_mask, read_rgb, write_image
from network.datasets.info import BUILDING
from network.datasets.segmentation import Sample
from network.datasets.workers import map_parallel
from network.rasters.pixels import count_labels


def make_seeds(work: Work) -> dict:
    """Write the seeds of all tiles."""
    s = work.chain.seeds
    return _write_masks(
        work,
        _MaskWriter(work.maps(s.maps), work.seeds, s.foreground, s.background, s.crf),
    )


def make_pseudo(work: Work) -> dict:
    """Write the pseudo masks of all tiles."""
    s = work.chain.pseudo
    threshold, how = s.threshold, "fixed"
    if s.oracle:
        truth = {tile.name: tile for tile in work.tiles_with_truth()}
        counts = np.zeros((2, BINS + 1), np.int64)
        for tile in work.positives:
            counts += threshold_counts(
                read_map(work.maps("ar") / f"{tile.name}.npy")[1],
                read_mask(next(iter(truth[tile.name].masks.values())), BUILDING),
            )
        threshold, how = best_threshold(counts), BY_TRUTH
    if s.crf == "none":
        # With one threshold, no pixel is unsure.
        write = _MaskWriter(work.maps("ar"), work.pseudo, threshold, threshold, "none", channel=1)
    else:
        write = _MaskWriter(
            work.maps("ar"), work.pseudo, s.foreground, s.background, s.crf, channel=1
        )
    found = _write_masks(work, write)
    chosen = {"threshold": threshold, "threshold is": how} if s.crf == "none" else {}
    return {**chosen, **found}


def seed_files(work: Work) -> Iterable[Path]:
    """List the seed files of all tiles."""
    return (work.seeds / f"{tile.name}.png" for tile in work.tiles)


def pseudo_files(work: Work) -> Iterable[Path]:
    """List the pseudo mask files of all tiles."""
    return (work.pseudo / f"{tile.name}.png" for tile in work.tiles)


@dataclass(frozen=True)
class _MaskWriter:
    """A function that writes one seed or pseudo mask; it runs in a worker."""

    source: Path
    output: Path
    foreground: float
    background: float
    crf: str
    channel: int | None = None

    def __call__(self, tile: Sample) -> np.ndarray:
        """Write the mask; return the number of background, building and unsure pixels."""
        activation = read_map(self.source / f"{tile.name}.npy")
        if self.channel is not None:
            activation = activation[self.channel]
        solve = None if self.crf == "none" else CRFS[self.crf]
        seed = make_seed(activation, read_rgb(tile.image), self.foreground, self.background, solve)
        write_image(self.output / f"{tile.name}.png", seed)
        return _count_seed(seed)


def _count_seed(seed: np.ndarray) -> np.ndarray:
    counts = count_labels(seed)
    return counts[[0, 1, UNSURE]]


def _write_masks(work: Work, write: _MaskWriter) -> dict:
    """Write the missing masks; negative tiles are background everywhere."""
    for tile in of_label(work.tiles, work.labels, 0):
        path = write.output / f"{tile.name}.png"
        if not path.is_file():
            write_image(path, np.zeros(tile.size, np.uint8))
    todo = [t for t in work.positives if not (write.output / f"{t.name}.png").is_file()]
    if todo:
        map_parallel(write, todo, workers=max(1, work.chain.workers), unit="tile")
    masks = (read_mask(write.output / f"{tile.name}.png", BUILDING) for tile in work.positives)
    counts = sum(map(_count_seed, masks), np.zeros(3, int))
    shares = np.round(counts / counts.sum(), 4).tolist()
    names = ("background", "building", "unsure")
    return {f"{name} in positive tiles": share for name, share in zip(names, shares, strict=True)}
