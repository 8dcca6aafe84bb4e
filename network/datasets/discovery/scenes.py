"""The description of images on Earth that are read in windows; labels are polygons or rasters."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rasterio.crs import CRS

from network.datasets.discovery.classes import Proposal
from network.datasets.discovery.description import (
    AREAS,
    CROPS_AN_EPOCH,
    Description,
    Sizes,
    crop_for,
    dataset_info,
    grid_of,
    val_and_test,
)
from network.datasets.discovery.images import Images, normalization, odd_values
from network.datasets.discovery.layout import Layout, relative
from network.datasets.discovery.splitting import in_blocks
from network.datasets.on_earth.classes import IGNORE
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import SPLITS
from network.errors import InputError, listed
from network.extras import require_extra
from network.rasters.earth_grid import Bounds, EarthGrid, between
from network.rasters.header import Header

_WINDOW = 1024

_FEW = 5
"""Fewer scenes than these are cut into areas; more are shared out as whole images."""

_DEGREES = CRS.from_epsg(4326)


def label_rasters(
    folders: Iterable[Sequence[Path]], root: Path, proposal: Proposal
) -> tuple[LabelFile, ...]:
    """Describe masks as rasters of labels on Earth.

    Args:
        folders: the masks, by folder.
        root: the folder that their names are relative to.
        proposal: the classes that their values mean.
    """
    values = {}
    if all(one.source.lstrip("-").isdigit() for one in proposal.classes):
        values = {one.source: one.name for one in proposal.classes}
        values |= {str(value): IGNORE for value in proposal.ignored}
    return tuple(
        LabelFile(path=Path(pattern), values=values)
        for files in folders
        for pattern in file_patterns(files, root)
    )


def file_patterns(files: Sequence[Path], root: Path) -> tuple[str, ...]:
    """Name files by a pattern if they are all files of their ending in a folder.

    Args:
        files: files of one folder.
        root: the folder that the names are relative to.
    """
    found: list[str] = []
    by_ending: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        by_ending.setdefault((path.parent, path.suffix), []).append(path)
    for (folder, suffix), own in by_ending.items():
        pattern = folder / f"*{suffix}"
        if len(own) > 1 and set(folder.glob(f"*{suffix}")) == set(own):
            found.append(relative(pattern, root))
        else:
            found += [relative(path, root) for path in own]
    return tuple(found)


def describe_scenes(
    layout: Layout,
    name: str,
    images: Images,
    proposal: Proposal,
    labels: tuple[LabelFile, ...],
    areas: Path | None,
) -> Description:
    """Describe images on Earth that are read in windows.

    Args:
        layout: the files.
        name: name of the data set.
        images: facts of the images.
        proposal: the classes.
        labels: the labels.
        areas: file of areas with the names of splits; None if there is none.

    Raises:
        InputError: the files cannot be used; the error says which, and what to do.
    """
    notes = [*proposal.notes]
    by_folder: dict[Path, list[Path]] = {}
    for path in images.headers:
        by_folder.setdefault(path.parent, []).append(path)
    patterns = tuple(p for own in by_folder.values() for p in file_patterns(own, layout.root))
    has_alpha_band = any(h.has_alpha for h in images.headers.values()) and not images.has_alpha
    boxes = _boxes(layout, images, labels)
    every = Scenes(
        images=patterns,
        labels=labels,
        bands=tuple(range(1, images.bands + 1)) if has_alpha_band else (),
    )
    strips, share = None, 0.7
    splits: dict[str, tuple[Scenes, ...]]
    if areas is not None:
        splits, share = _by_areas(every, layout, areas, notes), 0.7
        counts = dict.fromkeys(splits, len(images.headers))
    elif len(images.headers) >= _FEW:
        chosen = in_blocks(_middles(layout, images))
        held = chosen["val"] + chosen["test"]
        splits = {"train": (replace(every, leave_out=tuple(held)),)}
        splits |= {s: (replace(every, images=tuple(sorted(chosen[s]))),) for s in ("val", "test")}
        counts = {split: len(names) for split, names in chosen.items()}
        notes.append("the splits are whole images, in blocks from one side to the other")
    else:
        require_extra("vectors", "areas of train, val and test")
        from network.datasets.discovery.strips import GAP, strips_of

        strips, share = strips_of(boxes), 0.6
        file = AreaFile(path=Path(AREAS), attribute="split")
        splits = {s: (replace(every, areas=replace(file, only=(s,))),) for s in SPLITS}
        counts = dict.fromkeys(splits, len(images.headers))
        notes.append(
            f"too few images to share them out, so {AREAS} has strips of them from west to east, "
            f"with gaps of {GAP:.0%}: draw better areas there in a GIS if you like"
        )
    if images.orientations:
        notes.append("viewers turn some images by their EXIF orientation; it is not heeded here")
    crop = crop_for(images.smallest)
    window = max(crop, min(_WINDOW, images.smallest // 32 * 32))
    repeat = max(1, round(CROPS_AN_EPOCH / max(1.0, share * images.pixels / window**2)))
    mean, std = normalization(images, list(images.headers))
    notes += odd_values(list(images.headers))
    sizes = Sizes(crop, window, repeat, mean, std, **val_and_test(splits))
    path, header = next(iter(images.headers.items()))
    grid = grid_of(path, header)
    orientation = "stored" if images.orientations else None
    return Description(
        info=dataset_info(name, layout, images, proposal, splits, orientation),
        images=images,
        proposal=proposal,
        sizes=sizes,
        counts=counts,
        resolution=grid.resolution if grid else None,
        strips=strips,
        notes=notes,
    )


def _by_areas(
    every: Scenes, layout: Layout, areas: Path, notes: list[str]
) -> dict[str, tuple[Scenes, ...]]:
    require_extra("vectors", "areas of interest")
    from network.datasets.discovery.polygon_classes import find_areas
    from network.rasters.vectors import list_attributes, list_values

    found = find_areas([areas])
    if found is None:
        known = list_attributes(areas)
        raise InputError(
            areas,
            "no attribute of it has the names of splits: train, val, test",
            f"write them into one; it has {listed(known)}",
        )
    attribute = found[1]
    names = set(list_values(areas, attribute))
    if "train" not in names:
        raise InputError(areas, f"'{attribute}' has no area 'train'", "name one so")
    notes.append(f"{areas} has the areas of the splits, in its attribute '{attribute}'")
    file = AreaFile(path=Path(relative(areas, layout.root)), attribute=attribute)
    return {
        split: (replace(every, areas=replace(file, only=(split,))),)
        for split in SPLITS
        if split in names
    }


def _middles(layout: Layout, images: Images) -> dict[str, tuple[float, float]]:
    """Find the middle of each image, in degrees or, if all have one system, in its units."""
    found = {}
    for path, header in images.headers.items():
        left, bottom, right, top = _box(path, header)
        found[relative(path, layout.root)] = ((left + right) / 2, (bottom + top) / 2)
    return found


def _box(path: Path, header: Header) -> Bounds:
    """Find west, south, east and north of an image in degrees."""
    grid = EarthGrid.of(path, header.place, header.height, header.width)
    return between(grid.crs, _DEGREES, grid.bounds, path)


def _boxes(layout: Layout, images: Images, labels: Sequence[LabelFile]) -> list[Bounds]:
    """Find the boxes of the images in degrees, as far as there are labels.

    Raises:
        InputError: the polygons lie elsewhere.
    """
    found = [_box(path, header) for path, header in images.headers.items()]
    if layout.pairs or layout.rasters:
        return found
    from network.rasters.vectors import bounds_of

    boxes = []
    for file in labels:
        for path in sorted(layout.root.glob(str(file.path))) or [layout.root / file.path]:
            bounds, crs = bounds_of(path, file.layer)
            if np.isfinite(bounds).all():  # it has features
                boxes.append(between(crs, _DEGREES, bounds, path))
    if not boxes:
        return found
    west, south, east, north = zip(*boxes, strict=True)
    limits = min(west), min(south), max(east), max(north)
    cut = [
        (max(a[0], limits[0]), max(a[1], limits[1]), min(a[2], limits[2]), min(a[3], limits[3]))
        for a in found
    ]
    touched = [box for box in cut if box[0] < box[2] and box[1] < box[3]]
    if not touched:
        raise InputError(
            layout.polygons[0],
            "no polygon touches an image",
            "look at both in a GIS, and check their reference systems",
        )
    has_background = any(file.background is not None for file in labels)
    return found if has_background else touched
