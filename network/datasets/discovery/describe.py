"""The description of a data set that was found: classes, splits, bands, and settings that fit."""

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rasterio.crs import CRS

from network.cluster import Workers
from network.datasets.discovery.classes import Proposal
from network.datasets.discovery.images import (
    Images,
    describe_images,
    measure,
    odd_values,
    rounded,
)
from network.datasets.discovery.layout import Layout, Pair, relative
from network.datasets.discovery.legends import find_legend
from network.datasets.discovery.mask_classes import (
    class_counts,
    coding_of,
    count_values,
    propose_classes,
)
from network.datasets.discovery.splitting import draw_splits, in_blocks, parents_of
from network.datasets.files import IMAGE_SUFFIXES, list_images
from network.datasets.on_earth.classes import IGNORE
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import SPLITS, DatasetInfo, Folder, MaskFolder
from network.errors import InputError, listed
from network.extras import require_extra
from network.rasters.earth_grid import Bounds, EarthGrid, between
from network.rasters.header import Header, read_header

if TYPE_CHECKING:
    import geopandas

IGNORE_INDEX = 255
AREAS = "areas.geojson"
"""Name of the file of areas that is written beside the config."""

_CROPS = (512, 384, 256, 192, 128, 96, 64, 32)
_WINDOW = 1024
_EPOCH = 400
"""Number of training crops in an epoch, at least."""

_LARGE = 2**24
"""An image with more pixels is read in windows if it lies on Earth."""

_FEW = 5
"""Fewer scenes than these are cut into areas; more are shared out as whole images."""

_PAIRS = 3
"""Fewer images with masks than these are cut into areas if they lie on Earth."""

_DEGREES = CRS.from_epsg(4326)


@dataclass(frozen=True)
class Sizes:
    """Settings that fit the images.

    Attributes:
        crop: side of the training crops in pixels.
        window: side of the windows of scenes in pixels; None if the images are no scenes.
        repeat: passes over the training images in an epoch.
        mean: mean of each band, in the units of :class:`network.settings.Data`; None for three
            bands of 8 bits, which take that of the pretrained encoder.
        std: standard deviation of each band, in these units; None as for ``mean``.
        val: the split that chooses the model; None if there are too few images.
        test: the split to test on.
    """

    crop: int
    window: int | None
    repeat: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    val: str | None = "val"
    test: str = "test"


@dataclass(frozen=True)
class Description:
    """All that a config says about a data set.

    Attributes:
        info: the data set.
        images: facts of the images.
        proposal: the classes and where they come from.
        sizes: settings that fit.
        counts: number of images in each split.
        resolution: side of a pixel on the ground in meters; None if it is not known.
        strips: areas that are written beside the config; None if none are needed.
        notes: what the user should know, a sentence each.
    """

    info: DatasetInfo
    images: Images
    proposal: Proposal
    sizes: Sizes
    counts: Mapping[str, int]
    resolution: float | None = None
    strips: "geopandas.GeoDataFrame | None" = None
    notes: list[str] = field(default_factory=list)


