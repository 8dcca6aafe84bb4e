"""The description of a data set by the files that were found: folders, or scenes on Earth."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from network.cluster import Workers
from network.datasets.discovery.classes import Proposal
from network.datasets.discovery.description import Description, grid_of
from network.datasets.discovery.folders import (
    describe_folders,
    images_of,
    masks_of,
)
from network.datasets.discovery.images import describe_images, header_of_image
from network.datasets.discovery.layout import Layout
from network.datasets.discovery.legends import find_legend
from network.datasets.discovery.mask_classes import class_counts, count_values, propose_classes
from network.datasets.discovery.scenes import describe_scenes, label_rasters
from network.datasets.files import IMAGE_SUFFIXES, list_images, stem_of
from network.errors import InputError, listed
from network.extras import require_extra
from network.rasters.earth_grid import EarthGrid

_LARGE = 2**24
"""An image with more pixels is read in windows if it lies on Earth."""

_PAIRS = 3
"""Fewer images with masks than these are cut into areas if they lie on Earth."""


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
    if attribute and (layout.pairs or layout.rasters):
        raise InputError(f"attribute={attribute}", "the labels are masks, which have no attributes")
    if layout.rasters:
        return _of_rasters(layout, name, areas, workers)
    if not layout.pairs:
        return _of_polygons(layout, name, areas, attribute)
    used = [path for pair in layout.pairs for path in images_of(layout, pair)]
    images = describe_images(used)
    masks = masks_of(layout)
    is_on_earth = all(grid_of(path, header) for path, header in images.headers.items())
    is_large = max(header.height * header.width for header in images.headers.values()) > _LARGE
    if is_on_earth and not areas and layout.polygons and not layout.splits:
        areas = _found_areas(layout.polygons)
    files = (*used, *masks.values())
    is_windowed = any(path.suffix.lower() not in IMAGE_SUFFIXES for path in files)
    wants_windows = is_large or is_windowed or len(used) < _PAIRS or areas is not None
    values = count_values(list(masks.values()), workers)
    folders = [folder for pair in layout.pairs for folder in (pair.masks, pair.masks.parent)]
    legend = find_legend([layout.root, *folders], list(masks.values())[:3])
    proposal = propose_classes(values, legend)
    _note_unused(layout, areas, proposal)
    can_be_areas = is_on_earth and _is_plain(proposal) and not layout.splits
    if can_be_areas and wants_windows and _are_on_earth(masks.values()):
        labels = label_rasters((pair.files for pair in layout.pairs), layout.root, proposal)
        return describe_scenes(layout, name, images, proposal, labels, areas)
    if areas is not None:
        raise InputError(
            f"areas={areas}",
            "areas need images and masks that lie on Earth, in folders that name no splits, and "
            "masks of values or of a few colors",
        )
    for pair in layout.pairs:
        list_images(pair.images)
        for path in pair.files:
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                raise InputError(
                    path,
                    f"masks in folders end in {listed(IMAGE_SUFFIXES)}",
                    "convert it (gdal_translate), or give images and masks that lie on Earth",
                )
    counts = dict(zip(masks, class_counts(values, proposal), strict=True))
    return describe_folders(layout, name, images, proposal, counts)


def _are_on_earth(masks: Iterable[Path]) -> bool:
    """Tell whether all masks say where they lie; many are plain PNG files beside GeoTIFFs."""
    return all(grid_of(mask, header_of_image(mask)) for mask in masks)


def _is_plain(proposal: Proposal) -> bool:
    """Tell whether masks can be rasters of labels on Earth.

    These have values, or the very colors of the classes.
    """
    return not {"tolerance", "color_tables"} & proposal.coding.keys()


def _note_unused(layout: Layout, areas: Path | None, proposal: Proposal) -> None:
    """Note the polygons that lie beside masks and are not used."""
    unused = [path for path in layout.polygons if areas is None or not path.samefile(areas)]
    if unused:
        proposal.notes.append(
            f"the masks are the labels; polygons are not used: {listed(map(str, unused))} "
            "(labels=PATH takes them instead)"
        )


def _found_areas(files: Sequence[Path]) -> Path | None:
    """Find a file of areas with the names of splits among files of polygons."""
    require_extra("vectors", "polygons")
    from network.datasets.discovery.polygon_classes import find_areas

    found = find_areas(files)
    return found[0] if found else None


def _of_rasters(layout: Layout, name: str, areas: Path | None, workers: Workers) -> Description:
    """Describe images and rasters of labels that belong together by their places on Earth."""
    images = describe_images([path for files in layout.images.values() for path in files])
    if areas is None and layout.polygons:
        areas = _found_areas(layout.polygons)
    folders: dict[Path, list[Path]] = {}
    for path in layout.rasters:
        folders.setdefault(path.parent, []).append(path)
    legend = find_legend([layout.root, *folders], layout.rasters[:3])
    proposal = propose_classes(count_values(layout.rasters, workers), legend)
    if not _is_plain(proposal):
        raise InputError(
            layout.rasters[0],
            "its colors are not exactly those of classes",
            "store labels as values, in a file without lossy compression or a color table",
        )
    _note_unused(layout, areas, proposal)
    proposal.notes.append(
        "no raster of labels has the name of an image, so they belong together by their places on "
        "Earth"
    )
    labels = label_rasters(folders.values(), layout.root, proposal)
    return describe_scenes(layout, name, images, proposal, labels, areas)


def _of_polygons(
    layout: Layout, name: str, areas: Path | None, attribute: str | None
) -> Description:
    require_extra("vectors", "polygons")
    from network.datasets.discovery import polygon_classes

    paths = [path for files in layout.images.values() for path in files]
    images = describe_images(paths)
    ground = polygon_classes.ground_of(
        EarthGrid.of(path, header.place, header.height, header.width)
        for path, header in images.headers.items()
    )
    files = list(layout.polygons)
    if areas is None and len(files) > 1:
        areas = _found_areas(files)
    files = [path for path in files if areas is None or not path.samefile(areas)]
    stems = {stem_of(path) for path in paths}
    layers = polygon_classes.find_layers(layout.root, files, stems)
    proposal, found = polygon_classes.propose_from_polygons(layers, attribute, ground)
    lacking = stems - {stem_of(path) for path in files}
    if lacking and all(len(layer.paths) > 1 for layer in layers):
        proposal.notes.append(f"images without a file of labels are left out: {listed(lacking)}")
    labels = tuple(file for one in found for file in one.files)
    return describe_scenes(layout, name, images, proposal, labels, areas)
