"""The scenes of a split: their images, and their labels as rasters."""

import glob
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rasterio.crs import CRS

from network.datasets.caches import cache_folder
from network.datasets.files import stem_of
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.label_raster import (
    LabelPlan,
    LabelRaster,
    check_areas,
    draw_label_raster,
    find_label_raster,
)
from network.datasets.on_earth.open_labels import is_raster
from network.datasets.on_earth.scenes import Scenes
from network.datasets.open_image import open_image
from network.datasets.schema import DatasetInfo
from network.errors import InputError, listed, warn
from network.rasters.earth_grid import Bounds, EarthGrid, between, name_of
from network.rasters.place import METERS_A_DEGREE
from network.rasters.resolution import compare_resolutions
from network.rasters.source import Source, is_remote

CACHE = "label_cache"
"""Folder in the root of a data set with the labels of scenes; it may be deleted at any time. If the
root is read-only, they lie below the user's caches instead."""

_DEGREES = CRS.from_epsg(4326)


@dataclass(frozen=True)
class Scene:
    """An image on Earth, and its labels.

    Attributes:
        image: the image.
        bands: numbers of the bands that are read, from 1 on.
        size: height and width in pixels.
        labels: its labels; None if they are not public.
        resolution: side of a pixel on the ground in meters; None if it is not known.
        grid: its pixels on Earth; None if it does not say where it lies.
    """

    image: Path
    bands: tuple[int, ...]
    size: tuple[int, int]
    labels: LabelRaster | None
    resolution: float | None
    grid: EarthGrid | None = None


@dataclass(frozen=True)
class SceneFiles:
    """The files of scenes, of which nothing has been read yet.

    Attributes:
        images: the images, in the order of the patterns and of names.
        labels: the files of labels, a group for each :class:`LabelFile`.
        areas: the areas that belong to the split; None if these are the whole images.
        names: names of the images of all splits, without endings.
    """

    images: tuple[Path, ...]
    labels: tuple[tuple[LabelFile, ...], ...]
    areas: AreaFile | None
    names: frozenset[str]

    @cached_property
    def labels_by_name(self) -> list[dict[str, list[LabelFile]]]:
        """The files of each group by their names without endings."""
        found: list[dict[str, list[LabelFile]]] = []
        for group in self.labels:
            found.append({})
            for file in group:
                found[-1].setdefault(stem_of(file.path), []).append(file)
        return found

    @cached_property
    def named(self) -> frozenset[str]:
        """The names of images that files of labels have."""
        return self.names.intersection(set().union(*self.labels_by_name))

    @cached_property
    def unnamed(self) -> list[list[LabelFile]]:
        """The files of each group that have the name of no image."""
        named = self.named
        return [
            [file for file in group if stem_of(file.path) not in named] for group in self.labels
        ]


def list_files(info: DatasetInfo, root: Path, scenes: Scenes) -> SceneFiles:
    """List the files of scenes.

    Args:
        info: description of the data set.
        root: root folder of the data.
        scenes: description of the scenes.

    Raises:
        InputError: there are no such files, or the areas cannot be read.
    """
    for pattern in (*scenes.images, *scenes.leave_out):
        _matches(root, pattern)
    images = tuple(find_images(root, scenes))
    if not images:
        raise InputError(root, f"leave_out={scenes.leave_out} leaves out all images")
    areas_of_all = {
        (root / part.areas.path, part.areas.layer)
        for split in info.splits
        for part in info.scenes(split)
        if part.areas is not None
    }
    groups = tuple(
        tuple(
            replace(file, path=path)
            for path in _label_files(root, file)
            # A pattern of labels may match them, too.
            if path == root / file.path or not _are_areas(path, file, areas_of_all)
        )
        for file in scenes.labels
    )
    if scenes.labels and not any(groups):
        raise InputError(
            root / scenes.labels[0].path, "no such file; all files of labels are missing"
        )
    areas = scenes.areas and replace(scenes.areas, path=root / scenes.areas.path)
    if areas is not None:
        check_areas(areas)
    everywhere = {
        one for split in info.splits for part in info.scenes(split) for one in part.images
    }
    known = (path for pattern in everywhere for path in found_files(root, pattern))
    names = frozenset(map(stem_of, (*images, *known)))
    return SceneFiles(images, groups, areas, names)


def _are_areas(path: Path, file: LabelFile, areas: Collection[tuple[Path, str | None]]) -> bool:
    """Tell whether a file is one of areas, and has no polygons with the attribute of labels."""
    if (path, file.layer) not in areas:
        return False
    if file.attribute is None or is_raster(path):
        return True
    from network.rasters.vectors import list_attributes

    return file.attribute not in list_attributes(path, file.layer)


