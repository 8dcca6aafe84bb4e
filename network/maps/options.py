"""Options of maps: windows, layers, formats, and the share of the work."""

import math
from dataclasses import dataclass
from pathlib import Path

from network.errors import InputError
from network.extras import require_extra
from network.maps.layers import Layer
from network.maps.plan import WINDOW, Plan, default_halo

POLYGON_FORMATS = ("gpkg", "parquet")

CONTEXTS = ("window", "image")


@dataclass(frozen=True)
class PolygonOptions:
    """Which polygons of a map are written, and how.

    Attributes:
        format: ``"gpkg"`` or ``"parquet"``; it is also the ending of the files.
        file: the file for the polygons of a single map; by default it lies beside the map.
        min_area: area in square meters; a smaller region joins a neighbor, see
            :func:`network.maps.eliminate.eliminate`. With 0, all are kept.
        simplify: tolerance in meters of simpler outlines; with 0, they follow the pixels.

    Raises:
        InputError: a value is out of range, or a library is missing.
    """

    format: str = "gpkg"
    file: Path | None = None
    min_area: float = 0.0
    simplify: float = 0.0

    def __post_init__(self) -> None:
        if self.format not in POLYGON_FORMATS:
            raise InputError(
                f"polygons={self.file or self.format}",
                f"must be {' or '.join(POLYGON_FORMATS)}, or a file with one of these endings",
            )
        for name in ("min_area", "simplify"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name}={value:g}", "must be at least 0")
        require_extra("vectors", "polygons")


@dataclass(frozen=True)
class MapOptions:
    """How maps are predicted and written.

    Attributes:
        window: largest side of the windows that the network sees, in pixels.
        halo: context around the part of a window that is kept, in pixels; None for that of
            :func:`network.maps.plan.default_halo`.
        blend: how windows are put together: ``"crop"`` or ``"hann"``, see
            :class:`network.maps.plan.Plan`.
        batch_size: number of windows in a step.
        layers: what is written beside the labels.
        format: ``"tif"``, ``"png"``, or ``"auto"``: GeoTIFF for images with a place on Earth, PNG
            for others.
        rgb: whether PNG files have colors instead of labels.
        bands: numbers of the bands of the images, from 1 on; by default all.
        context: ``"window"``: the network sees each window alone, as in training; ``"image"``:
            its class embeddings are those of the whole image, see
            :func:`network.maps.context.in_context`.
        shard: number of this process, from 0 on, and number of all processes that share the work.
        overwrite: whether to delete maps that were made with other settings.
        polygons: which polygons are written; None for no polygons.

    Raises:
        InputError: a value is out of range.
    """

    window: int = WINDOW
    halo: int | None = None
    blend: str = "crop"
    batch_size: int = 1
    layers: tuple[Layer, ...] = ()
    format: str = "auto"
    rgb: bool = True
    bands: tuple[int, ...] | None = None
    context: str = "window"
    shard: tuple[int, int] = (0, 1)
    overwrite: bool = False
    polygons: PolygonOptions | None = None

    @property
    def halo_width(self) -> int:
        """The halo in pixels, whether it was given or not."""
        return default_halo(self.window) if self.halo is None else self.halo

    def __post_init__(self) -> None:
        if self.context not in CONTEXTS:
            raise InputError(f"context={self.context}", f"must be one of {', '.join(CONTEXTS)}")
        Plan(1, 1, self.window, self.halo_width, blend=self.blend)  # raises what does not fit
        if self.batch_size < 1:
            raise InputError(f"batch_size={self.batch_size}", "must be at least 1")
        number, count = self.shard
        if not 0 <= number < count:
            raise InputError(
                f"shard={number + 1}/{count}", f"the first number must be 1 to {count}"
            )