def describe(
    layout: Layout,
    name: str,
    *,
    areas: Path | None = None,
    attribute: str | None = None,
    workers: Workers = 1,
) -> Description:
    """Describe a data set by its files.

    Args:
        layout: the files.
        name: name of the data set.
        areas: file of areas on the ground with the names of splits; by default one is searched.
        attribute: attribute of the polygons that has the class; by default it is chosen.
        workers: number of processes, or a cluster.

    Raises:
        InputError: the files cannot be used; the error says which, and what to do.
    """
    if layout.pairs and attribute:
        raise InputError(f"attribute={attribute}", "the labels are masks, which have no attributes")
    if not layout.pairs:
        return _of_polygons(layout, name, areas, attribute)
    used = [path for pair in layout.pairs for path in _images_of(layout, pair)]
    images = describe_images(used)
    masks = _masks_of(layout)
    is_on_earth = all(_grid(path, header) for path, header in images.headers.items())
    is_large = max(header.height * header.width for header in images.headers.values()) > _LARGE
    if is_on_earth and not areas and layout.polygons and not layout.splits:
        areas = _found_areas(layout.polygons)
    is_windowed = any(path.suffix.lower() not in IMAGE_SUFFIXES for path in used)
    wants_windows = is_large or is_windowed or len(used) < _PAIRS or areas is not None
    values = count_values(list(masks.values()), workers)
    folders = [folder for pair in layout.pairs for folder in (pair.masks, pair.masks.parent)]
    legend = find_legend([layout.root, *folders], list(masks.values())[:3])
    proposal = propose_classes(values, legend)
    unused = [path for path in layout.polygons if areas is None or not path.samefile(areas)]
    if unused:
        proposal.notes.append(
            f"the masks are the labels; polygons are not used: {listed(map(str, unused))} "
            "(labels=PATH takes them instead)"
        )
    # Rasters of labels on Earth have values, or the very colors of the classes.
    is_plain = not {"tolerance", "color_tables"} & proposal.coding.keys()
    if is_on_earth and is_plain and wants_windows and not layout.splits:
        labels = _label_rasters(layout, proposal)
        return _scenes(layout, name, images, proposal, labels, areas)
    if areas is not None:
        raise InputError(
            f"areas={areas}",
            "areas need images that lie on Earth, in folders that name no splits, and masks of "
            "values or of a few colors",
        )
    for pair in layout.pairs:
        list_images(pair.images)
    counts = dict(zip(masks, class_counts(values, proposal), strict=True))
    return _folders(layout, name, images, proposal, counts)


def _found_areas(files: Sequence[Path]) -> Path | None:
    """Find a file of areas with the names of splits among files of polygons."""
    require_extra("vectors", "polygons")
    from network.datasets.discovery.polygon_classes import find_areas

    found = find_areas(files)
    return found[0] if found else None


def _images_of(layout: Layout, pair: Pair) -> list[Path]:
    names = set(pair.names)
    return [path for path in layout.images[pair.images] if path.stem in names]


def _masks_of(layout: Layout) -> dict[tuple[int, str], Path]:
    """List the masks that have an image, by the number of the pair and the name."""
    found: dict[tuple[int, str], Path] = {}
    for number, pair in enumerate(layout.pairs):
        found |= {(number, path.stem): path for path in _mask_files(pair)}
    return found


def _mask_files(pair: Pair) -> list[Path]:
    """List the masks of a pair of folders that have an image, in the order of the images."""
    files = list_images(pair.masks)
    return [files[name] for name in pair.names]


def _grid(path: Path, header: Header) -> EarthGrid | None:
    """Make the grid of an image; None if it does not lie on Earth."""
    try:
        return EarthGrid.of(path, header.place, header.height, header.width)
    except InputError:
        return None


def _info(
    name: str,
    layout: Layout,
    images: Images,
    proposal: Proposal,
    splits: Mapping[str, tuple],
    orientation: str | None = None,
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        root=layout.root.as_posix(),
        classes=tuple(one.name for one in proposal.classes),
        palette=tuple(one.color for one in proposal.classes),
        ignore_index=IGNORE_INDEX,
        splits=splits,
        mask_coding=coding_of(proposal),
        bands=images.bands,
        bits=images.bits,
        values=images.values,
        exif_orientation=orientation,
    )


# Folders ----------------------------------------------------------------------------------------


def _folders(
    layout: Layout,
    name: str,
    images: Images,
    proposal: Proposal,
    counts: Mapping[tuple[int, str], np.ndarray],
) -> Description:
    notes = [*proposal.notes]
    chosen = _split_names(layout, counts, notes)
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
    crop = _crop(images.smallest)
    repeat = max(1, round(max(_EPOCH, pixels / crop**2) / len(train)))
    mean, std = _normalization(images, _files_of(layout, chosen["train"]))
    notes += odd_values(list(images.headers))
    sizes = Sizes(crop, None, repeat, mean, std, **_val_and_test(chosen))
    orientation = _orientation(layout, images, notes) if images.orientations else None
    grids = [_grid(path, header) for path, header in images.headers.items()]
    resolution = grids[0].resolution if grids[0] else None
    return Description(
        info=_info(name, layout, images, proposal, splits, orientation),
        images=images,
        proposal=proposal,
        sizes=sizes,
        counts={split: len(keys) for split, keys in chosen.items()},
        resolution=resolution,
        notes=notes,
    )


