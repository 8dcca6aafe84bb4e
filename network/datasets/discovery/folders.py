"""The description of folders of images and masks: which images are in which split."""

import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from network.datasets.discovery.classes import Proposal
from network.datasets.discovery.description import (
    CROPS_AN_EPOCH,
    Description,
    Sizes,
    box_of,
    crop_for,
    dataset_info,
    grid_of,
    val_and_test,
)
from network.datasets.discovery.images import Images, normalization, odd_headers, odd_values
from network.datasets.discovery.layout import Layout, Pair, relative
from network.datasets.discovery.splitting import draw_splits, parents_of, tile_pattern, touch
from network.datasets.files import stem_of
from network.datasets.schema import SPLITS, Folder, MaskFolder
from network.errors import InputError, listed
from network.rasters.header import read_header


def describe_folders(
    layout: Layout,
    name: str,
    images: Images,
    proposal: Proposal,
    counts: Mapping[tuple[int, str], np.ndarray],
) -> Description:
    """Describe folders of images and masks.

    Args:
        layout: the files.
        name: name of the data set.
        images: facts of the images.
        proposal: the classes.
        counts: pixels of each class (k,) in each mask, by the number of its pair of folders and its
            name.
    """
    notes = [*proposal.notes]
    chosen = _split_names(layout, counts, notes)
    _note_neighbors(layout, images, chosen, notes)
    prefixes = _prefixes(layout)
    splits: dict[str, tuple[Folder, ...]] = {}
    for split in chosen:
        found = [
            _folder(layout, number, split, chosen, prefixes[number])
            for number in range(len(layout.pairs))
        ]
        splits[split] = tuple(folder for folder in found if folder)
    left_out = [name for pair in layout.pairs for name in pair.left_out]
    if left_out and not all(pair.is_chosen for pair in layout.pairs):
        notes.append(
            f"{len(left_out)} files are left out, images without mask or masks without image: "
            f"{listed(left_out)}"
        )
    if layout.alone:
        shown = listed(str(folder) for folder in layout.alone)
        notes.append(f"folders of images without masks are not used: {shown}")
    train = [images.headers[path] for path in _files_of(layout, chosen["train"])]
    pixels = sum(header.height * header.width for header in train)
    crop = crop_for(images.smallest)
    repeat = max(1, round(max(CROPS_AN_EPOCH, pixels / crop**2) / len(train)))
    mean, std = normalization(images, _files_of(layout, chosen["train"]))
    notes += odd_headers(images) + odd_values(list(images.headers))
    sizes = Sizes(crop, None, repeat, mean, std, **val_and_test(chosen))
    orientation = _orientation(layout, images, notes) if images.orientations else None
    grids = [grid_of(path, header) for path, header in images.headers.items()]
    resolution = grids[0].resolution if grids[0] else None
    return Description(
        info=dataset_info(
            name,
            layout,
            images,
            proposal,
            splits,
            orientation,
            _patch_names(layout, chosen, prefixes),
        ),
        images=images,
        proposal=proposal,
        sizes=sizes,
        counts={split: len(keys) for split, keys in chosen.items()},
        resolution=resolution,
        notes=notes,
    )


def _note_neighbors(
    layout: Layout, images: Images, chosen: Mapping[str, "Keys"], notes: list[str]
) -> None:
    """Note that images of two drawn splits lie side by side on Earth."""
    if {"train", "val"} <= layout.splits:
        return
    try:
        boxes = [
            [box_of(path, images.headers[path]) for path in _files_of(layout, keys)]
            for keys in chosen.values()
        ]
    except InputError:  # some do not lie on Earth, or nobody knows where
        return
    if touch(boxes):
        notes.append(
            "images of two splits touch or overlap on Earth, so scores may be too good: folders "
            "train, val and test, with ground between their images, are better"
        )


def _patch_names(layout: Layout, chosen: Mapping[str, "Keys"], prefixes: Sequence[str]) -> str:
    """Find out which part of the images' names is that of the larger image that they are cut from.

    So the intervals of the scores come from whole larger images, as the splits do. If parts of one
    image were in two splits, the names mean something else.
    """
    names = {
        split: [prefixes[number] + name for number, name in keys] for split, keys in chosen.items()
    }
    pattern = tile_pattern([name for own in names.values() for name in own])
    folders = {re.sub("[0-9]+", "[0-9]+", re.escape(prefix[:-1])) for prefix in prefixes}
    if not layout.splits and all(prefixes) and len(prefixes) >= len(SPLITS):
        pattern = f"(?P<tile>{'|'.join(sorted(folders))})_.+"
    tiles = [set(parents_of(own, pattern)) for own in names.values()]
    is_apart = sum(map(len, tiles)) == len(set().union(*tiles))
    return pattern if is_apart else ""


Keys = list[tuple[int, str]]
"""Images, by the number of their pair of folders and their name."""


def _split_names(
    layout: Layout, counts: Mapping[tuple[int, str], np.ndarray], notes: list[str]
) -> dict[str, Keys]:
    """Share out the images among the splits."""
    found: dict[str, Keys] = {}
    for number, pair in enumerate(layout.pairs):
        if pair.split:
            found.setdefault(pair.split, []).extend((number, name) for name in pair.names)
    if "train" in found and "val" in found:
        other = [str(pair.images) for pair in layout.pairs if not pair.split]
        if other:
            notes.append(f"folders whose names tell no split are not used: {listed(other)}")
        return {split: found[split] for split in SPLITS if split in found}
    if "train" in found:
        drawn = _draw(layout, {key: counts[key] for key in found["train"]}, SPLITS[:2], notes)
        return {**drawn, "test": found["test"]} if "test" in found else drawn
    return _draw(layout, counts, SPLITS, notes)


