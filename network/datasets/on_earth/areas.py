"""Areas of interest of a map, from polygons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from network.datasets.on_earth.files import AreaFile
from network.datasets.windows import Window
from network.errors import listed, warn
from network.extras import require_extra
from network.rasters.earth_grid import EarthGrid, elsewhere

if TYPE_CHECKING:
    from network.rasters.shapes import Painting


@dataclass(frozen=True)
class Area:
    """A part of a map that is scored by itself.

    Attributes:
        name: its name.
        window: rows and columns around it.
    """

    name: str
    window: Window


class Areas:
    """Areas of a map, of which each pixel belongs to one at most.

    Args:
        found: the areas.
        painting: draws the position of the area of each pixel; None if areas are their windows.
        layer: name of the layer that they are from.
    """

    def __init__(
        self, found: list[Area], painting: "Painting | None" = None, layer: str | None = None
    ):
        self.found, self._painting, self.layer = found, painting, layer

    def inside(self, position: int, rows: slice, columns: slice) -> np.ndarray:
        """Tell which pixels (h, w) of a window are in the area at a position of ``found``."""
        if self._painting is None:
            return np.ones((rows.stop - rows.start, columns.stop - columns.start), bool)
        return self._painting.read(rows, columns, -1, "int32") == position

    def inside_any(self, rows: slice, columns: slice) -> np.ndarray:
        """Tell which pixels (h, w) of a window are in any area."""
        if self._painting is None:
            return np.ones((rows.stop - rows.start, columns.stop - columns.start), bool)
        return self._painting.read(rows, columns, -1, "int32") >= 0


def open_areas(areas: AreaFile, grid: EarthGrid) -> Areas:
    """Bring areas of interest onto the grid of a map.

    Where areas overlap, a pixel belongs to the last one. Areas outside the map are left out with a
    warning.

    Args:
        areas: the file.
        grid: the grid of the map.

    Raises:
        InputError: the areas cannot be read, or all of them lie elsewhere.
    """
    require_extra("vectors", "areas of interest")
    from network.rasters import shapes, vectors

    found = vectors.read_features(
        areas.path,
        grid,
        vectors.POLYGONS,
        layer=areas.layer,
        layer_option="aoi_layer",
        attributes={} if areas.attribute is None else {areas.attribute: "aoi_name"},
    )
    names = _names(
        None if areas.attribute is None else found.values[areas.attribute], found.numbers
    )
    members: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        members.setdefault(name, []).append(place)
    kept: list[Area] = []
    outside = []
    owners = np.full(len(names), -1)
    for name, places in members.items():
        window = grid.window_around(shapes.box_around(found.shapes[places]))
        if window is None:
            outside.append(name)
            continue
        owners[places] = len(kept)
        kept.append(Area(name, window))
    if not kept:
        raise elsewhere(areas.path, found.crs, grid)
    if outside:
        warn(f"{areas.path}: areas outside the map are left out: {listed(outside)}")
    overlap = shapes.first_overlap(found.shapes, owners)
    if overlap:
        one, other = (names[place] for place in overlap)
        warn(f"{areas.path}: areas overlap, such as {one} and {other}; there, the last one counts")
    return Areas(kept, shapes.Painting(found.shapes, owners), found.layer)


def _names(values: Sequence[str] | None, numbers: np.ndarray) -> list[str]:
    if values is None:
        return [f"area {number}" for number in numbers]
    return [value or f"area {number}" for value, number in zip(values, numbers, strict=True)]