def _normalization(
    images: Images, paths: Sequence[Path]
) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Measure mean and deviation of each band, unless the pretrained encoder brings its own.

    Its weights were trained on 8-bit RGB with these, so for such images they expect nothing else.

    Raises:
        InputError: a band has one value everywhere.
    """
    bands = measure(paths, images.bands)
    if (images.bands, images.bits, images.values) == (3, 8, "unsigned"):
        return None, None
    mean, std = rounded(bands, not images.is_measured, images.bits)
    return mean, std


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


def _val_and_test(splits: Mapping[str, object]) -> dict:
    """Choose the splits for the model and for the test among those that there are."""
    val = "val" if "val" in splits else None
    return {"val": val, "test": "test" if "test" in splits else val or "train"}


def _files_of(layout: Layout, keys: Keys) -> list[Path]:
    by_key = {
        (number, path.stem): path
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


def _crop(smallest: int) -> int:
    return next((crop for crop in _CROPS if crop <= smallest), _CROPS[-1])


def _orientation(layout: Layout, images: Images, notes: list[str]) -> str:
    """Find out whether masks fit the images as they are stored, or as viewers turn them."""
    masks = _masks_of(layout)
    for number, pair in enumerate(layout.pairs):
        for path in _images_of(layout, pair):
            header = images.headers[path]
            if header.orientation <= 4 or header.height == header.width:
                continue
            mask = read_header(masks[number, path.stem])
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


# Scenes -----------------------------------------------------------------------------------------


def _of_polygons(
    layout: Layout, name: str, areas: Path | None, attribute: str | None
) -> Description:
    require_extra("vectors", "polygons")
    from network.datasets.discovery import polygon_classes

    paths = [path for files in layout.images.values() for path in files]
    images = describe_images(paths)
    for path, header in images.headers.items():
        EarthGrid.of(path, header.place, header.height, header.width)
    files = list(layout.polygons)
    if areas is None and len(files) > 1:
        areas = _found_areas(files)
    files = [path for path in files if areas is None or not path.samefile(areas)]
    stems = {path.stem for path in paths}
    layers = polygon_classes.find_layers(layout.root, files, stems)
    proposal, found = polygon_classes.propose_from_polygons(layers, attribute, _ground(images))
    labels = tuple(LabelFile(path=Path(one.layer.pattern), **one.options) for one in found)
    return _scenes(layout, name, images, proposal, labels, areas)


def _ground(images: Images) -> float | None:
    """Compute the area of all images in square meters; None if it is not known."""
    area = 0.0
    for path, header in images.headers.items():
        grid = _grid(path, header)
        if grid is None or grid.resolution is None:
            return None
        area += grid.height * grid.width * grid.resolution**2
    return area


def _label_rasters(layout: Layout, proposal: Proposal) -> tuple[LabelFile, ...]:
    """Describe masks as rasters of labels on Earth."""
    values = {}
    if all(one.source.lstrip("-").isdigit() for one in proposal.classes):
        values = {one.source: one.name for one in proposal.classes}
        values |= {str(value): IGNORE for value in proposal.ignored}
    return tuple(
        LabelFile(path=Path(pattern), values=values)
        for pair in layout.pairs
        for pattern in file_patterns(_mask_files(pair), layout.root)
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


def _scenes(
    layout: Layout,
    name: str,
    images: Images,
    proposal: Proposal,
    labels: tuple[LabelFile, ...],
    areas: Path | None,
) -> Description:
    """Describe images on Earth that are read in windows."""
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
    crop = _crop(images.smallest)
    window = max(crop, min(_WINDOW, images.smallest // 32 * 32))
    repeat = max(1, round(_EPOCH / max(1.0, share * images.pixels / window**2)))
    mean, std = _normalization(images, list(images.headers))
    notes += odd_values(list(images.headers))
    sizes = Sizes(crop, window, repeat, mean, std, **_val_and_test(splits))
    path, header = next(iter(images.headers.items()))
    grid = _grid(path, header)
    orientation = "stored" if images.orientations else None
    return Description(
        info=_info(name, layout, images, proposal, splits, orientation),
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
    if layout.pairs:
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