def find_images(root: Path, scenes: Scenes) -> list[Path]:
    """List the images of scenes that are there, in the order of the patterns and of names.

    Args:
        root: root folder of the data.
        scenes: description of the scenes.
    """
    left_out = {image for pattern in scenes.leave_out for image in found_files(root, pattern)}
    found = dict.fromkeys(
        image for pattern in scenes.images for image in found_files(root, pattern)
    )
    return [image for image in found if image not in left_out]


def find_scenes(info: DatasetInfo, root: Path, scenes: Scenes) -> list[Scene]:
    """Find the images of a split on Earth, and draw labels that are not drawn yet.

    Args:
        info: description of the data set.
        root: root folder of the data.
        scenes: description of the scenes.

    Returns:
        The scenes that a label and an area touch, in the order of the patterns and of names.

    Raises:
        InputError: an image or a file of labels is missing, cannot be read or does not fit; no
            label touches any image.
    """
    files = list_files(info, root, scenes)
    images, groups, areas = files.images, files.labels, files.areas
    found, missed = [], []
    for image in images:
        scene = find_scene(image, files, info, root, scenes)
        if scene is None:
            missed.append(image)
        else:
            found.append(scene)
    if not found:
        raise _untouched(images, groups, info, root, scenes)
    if missed and areas is None:
        names = listed(path.name for path in missed)
        warn(f"{len(missed)} of {len(images)} images have no labels, left out: {names}")
    compare_resolutions((scene.resolution, scene.image) for scene in found)
    return found


def find_ground(info: DatasetInfo, root: Path, scenes: Scenes) -> list[Scene]:
    """Find the images of a split on Earth, and the ground that may be used without labels.

    Args:
        info: description of the data set.
        root: root folder of the data.
        scenes: description of the scenes, whose files of labels are not opened.

    Returns:
        The images that an area touches. Their labels are 0 where the image has data and lies in an
        area, and the ignore label elsewhere.

    Raises:
        InputError: an image is missing, cannot be read or does not fit; or none has such ground.
    """
    files = list_files(info, root, replace(scenes, labels=()))
    found = []
    for image in files.images:
        with open_image(image, info, scenes.bands or None) as source:
            plan = LabelPlan(
                image=source,
                info=info,
                labels=[[]],
                backgrounds=[info.classes[0]],
                areas=files.areas,
            )
            ground = _drawn(plan, root)
            if ground is not None and ground.pixels.any():
                grid = plan.grid
                bands, size = tuple(source.bands), source.size
                found.append(Scene(image, bands, size, ground, grid.resolution, grid))
    if found:
        compare_resolutions((scene.resolution, scene.image) for scene in found)
        return found
    if files.areas is not None:
        raise _untouched(files.images, (), info, root, scenes)
    raise InputError(files.images[0], f"none of the {len(files.images)} images has data")


def _drawn(plan: LabelPlan, root: Path) -> LabelRaster | None:
    """Find the labels of a scene in the cache, or draw them."""
    folder = cache_folder(root, CACHE)
    return find_label_raster(plan, folder) or draw_label_raster(plan, folder)


def find_scene(
    image: Path, files: SceneFiles, info: DatasetInfo, root: Path, scenes: Scenes
) -> Scene | None:
    """Open an image, and draw its labels if they are not drawn yet.

    Args:
        image: the image.
        files: the files of the scenes, see :func:`list_files`.
        info: description of the data set.
        root: root folder of the data.
        scenes: description of the scenes.

    Returns:
        The scene; None if no label and no area touches the image.

    Raises:
        InputError: the image or a file of labels cannot be read or does not fit.
    """
    with open_image(image, info, scenes.bands or None) as source:
        labels = None
        if files.labels:
            own = _of_image(image, files)
            if not any(own):
                return None
            plan = LabelPlan(
                image=source,
                info=info,
                labels=own,
                backgrounds=[
                    file.background if group else None  # all files of an optional group may lack
                    for file, group in zip(scenes.labels, files.labels, strict=True)
                ],
                weights=tuple(file.weight for file in scenes.labels),
                areas=files.areas,
                border=scenes.border,
            )
            labels = _drawn(plan, root)
            if labels is None:
                return None
        place = source.header.place
        grid = EarthGrid.of(image, place, *source.size) if place else None
        resolution = grid.resolution if grid else None
        return Scene(image, tuple(source.bands), source.size, labels, resolution, grid)


