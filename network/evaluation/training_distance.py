"""How far the images of a test are from those of the training on Earth.

Only headers and areas are read. Images that do not lie on Earth have no distance.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.datasets.files import list_used
from network.datasets.on_earth.files import AreaFile
from network.datasets.on_earth.find import list_files
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import DatasetInfo, Folder
from network.datasets.segmentation import Sample
from network.errors import InputError
from network.evaluation.protocol import TrainingRecord
from network.extras import require_extra
from network.rasters.earth_grid import EarthGrid
from network.rasters.source import Source

if TYPE_CHECKING:
    from network.datasets.on_earth.footprints import Cover


def distance_to_training(
    info: DatasetInfo,
    root: Path,
    split: str,
    samples: Sequence[Sample],
    training: dict[str, Any] | None,
) -> float | None:
    """Find the smallest distance between a split and the split of the training.

    Args:
        info: description of the data set.
        root: root folder of the data, which has the images of both splits.
        split: name of the tested split.
        samples: its samples.
        training: settings of the run that wrote the checkpoint; None if they are unknown.

    Returns:
        Meters on the ground, 0 if images touch or overlap; None if the distance is not known, as
        for images that do not lie on Earth, or if the training images are not there.
    """
    record = TrainingRecord(training or {})
    trained = record.settings.get("data.train")
    if record.data_set not in (None, info.name):
        return None
    if not isinstance(trained, str) or trained not in info.splits:
        return None
    if split not in info.splits or not samples or _grid_of(samples[0].image) is None:
        return None
    try:
        require_extra("vectors", "distances on Earth")
    except InputError:
        return None
    from network.datasets.on_earth.footprints import footprints

    try:
        covers = [*_covers(info, root, split), *_covers(info, root, trained, "training")]
        found = footprints(covers)
        nearest = found and found.nearest(split, "training")
    except InputError:
        return None
    return nearest.meters if nearest else None


def _covers(info: DatasetInfo, root: Path, split: str, name: str | None = None) -> list["Cover"]:
    """List the images of a split that lie on Earth, with the areas that belong to it."""
    from network.datasets.on_earth.footprints import Cover

    covers = []
    for part in info.splits[split]:
        images, areas = _images(info, root, part)
        with ThreadPoolExecutor() as pool:  # most of the time is spent waiting for the disk
            grids = pool.map(_grid_of, images)
            covers += [
                Cover(name or split, image, grid, areas)
                for image, grid in zip(images, grids, strict=True)
                if grid is not None
            ]
    return covers


def _images(
    info: DatasetInfo, root: Path, part: Folder | Scenes
) -> tuple[Sequence[Path], AreaFile | None]:
    if isinstance(part, Folder):
        return list(list_used(root / part.images, part).values()), None
    files = list_files(info, root, part)
    return files.images, files.areas


def _grid_of(image: Path) -> EarthGrid | None:
    """Read where an image lies on Earth; None if it does not say so for each pixel."""
    try:
        with Source(image) as source:
            return EarthGrid.of(image, source.header.place, *source.size)
    except InputError:
        return None
