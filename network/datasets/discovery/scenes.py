"""The description of images on Earth that are read in windows; labels are polygons or rasters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from network.datasets.discovery.classes import Proposal
from network.datasets.discovery.description import (
    AREAS,
    CROPS_AN_EPOCH,
    Description,
    Sizes,
    box_of,
    crop_for,
    dataset_info,
    grid_of,
    in_degrees,
    val_and_test,
)
from network.datasets.discovery.images import Images, normalization, odd_headers, odd_values
from network.datasets.discovery.layout import Layout, by_name, file_patterns, relative
from network.datasets.discovery.splitting import in_blocks, touch
from network.datasets.on_earth.classes import IGNORE
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.find import found_files
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import SPLITS, DatasetInfo
from network.errors import InputError, listed
from network.extras import require_extra
from network.rasters.earth_grid import Bounds

if TYPE_CHECKING:
    from network.datasets.on_earth.split import Division

_WINDOW = 1024

_FEW = 5
"""Fewer scenes than these are cut into areas; more are shared out as whole images."""


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
    if all(one.source.lstrip("-").isdecimal() for one in proposal.classes):
        values = {one.source: one.name for one in proposal.classes}
        values |= {str(value): IGNORE for value in proposal.ignored}
    return tuple(
        LabelFile(path=Path(pattern), values=values)
        for files in folders
        for pattern in file_patterns(files, root)
    )


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
    by_name(images.headers)  # by which labels are found
    by_folder: dict[Path, list[Path]] = {}
    for path in images.headers:
        by_folder.setdefault(path.parent, []).append(path)
    patterns = tuple(p for own in by_folder.values() for p in file_patterns(own, layout.root))
    has_alpha_band = any(h.has_alpha for h in images.headers.values()) and not images.has_alpha
    _check_place(layout, images, labels)
    every = Scenes(
        images=patterns,
        labels=labels,
        bands=tuple(range(1, images.bands + 1)) if has_alpha_band else (),
    )
    orientation = "stored" if images.orientations else None
    info = dataset_info(name, layout, images, proposal, {"train": (every,)}, orientation)
    division, share = None, 0.7
    splits: dict[str, tuple[Scenes, ...]]
    counts: Mapping[str, int]
    if areas is not None:
        splits = _by_areas(every, layout, areas, notes)
        counts = dict.fromkeys(splits, len(images.headers))
    else:
        whole = _whole_images(layout, images, notes)
        if whole is None:
            division, share, counts = _divided(info, layout.root, every, notes)
            file = AreaFile(path=Path(AREAS), attribute="split")
            splits = {s: (replace(every, areas=replace(file, only=(s,))),) for s in SPLITS}
        else:
            held = whole["val"] + whole["test"]
            splits = {"train": (replace(every, leave_out=tuple(held)),)}
            splits |= {
                s: (replace(every, images=tuple(sorted(whole[s]))),) for s in ("val", "test")
            }
            counts = {split: len(names) for split, names in whole.items()}
    if images.orientations:
        notes.append("viewers turn some images by their EXIF orientation; it is not heeded here")
    crop = crop_for(images.smallest)
    window = max(crop, min(_WINDOW, images.smallest // 32 * 32))
    repeat = max(1, round(CROPS_AN_EPOCH / max(1.0, share * images.pixels / window**2)))
    mean, std = normalization(images, list(images.headers))
    notes += odd_headers(images) + odd_values(list(images.headers))
    sizes = Sizes(crop, window, repeat, mean, std, **val_and_test(splits))
    path, header = next(iter(images.headers.items()))
    grid = grid_of(path, header)
    return Description(
        info=replace(info, splits=splits),
        images=images,
        proposal=proposal,
        sizes=sizes,
        counts=counts,
        resolution=grid.resolution if grid else None,
        division=division,
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


def _whole_images(layout: Layout, images: Images, notes: list[str]) -> dict[str, list[str]] | None:
    """Share out whole images; None if they are too few, or touch, and their ground is divided.

    Touching images may be cut from one, so the borders of their splits would be seen by both.
    """
    boxes = {relative(path, layout.root): box_of(path, h) for path, h in images.headers.items()}
    if len(boxes) < _FEW:
        require_extra("vectors", "areas of train, val and test")
        notes.append("too few images to share them out, so their ground is divided")
        return None
    chosen = in_blocks(
        {image: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for image, box in boxes.items()}
    )
    if touch([[boxes[image] for image in own] for own in chosen.values()]):
        try:
            require_extra("vectors", "areas of train, val and test")
        except InputError as error:
            notes.append(f"images of two splits touch or overlap, and areas are better: {error}")
        else:
            notes.append("some images touch or overlap, so their ground is divided")
            return None
    notes.append("the splits are whole images, in blocks from one side to the other")
    return chosen


def _divided(
    info: DatasetInfo, root: Path, every: Scenes, notes: list[str]
) -> tuple["Division", float, dict[str, int]]:
    """Divide the ground of all images.

    Returns:
        The division, the share of the pixels that are for training, and the number of images that
        each split has ground of.
    """
    from network.datasets.discovery.ground import count_images, divide_ground

    division, side, buffer = divide_ground(info, root, every)
    notes.append(
        f"{AREAS} has areas of the splits: blocks of {side:g} m, at least {buffer:g} m between two "
        "splits (tools/split_scenes.py makes others)"
    )
    pixels = {part.name: part.counts.sum() for part in division.parts}
    lost = sum(part.lost.sum() for part in division.parts)
    share = float(pixels["train"] / (sum(pixels.values()) + lost))
    return division, share, count_images(division)


def _check_place(layout: Layout, images: Images, labels: Sequence[LabelFile]) -> None:
    """Raise an :class:`InputError` if polygons lie elsewhere than the images."""
    if layout.pairs or layout.rasters:
        return
    from network.rasters.vectors import bounds_of

    boxes = []
    for file in labels:
        for path in found_files(layout.root, file.path):
            bounds, crs = bounds_of(path, file.layer)
            if np.isfinite(bounds).all():  # it has features
                boxes.append(in_degrees(crs, bounds, path))
    if boxes:
        west, south, east, north = zip(*boxes, strict=True)
        limits = min(west), min(south), max(east), max(north)
        found = (box_of(path, header) for path, header in images.headers.items())
        if not any(_overlap(box, limits) for box in found):
            raise InputError(
                layout.polygons[0],
                "no polygon touches an image",
                "look at both in a GIS, and check their reference systems",
            )


def _overlap(one: Bounds, other: Bounds) -> bool:
    """Tell whether two boxes of degrees share ground, also if a full turn is between them."""
    is_beside = any(
        one[0] + turn < other[2] and other[0] < one[2] + turn for turn in (-360, 0, 360)
    )
    return is_beside and one[1] < other[3] and other[1] < one[3]