def _matches(root: Path, pattern: str | Path) -> list[Path]:
    """List the files of a pattern, in name order."""
    if is_remote(str(pattern)):
        raise InputError(
            str(pattern),
            "is in an archive or on a server",
            "name it by a small file (gdal_translate -of VRT)",
        )
    found = found_files(root, pattern)
    if not found:
        is_pattern = any(letter in str(pattern) for letter in "*?[")
        raise InputError(root / pattern, "matches no file" if is_pattern else "no such file")
    return found


def found_files(root: Path, pattern: str | Path) -> list[Path]:
    """List the files of a path or pattern that are there, in name order.

    Args:
        root: root folder of the data.
        pattern: path or pattern below it.
    """
    path = root / pattern
    if path.exists():
        return [path]
    # The pattern alone, since the path of the data may have brackets too.
    found = sorted(root / one for one in glob.glob(str(pattern), root_dir=root, recursive=True))
    return [one for one in found if one.parent != root / CACHE]  # for patterns such as **/*.tif


def _label_files(root: Path, file: LabelFile) -> list[Path]:
    """List the files of a description of labels; none if it is optional and nothing is there."""
    try:
        return _matches(root, file.path)
    except InputError:
        if file.optional and not is_remote(str(file.path)):
            return []
        raise


def _of_image(image: Path, files: SceneFiles) -> list[list[LabelFile]]:
    """Choose the files of labels of an image in each group.

    A file with the name of the image is taken alone. Files with the name of another image are not
    taken, since images of two dates may show the same ground. But if only one image has such files,
    they may have the labels of all images.
    """
    name = stem_of(image)
    if len(files.named) == 1 and name not in files.named:
        return [list(group) for group in files.labels]
    chosen = []
    for group, by_name, unnamed in zip(
        files.labels, files.labels_by_name, files.unnamed, strict=True
    ):
        same = by_name.get(name, [])
        if len(same) > 1:  # in several folders, so all count in their order
            chosen.append([file for file in group if file in same or file in unnamed])
        else:
            chosen.append(same or unnamed)
    return chosen


# Errors -----------------------------------------------------------------------------------------


def _untouched(
    images: Sequence[Path],
    groups: Sequence[Sequence[LabelFile]],
    info: DatasetInfo,
    root: Path,
    scenes: Scenes,
) -> InputError:
    """Make the error for labels or areas that touch no image; it says how far away they are."""
    if scenes.areas is not None:
        from network.rasters.vectors import bounds_of

        path = root / scenes.areas.path
        apart = [(path, *bounds_of(path, scenes.areas.layer))]
        kind = "areas and labels" if groups else "areas"
    else:
        files = [file for group in groups for file in group]
        apart, kind = [(file.path, *_bounds(file)) for file in files], "labels"
    best: tuple[float, str] | None = None
    for image in images:
        with open_image(image, info, scenes.bands or None) as source:
            grid = EarthGrid.of(image, source.header.place, *source.size)
        for path, bounds, crs in apart:
            far = _distance(path, grid, bounds, crs)
            if far is not None and (best is None or far < best[0]):
                text = f"in {name_of(crs)}, the nearest image {image.name} in {name_of(grid.crs)}"
                best = far, f"{path.name} is {_length(far)} away ({text})"
    problem = f"no {kind} touch any of its {len(images)} images"
    where = apart[0][0]
    return InputError(
        where,
        f"{problem}; {best[1]}" if best else problem,
        "look at both in a GIS, and check their reference systems",
    )


def _bounds(file: LabelFile) -> tuple[Bounds, CRS]:
    if is_raster(file.path):
        with Source(file.path) as source:
            grid = EarthGrid.of(file.path, source.header.place, *source.size)
        return grid.bounds, grid.crs
    from network.rasters.vectors import bounds_of

    return bounds_of(file.path, file.layer)


def _distance(path: Path, grid: EarthGrid, bounds: Bounds, crs: CRS) -> float | None:
    """Compute how far apart two boxes are on Earth, in meters; None if that is not known."""
    try:
        one = between(grid.crs, _DEGREES, grid.bounds, path)
        other = between(crs, _DEGREES, bounds, path)
    except InputError:
        return None
    if not all(map(math.isfinite, (*one, *other))):
        return None
    across = max(0.0, one[0] - other[2], other[0] - one[2])
    up = max(0.0, one[1] - other[3], other[1] - one[3])
    latitude = math.radians((one[1] + one[3]) / 2)
    return METERS_A_DEGREE * math.hypot(across * math.cos(latitude), up)


def _length(meters: float) -> str:
    return f"{meters / 1000:,.0f} km" if meters >= 10_000 else f"{meters:.0f} m"
