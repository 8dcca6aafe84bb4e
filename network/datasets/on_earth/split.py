"""Splits of scenes that share no ground: blocks of ground, and guard bands between them.

Neighboring pixels look alike. So if pixels of training and test are mixed, or lie beside each
other, a score says how well a network remembers, and not how well it does elsewhere. This module
needs the extra ``vectors``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyproj
import shapely

from network.datasets.on_earth.blocks import Blocks, count_classes, cut_blocks
from network.datasets.on_earth.find import Scene, find_scenes
from network.datasets.on_earth.scenes import Scenes
from network.datasets.on_earth.stratify import assign
from network.datasets.schema import DatasetInfo
from network.errors import InputError, warn
from network.rasters.earth_grid import EarthGrid
from network.rasters.source import Source
from network.rasters.vector_files import Layer, Rows, write_geopackage_layers

SPLIT_NAMES = ("train", "val", "test")
"""Names of the splits. Where two are too close, the one that stands first is cut back."""

AREAS, FOLDS = "areas", "folds"
"""Names of the layers of three splits, and of the folds."""

_DIAGONALS = 1.25
"""A guard band is this much wider than asked, in diagonals of a pixel. A pixel is in an area if its
center is, so it reaches out of the area by up to half a diagonal, at each side of the band; and
borders may move a little when they are brought to the grid of an image."""

_STEPS = 16
"""Sides of a quarter of a circle around a corner."""


@dataclass(frozen=True)
class Part:
    """The ground of one split.

    Attributes:
        name: name of the split, or number of the fold.
        ground: the ground of each of its blocks without the guard band, (n,), in meters.
        blocks: number of each block, (n,).
        counts: pixels of each class (k,) in it; without labels, square meters (1,).
        lost: pixels of each class that the guard band takes.
    """

    name: str
    ground: np.ndarray
    blocks: np.ndarray
    counts: np.ndarray
    lost: np.ndarray

    @property
    def area(self) -> float:
        """Its area in square meters."""
        return float(shapely.area(self.ground).sum())


@dataclass(frozen=True)
class Division:
    """A division of scenes into splits, or into folds.

    Attributes:
        blocks: the blocks of ground.
        parts: the splits; or the folds, which touch each other.
        layers: the splits of each layer of the file, by its name; for folds there is one layer for
            each held-out fold.
    """

    blocks: Blocks
    parts: tuple[Part, ...]
    layers: Mapping[str, tuple[Part, ...]]


def all_scenes(info: DatasetInfo, root: Path) -> list[Scene]:
    """Find the scenes of all splits of a data set, whichever areas these have.

    Args:
        info: description of the data set.
        root: root folder of the data.

    Returns:
        The scenes with labels; all of them if none has labels.

    Raises:
        InputError: the data set has no scenes, or their files cannot be used.
    """
    described = [
        replace(scenes, areas=None) for name in info.splits for scenes in info.scenes(name)
    ]
    if not described:
        raise InputError(
            info.name,
            "has folders of images and masks, not scenes on Earth",
            "describe its images as Scenes in its config",
        )
    found: dict[Path, Scene] = {}
    done: list[Scenes] = []
    for scenes in described:
        if scenes not in done:
            done.append(scenes)
            found = {scene.image: scene for scene in find_scenes(info, root, scenes)} | found
    labeled = [scene for scene in found.values() if scene.labels]
    if labeled and len(labeled) < len(found):
        warn(f"{info.name}: {len(found) - len(labeled)} images without labels are left out")
    return labeled or list(found.values())


def unlabeled_scenes(images: Sequence[Path]) -> list[Scene]:
    """Open images on Earth of which nobody knows the labels.

    Args:
        images: the images.

    Raises:
        InputError: an image cannot be opened, or does not say where it lies.
    """
    scenes = []
    for image in images:
        with Source(image) as source:
            grid = EarthGrid.of(image, source.header.place, *source.size)
            bands = tuple(source.bands)
        scenes.append(Scene(image, bands, source.size, None, grid.resolution, grid))
    return scenes


def split_scenes(
    scenes: Sequence[Scene],
    *,
    block: float,
    buffer: float,
    shares: Sequence[float] = (70, 15, 15),
    seed: int = 0,
) -> Division:
    """Divide the ground of scenes into train, val and test.

    Args:
        scenes: the scenes, all with labels or all without.
        block: side of the square blocks in meters, each of which belongs to one split.
        buffer: smallest distance between pixels of two splits, in meters. Train is cut back where
            it is closer to val or test, and val where it is closer to test.
        shares: shares of train, val and test, in any unit; a split of 0 is left out.
        seed: seed of the assignment.

    Raises:
        InputError: a value is out of range, there are fewer blocks than splits, or the guard bands
            leave nothing of a split.
    """
    _check(block, buffer)
    text = " ".join(f"{share:g}" for share in shares)
    if len(shares) != len(SPLIT_NAMES) or min(shares) < 0 or not math.isfinite(sum(shares)):
        raise InputError(f"shares={text}", "expected shares of train, val and test, 0 or more")
    used = [number for number, share in enumerate(shares) if share > 0]
    if len(used) < 2:
        raise InputError(f"shares={text}", "at least two splits need a share")
    blocks = cut_blocks(scenes, block)
    _check_number(blocks, len(used), block, f"shares={text}")
    wanted = np.array([shares[number] for number in used], float)
    owners = np.array(used)[assign(blocks.counts, wanted / wanted.sum(), seed)]
    parts = _guarded(scenes, blocks, owners, buffer)
    _check_left(parts, buffer)
    return Division(blocks, parts, {AREAS: parts})


def fold_scenes(
    scenes: Sequence[Scene], *, block: float, buffer: float, folds: int, seed: int = 0
) -> Division:
    """Divide the ground of scenes into folds of equal size for a cross-validation.

    There is a layer for each fold, in which it is the test split, the next fold is the val split,
    and the others are the train split. Two folds have no val split.

    Args:
        scenes: the scenes, all with labels or all without.
        block: side of the square blocks in meters, each of which belongs to one fold.
        buffer: smallest distance between pixels of two splits in meters, as in
            :func:`split_scenes`.
        folds: number of folds.
        seed: seed of the assignment.

    Raises:
        InputError: a value is out of range, there are fewer blocks than folds, or the guard bands
            leave nothing of a split.
    """
    _check(block, buffer)
    if folds < 2:
        raise InputError(f"folds={folds}", "a cross-validation has at least 2 folds")
    blocks = cut_blocks(scenes, block)
    _check_number(blocks, folds, block, f"folds={folds}")
    owners = assign(blocks.counts, np.full(folds, 1 / folds), seed)
    numbers = np.arange(len(blocks.ground))
    parts, layers = [], {}
    for fold in range(folds):
        own = owners == fold
        counts = blocks.counts[own].sum(axis=0)
        lost = np.zeros_like(counts)
        parts.append(Part(str(fold), blocks.ground[own], numbers[own], counts, lost))
    for fold in range(folds):
        roles = np.zeros(len(owners), int)
        if folds > 2:
            roles[owners == (fold + 1) % folds] = SPLIT_NAMES.index("val")
        roles[owners == fold] = SPLIT_NAMES.index("test")
        layer = _guarded(scenes, blocks, roles, buffer)
        _check_left(layer, buffer)
        layers[f"fold_{fold}"] = layer
    return Division(blocks, tuple(parts), layers)


def write_division(division: Division, path: Path) -> None:
    """Write the areas of a division as a GeoPackage. The same division gives the same bytes.

    Each layer has the attribute ``split``, and ``block`` with the number of the block. Folds have
    one more layer, ``folds``, with the attribute ``fold`` instead.

    Args:
        division: the division.
        path: the file.

    Raises:
        InputError: the file cannot be written.
    """
    crs = pyproj.CRS.from_wkt(division.blocks.plane.crs.to_wkt())
    tables: list[tuple[Layer, Iterable[Rows]]] = []
    if AREAS not in division.layers:
        fields: dict[str, type] = {"fold": int, "block": int}
        tables.append((Layer(FOLDS, crs, fields), [_rows(division.parts, "fold")]))
    for name, parts in division.layers.items():
        fields = {"split": str, "block": int}
        tables.append((Layer(name, crs, fields), [_rows(parts, "split")]))
    write_geopackage_layers(path, tables)


def _rows(parts: Sequence[Part], attribute: str) -> Rows:
    polygons, names, blocks = [], [], []
    for part in parts:
        single, owners = shapely.get_parts(part.ground, return_index=True)
        polygons.append(shapely.orient_polygons(single))
        names += [part.name] * len(single)
        blocks.append(part.blocks[owners])
    values = np.array([int(name) for name in names]) if attribute == "fold" else names
    return Rows(np.concatenate(polygons), {attribute: values, "block": np.concatenate(blocks)})


# Guard bands ------------------------------------------------------------------------------------


def _guarded(
    scenes: Sequence[Scene], blocks: Blocks, owners: np.ndarray, buffer: float
) -> tuple[Part, ...]:
    """Cut each block back that is close to one of a later split, and count what is left.

    Args:
        scenes: the scenes.
        blocks: their blocks.
        owners: number of the split of each block, (n,).
        buffer: width of the guard band in meters.
    """
    ground = blocks.ground.copy()
    if buffer > 0:
        width = (buffer + _DIAGONALS * blocks.diagonal) / math.cos(math.pi / 4 / _STEPS)
        bands = shapely.buffer(blocks.ground, width, quad_segs=_STEPS)
        near, others = shapely.STRtree(bands).query(ground, predicate="intersects")
        is_later = owners[others] > owners[near]
        near, others = near[is_later], others[is_later]
        for place in np.unique(near):
            band = shapely.union_all(bands[others[near == place]])
            ground[place] = _polygons(shapely.difference(ground[place], band))
    kept = np.flatnonzero(~shapely.is_empty(ground))
    if any(scene.labels for scene in scenes):
        counts = np.zeros_like(blocks.counts)
        counts[kept] = count_classes(scenes, ground[kept], blocks.plane)
    else:
        counts = shapely.area(ground)[:, None]
    parts = []
    for number, name in enumerate(SPLIT_NAMES):
        own = owners == number
        if not own.any():
            continue
        places = kept[owners[kept] == number]
        left = counts[own].sum(axis=0)
        lost = blocks.counts[own].sum(axis=0) - left
        parts.append(Part(name, ground[places], places, left, lost))
    return tuple(parts)


def _polygons(shape: shapely.Geometry) -> shapely.Geometry:
    """Keep what has an area; a difference may leave lines and points."""
    single = shapely.get_parts(shape)
    return shapely.multipolygons(single[shapely.area(single) > 0])


# Errors -----------------------------------------------------------------------------------------


def _check(block: float, buffer: float) -> None:
    if not 0 < block < math.inf:
        raise InputError(f"block={block:g}", "expected a length in meters above 0")
    if not 0 <= buffer < math.inf:
        raise InputError(f"buffer={buffer:g}", "expected a length in meters, 0 or more")


def _check_number(blocks: Blocks, splits: int, side: float, where: str) -> None:
    found = len(blocks.ground)
    if found < splits:
        number = f"only {found} block{'s' * (found != 1)} of {side:g} m"
        raise InputError(where, f"{number} have labels", "choose smaller blocks")


def _check_left(parts: Sequence[Part], buffer: float) -> None:
    for part in parts:
        if not part.counts.any():
            raise InputError(
                f"buffer={buffer:g}",
                f"the guard bands leave no labeled pixel of {part.name}",
                "choose a smaller buffer, or larger blocks",
            )
