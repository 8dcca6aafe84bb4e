"""What is searched in maps when windows are to be labeled: how many, how large, and by what."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from network.datasets.on_earth.files import AreaFile
from network.errors import InputError
from network.maps.layers import CONFIDENCE, DISAGREEMENT, ENTROPY, LAYERS

RANDOM = "random"
WAYS = (ENTROPY.name, CONFIDENCE.name, DISAGREEMENT.name, RANDOM)
"""What windows are chosen by: a layer of the maps, or chance."""


@dataclass(frozen=True)
class Search:
    """Which windows are searched.

    Attributes:
        size: side of the windows on the ground, in meters.
        number: number of windows.
        by: one of ``WAYS``. The windows with the highest mean entropy or disagreement come first,
            or those with the lowest mean confidence.
        labeled: files of what is labeled already: polygons, or rasters that have data there.
            Windows do not cover any of it.
        areas: areas that windows must lie in; None for all of the maps.
        seed: seed of the order of windows with the same score, and of ``by="random"``.

    Raises:
        InputError: a value is out of range.
    """

    size: float
    number: int
    by: str = ENTROPY.name
    labeled: tuple[Path, ...] = ()
    areas: AreaFile | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.size < math.inf:
            raise InputError(f"size={self.size:g}", "must be a length in meters above 0")
        if self.number < 1:
            raise InputError(f"number={self.number}", "must be at least 1")
        if self.by not in WAYS:
            raise InputError(f"by={self.by}", f"must be one of {', '.join(WAYS)}")
        if self.seed < 0:
            raise InputError(f"seed={self.seed}", "must be at least 0")


def find_maps(given: Sequence[Path]) -> list[Path]:
    """List the maps that a user means; layers of maps are left out.

    Args:
        given: files of maps, and folders, which stand for their files ``.tif``.

    Raises:
        InputError: there is no map.
    """
    found: dict[Path, None] = {}
    for path in given:
        if not path.exists():
            raise InputError(path, "no such file or folder")
        own = [path]
        if path.is_dir():
            own = [file for file in sorted(path.glob("*.tif")) if not _is_layer(file)]
            if not own:
                raise InputError(path, "has no map (.tif)", "give the folder that has the maps")
        found |= dict.fromkeys(own)
    return list(found)


def _is_layer(file: Path) -> bool:
    stem, _, name = file.stem.rpartition("_")
    return name in LAYERS and file.with_name(f"{stem}.tif").exists()
