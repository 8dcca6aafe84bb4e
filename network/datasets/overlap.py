"""Whether two splits of a data set share images, or ground of one image."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from network.datasets.files import list_folder
from network.datasets.on_earth.files import AreaFile
from network.datasets.on_earth.find import find_images
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import DatasetInfo, Folder
from network.errors import InputError
from network.rasters.earth_grid import EarthGrid
from network.rasters.source import Source


def splits_overlap(info: DatasetInfo, root: Path, one: str, other: str) -> bool | None:
    """Tell whether two splits share images, or ground of one image.

    The images of one of the two splits are enough, since the other one says which of them it has.

    Args:
        info: description of the data set.
        root: root folder of the data.
        one: name of a split.
        other: name of the other split.

    Returns:
        None if the areas of the two splits cannot be compared.
    """
    answers = [
        _overlap(root, part, another) for part in info.splits[one] for another in info.splits[other]
    ]
    if True in answers:
        return True
    return None if None in answers else False


def _overlap(root: Path, one: Folder | Scenes, other: Folder | Scenes) -> bool | None:
    if one == other:
        return True
    if isinstance(one, Folder) and isinstance(other, Folder):
        if PurePosixPath(one.images) != PurePosixPath(other.images):
            return False
        return any(one.has(name) and other.has(name) for name in _names(root, one))
    shared = _images(root, one) & _images(root, other)
    return _areas_overlap(root, sorted(shared), _areas(one), _areas(other)) if shared else False


def _names(root: Path, folder: Folder) -> dict[str, str]:
    """List the files of a folder by the names of the images; none if it is not there."""
    try:
        return list_folder(root / folder.images).by_stem
    except InputError:
        return {}


def _images(root: Path, part: Folder | Scenes) -> set[Path]:
    """List the images of a part that are there."""
    if isinstance(part, Scenes):
        return set(find_images(root, part))
    folder = root / part.images
    return {folder / file for name, file in _names(root, part).items() if part.has(name)}


def _areas(part: Folder | Scenes) -> AreaFile | None:
    return part.areas if isinstance(part, Scenes) else None


def _areas_overlap(
    root: Path, images: list[Path], one: AreaFile | None, other: AreaFile | None
) -> bool | None:
    """Tell whether areas share ground of an image; areas of one attribute count as apart."""
    if one is None or other is None:  # the whole image
        return True
    if (one.path, one.layer, one.attribute) == (other.path, other.layer, other.attribute):
        return not one.only or not other.only or bool(set(one.only) & set(other.only))
    try:
        return any(_share_ground(root, image, one, other) for image in images)
    except (InputError, ImportError):
        return None


def _share_ground(root: Path, image: Path, one: AreaFile, other: AreaFile) -> bool:
    from network.datasets.on_earth.plane import Raster, find_plane  # needs the extra "vectors"

    with Source(image) as source:
        raster = Raster(image, EarthGrid.of(image, source.header.place, *source.size))
    plane = find_plane([raster])
    (shared,) = plane.outlines([raster])
    for areas in (one, other):
        shared = shared.intersection(plane.areas(replace(areas, path=root / areas.path)))
    return bool(shared.area > plane.pixel**2)
