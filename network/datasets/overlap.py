"""Whether two splits of a data set share images, or ground of one image."""

from pathlib import Path, PurePosixPath

from network.datasets.files import list_folder
from network.datasets.on_earth.files import AreaFile
from network.datasets.on_earth.find import list_files
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import DatasetInfo, Folder
from network.errors import InputError


def splits_overlap(info: DatasetInfo, root: Path, one: str, other: str) -> bool | None:
    """Tell whether two splits share images, or ground of one image.

    Args:
        info: description of the data set.
        root: root folder of the data.
        one: name of a split.
        other: name of the other split.

    Returns:
        None if that is not known: the images are not there, or their areas are in two files.
    """
    answers = [
        _overlap(info, root, part, another)
        for part in info.splits[one]
        for another in info.splits[other]
    ]
    if True in answers:
        return True
    return None if None in answers else False


def _overlap(
    info: DatasetInfo, root: Path, one: Folder | Scenes, other: Folder | Scenes
) -> bool | None:
    if one == other:
        return True
    if isinstance(one, Folder) and isinstance(other, Folder):
        if PurePosixPath(one.images) != PurePosixPath(other.images):
            return False
        try:
            names = list_folder(root / one.images).by_stem
        except InputError:
            return None
        return any(one.has(name) and other.has(name) for name in names)
    try:
        shared = _images(info, root, one) & _images(info, root, other)
    except InputError:
        return None
    return _areas_overlap(_areas(one), _areas(other)) if shared else False


def _images(info: DatasetInfo, root: Path, part: Folder | Scenes) -> set[Path]:
    if isinstance(part, Scenes):
        return set(list_files(info, root, part).images)
    found = list_folder(root / part.images).by_stem
    return {root / part.images / file for name, file in found.items() if part.has(name)}


def _areas(part: Folder | Scenes) -> AreaFile | None:
    return part.areas if isinstance(part, Scenes) else None


def _areas_overlap(one: AreaFile | None, other: AreaFile | None) -> bool | None:
    """Tell whether areas of the same image overlap; areas of one file count as apart."""
    if one is None or other is None:  # the whole image
        return True
    if (one.path, one.layer, one.attribute) != (other.path, other.layer, other.attribute):
        return None
    return not one.only or not other.only or bool(set(one.only) & set(other.only))
