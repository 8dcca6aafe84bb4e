"""Descriptions of files that say which class, or which area, is where on Earth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """A file that says which class is where on Earth: a raster of labels, or polygons.

    Attributes:
        path: the file.
        values: the class of each value of the raster, or of the polygons' attribute; empty if the
            values are labels or names of classes.
        attribute: attribute of the polygons that has the class.
        layer: layer of the polygons; None if there is only one.
        all_are: the class of all polygons, instead of an attribute.
        background: the class of all pixels that are in no polygon; None if they do not count.
        order: classes from the lowest to the highest: where polygons overlap, the highest class
            counts. Classes that are not named are below. Without an order, the last polygon of the
            file counts.
        all_touched: whether a polygon gets all pixels that it touches, instead of those whose
            center lies in it.
        weight: how many times as often as a pixel of weight 1 a labeled pixel of this file is the
            middle of a training window; above 0. Pixels count in the file whose label they have.
        optional: whether the file may be missing, such as corrections that nobody has drawn yet.
        option: name of the user's setting for ``values``, for errors.
    """

    path: Path
    values: Mapping[str, str] = field(default_factory=dict, hash=False)
    attribute: str | None = None
    layer: str | None = None
    all_are: str | None = None
    background: str | None = None
    order: tuple[str, ...] = ()
    all_touched: bool = False
    weight: float = 1.0
    optional: bool = False
    option: str = "values"

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ValueError(f"weight={self.weight:g}, expected a number above 0")
        object.__setattr__(self, "path", Path(self.path))


@dataclass(frozen=True, kw_only=True)
class AreaFile:
    """A file with the polygons of areas of interest.

    Attributes:
        path: the file.
        attribute: attribute with the names of the areas; None to number them. Polygons of one name
            are one area.
        layer: layer of the polygons; None if there is only one.
        only: names of the areas that are used; empty for all.
    """

    path: Path
    attribute: str | None = None
    layer: str | None = None
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.only, tuple):
            raise ValueError("only must be a tuple, such as only=('test',)")
        if self.only and self.attribute is None:
            raise ValueError("only=... needs the attribute that has the names of the areas")
        object.__setattr__(self, "path", Path(self.path))