def _draw(
    layout: Layout,
    counts: Mapping[tuple[int, str], np.ndarray],
    splits: Sequence[str],
    notes: list[str],
) -> dict[str, Keys]:
    """Draw splits of whole tiles, whole parents or single images."""
    pairs = sorted({number for number, _ in counts})
    units: dict[str, Keys] = {}
    if len(pairs) >= len(splits):
        kind = "folders"
        for number, name in counts:
            units.setdefault(str(number), []).append((number, name))
    else:
        for number in pairs:
            names = [name for own, name in counts if own == number]
            for parent, own_names in parents_of(names).items():
                units[f"{number} {parent}"] = [(number, name) for name in own_names]
        kind = "images" if len(units) == len(counts) else "parents (names up to their number)"
    drawn = draw_splits(
        {u: np.sum([counts[k] for k in keys], 0) for u, keys in units.items()}, splits
    )
    text = ", ".join(f"{split} {len(names)}" for split, names in drawn.items())
    notes.append(
        f"no folder names the splits, so they were drawn, by whole {kind}: {text}"
        if splits == SPLITS
        else f"there is no folder for val, so it was drawn from train, by whole {kind}: {text}"
    )
    if len(drawn) < len(splits):
        notes.append(
            f"there are only {len(units)} {kind}: too few for train, val and test, so scores say "
            "little"
        )
    return {split: [key for unit in names for key in units[unit]] for split, names in drawn.items()}


def _files_of(layout: Layout, keys: Keys) -> list[Path]:
    by_key = {
        (number, stem_of(path)): path
        for number, pair in enumerate(layout.pairs)
        for path in layout.images[pair.images]
    }
    return [by_key[key] for key in keys]


def _folder(
    layout: Layout, number: int, split: str, chosen: Mapping[str, Keys], prefix: str
) -> Folder | None:
    """Describe the images of a pair of folders that are in a split; None if none are."""
    pair = layout.pairs[number]
    own = {s: [name for n, name in keys if n == number] for s, keys in chosen.items()}
    names = own.pop(split)
    if not names:
        return None
    others = {s: _patterns(own_names, pair) for s, own_names in own.items() if own_names}
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    unpaired = () if pair.is_chosen else tuple(map(glob.escape, pair.left_out))
    if split != "train" and others:
        only = _patterns(names, pair)
    elif pair.is_chosen:
        only = tuple(map(glob.escape, names))
    else:
        leave_out = tuple(name for patterns in others.values() for name in patterns) + unpaired
    return Folder(
        images=relative(pair.images, layout.root),
        masks=(MaskFolder(folder=relative(pair.masks, layout.root)),),
        only=only,
        leave_out=leave_out,
        prefix=prefix,
    )


def _patterns(names: Sequence[str], pair: Pair) -> tuple[str, ...]:
    """Name images by patterns of their parents where these match no other image."""
    rest, found = list(names), []
    for parent, own in parents_of(pair.names).items():
        if len(own) < 2 or not set(own) <= set(rest):
            continue
        pattern = f"{glob.escape(parent)}{own[0][len(parent)]}*"
        folder = Folder(images="", only=(pattern,))
        if {name for name in (*pair.names, *pair.left_out) if folder.has(name)} == set(own):
            found.append(pattern)
            rest = [name for name in rest if name not in own]
    return (*found, *map(glob.escape, rest))


def _prefixes(layout: Layout) -> list[str]:
    """Find prefixes for folders whose images have the same names; empty where none is needed."""
    names: dict[str, int] = {}
    for pair in layout.pairs:
        for name in pair.names:
            names[name] = names.get(name, 0) + 1
    # Images of two splits may have the same names.
    if max(names.values()) == 1 or len(layout.splits) == len(layout.pairs):
        return [""] * len(layout.pairs)
    parts = [relative(pair.images, layout.root).split("/") for pair in layout.pairs]
    common = set(parts[0]).intersection(*parts)
    return [
        "_".join(re.sub(r"\W+", "_", part) for part in own if part not in common) + "_"
        for own in parts
    ]


def _orientation(layout: Layout, images: Images, notes: list[str]) -> str:
    """Find out whether masks fit the images as they are stored, or as viewers turn them."""
    masks = masks_of(layout)
    for number, pair in enumerate(layout.pairs):
        for path in images_of(layout, pair):
            header = images.headers[path]
            if header.orientation <= 4 or header.height == header.width:
                continue
            mask = read_header(masks[number, stem_of(path)])
            if (mask.height, mask.width) == (header.width, header.height):
                notes.append("viewers turn some images, and the sizes of masks fit the turned ones")
                return "shown"
            if mask.orientation == 1:
                notes.append("viewers turn some images, but the masks fit the stored pixels")
                return "stored"
    notes.append(
        "viewers turn some images by their EXIF orientation, and the sizes do not tell whether "
        "the masks fit the turned ones: look at tools/check_data.py --html"
    )
    return "shown"


def images_of(layout: Layout, pair: Pair) -> list[Path]:
    """List the images of a pair of folders that have a mask."""
    names = set(pair.names)
    return [path for path in layout.images[pair.images] if stem_of(path) in names]


def masks_of(layout: Layout) -> dict[tuple[int, str], Path]:
    """List the masks that have an image, by the number of the pair and the name."""
    found: dict[tuple[int, str], Path] = {}
    for number, pair in enumerate(layout.pairs):
        found |= {(number, stem_of(path)): path for path in pair.files}
    return found
