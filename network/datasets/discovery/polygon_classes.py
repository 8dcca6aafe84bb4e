"""Classes from the polygons of vector files. This module needs the extra ``vectors``."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from pyogrio.errors import DataSourceError
from pyproj.exceptions import ProjError
from rasterio.crs import CRS

from network.datasets.discovery.classes import ClassFound, Proposal, unique_names
from network.datasets.discovery.layout import file_patterns
from network.datasets.files import stem_of
from network.datasets.on_earth.classes import IGNORE, distinct_colors
from network.datasets.on_earth.files import LabelFile
from network.datasets.schema import MAX_CLASSES, SPLITS
from network.errors import InputError, listed, nearest
from network.rasters.earth_grid import EarthGrid, no_transform
from network.rasters.shapes import made_valid
from network.rasters.vector_paths import plain
from network.rasters.vectors import POLYGONS, layers_of, text_of, unreadable

_BY_NAME = re.compile(
    r"(.*_)?(class|klass|classe|clase|classname|label|type|category|landuse|land_use|landcover|"
    r"land_cover|lulc|cover|crop|species|kind)(_?name)?",
    re.IGNORECASE,
)
"""Names of attributes that mostly have classes."""

_TECHNICAL = re.compile(
    r"(ogc_?)?f?id|.*_id|object_?id|gid|uuid|guid|shape_.*|perimeter|area|length|"
    r"paperspace|subclasses|linetype|entityhandle|extendedentity|text|date.*|time.*|source|"
    r"comment.*|remark.*|note.*|created.*|edited.*|user.*",
    re.IGNORECASE,
)
"""Names of attributes that GIS and CAD programs write, and that are no classes."""

_MOST = 40
"""An attribute with more values is not chosen unless the user names it."""

_EQUAL_AREA = CRS.from_epsg(6933)
_WHOLE = 0.9
"""Share of the images that polygons must cover before the rest counts as forgotten, not as
background."""

_DISTORTED = 1.5
"""Area of the outline of an image, divided by that of its pixels, above which it is wrong."""

BACKGROUND = "background"
_GRAY = (128, 128, 128)
_GENERIC = ("labels", "label", "polygons", "annotations", "masks", "data", "truth", "vectors")


@dataclass(frozen=True)
class Layer:
    """A layer of polygons, in one file or in several files of one kind.

    Attributes:
        patterns: paths or patterns of the files, relative to the root.
        paths: the files.
        layer: name of the layer; None if each file has only one.
    """

    patterns: tuple[str, ...]
    paths: tuple[Path, ...]
    layer: str | None

    @property
    def name(self) -> str:
        """A name for what the polygons are: that of the layer, the file or the folder."""
        own = self.layer or (self.paths[0].stem if len(self.paths) == 1 else "")
        if own and own.lower() not in _GENERIC:
            return own
        folder = self.paths[0].parent.name
        return folder if len(self.paths) > 1 and folder.lower() not in _GENERIC else "object"


@dataclass(frozen=True)
class LabelsFound:
    """How polygons say classes.

    Attributes:
        layer: the polygons.
        options: arguments of :class:`LabelFile`, without the path.
    """

    layer: Layer
    options: Mapping[str, Any]

    @property
    def files(self) -> tuple[LabelFile, ...]:
        """The descriptions of the files; a background is given once."""
        first, *others = map(Path, self.layer.patterns)
        rest = {name: value for name, value in self.options.items() if name != "background"}
        return (
            LabelFile(path=first, **self.options),
            *(LabelFile(path=path, **rest) for path in others),
        )


def find_layers(root: Path, files: Sequence[Path], stems: set[str]) -> list[Layer]:
    """List the layers of polygons.

    Args:
        root: root folder of the data.
        files: the vector files.
        stems: names of the images; files with such names, in one folder, belong together.

    Raises:
        InputError: a file cannot be read; or no layer has polygons.
    """
    groups: dict[tuple[Path, str], list[Path]] = {}
    single: list[Path] = []
    for path in files:
        if stem_of(path) in stems:
            groups.setdefault((path.parent, path.suffix), []).append(path)
        else:
            single.append(path)
    found: list[Layer] = []
    for paths in (*groups.values(), *([path] for path in single)):
        by_layer: dict[str | None, list[Path]] = {}
        layers = {path: layers_of(path) for path in paths}
        has_one = all(len(own) <= 1 for own in layers.values())
        for path, own in layers.items():
            for name in _of_polygons(own):
                if not has_one and len(paths) > 1 and name == stem_of(path):
                    raise InputError(
                        path,
                        f"its layer '{name}' has the name of the file, and files beside it have "
                        "layers of several classes",
                        "give the same class the same name of a layer in all files",
                    )
                by_layer.setdefault(None if has_one else name, []).append(path)
        for layer, filled in by_layer.items():
            # Files of images without any object may have no polygons and no layer.
            named = paths if layer is None and len(by_layer) == 1 else filled
            found.append(Layer(file_patterns(named, root), tuple(filled), layer))
    if not found:
        raise InputError(files[0], "has no layer of polygons", "choose another file by labels=PATH")
    return found


def _of_polygons(layers: Iterable[tuple[str, str | None]]) -> list[str]:
    """List the layers that may have polygons, by their names and kinds of geometries."""
    kinds = (*POLYGONS, "Unknown", "GeometryCollection")
    return [name for name, kind in layers if kind and kind.split(" ")[0] in kinds]


def find_areas(files: Sequence[Path]) -> tuple[Path, str] | None:
    """Find a file of areas with the names of splits, and the attribute that has them.

    Args:
        files: vector files.
    """
    for path in files:
        if len(_of_polygons(layers_of(path))) != 1:
            continue
        frame = _read(path, None)
        for name in frame.columns.drop(frame.geometry.name):
            values = {text_of(value) for value in frame[name]}
            if len(values) > 1 and values <= set(SPLITS):
                return path, str(name)
    return None


def _read(path: Path, layer: str | None) -> geopandas.GeoDataFrame:
    """Read the features of a layer that have a geometry."""
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet"):
            frame = geopandas.read_parquet(path)
        else:
            frame = geopandas.read_file(plain(path), layer=layer)
    except (DataSourceError, ValueError, OSError) as error:
        raise unreadable(path) from error
    return frame[~(frame.geometry.isna() | frame.geometry.is_empty)]


def propose_from_polygons(
    layers: Sequence[Layer], attribute: str | None, ground: shapely.Geometry | None
) -> tuple[Proposal, list[LabelsFound]]:
    """Propose the classes that polygons mean.

    Args:
        layers: the layers of polygons.
        attribute: attribute that has the class, by the user; None to choose one.
        ground: ground of all images, see :func:`ground_of`; None to count all polygons.

    Raises:
        InputError: no layer has ``attribute``, or it has too many values.
    """
    tables = {layer: _table(layer, ground) for layer in layers}
    proposal = Proposal(unit="m2", total=sum(sum(table.areas) for table in tables.values()))
    chosen = attribute or _choose(tables)
    if attribute:
        _check_attribute(tables, attribute)
    covered = _covered(tables.values(), ground) if ground else None
    found: list[LabelsFound] = []
    amounts: dict[str, float] = defaultdict(float)
    for layer, table in tables.items():
        options: dict[str, Any] = {}
        if chosen and chosen in table.cells:
            options["attribute"] = chosen
            empty = 0.0
            for cell, area in zip(table.cells[chosen], table.areas, strict=True):
                text = text_of(cell)
                if text:
                    amounts[text] += area
                else:
                    empty += area
            if "" in map(text_of, table.cells[chosen]):
                options["values"] = {"": IGNORE}
                proposal.ignore("", empty, f"no value of '{chosen}'")
        else:
            options["all_are"] = layer.name
            amounts[layer.name] += sum(table.areas)
        if layer.layer:
            options["layer"] = layer.layer
        found.append(LabelsFound(layer, options))
    names = sorted(amounts, key=lambda name: -amounts[name])
    if chosen and all(name.isdecimal() for name in names):
        names.sort(key=int)
    if len(names) > MAX_CLASSES:
        raise InputError(
            f"attribute={chosen}",
            f"has {len(names)} values, at most {MAX_CLASSES} can be classes",
            f"choose another one: {listed(_columns(tables), 30)}",
        )
    if not names:
        raise InputError(layers[0].paths[0], "has no polygons", "choose another file")
    _note_choice(proposal, tables, chosen, names)
    is_whole = covered is not None and covered >= _WHOLE
    if len(names) == 1 or not (chosen or is_whole):
        first = found[0]
        found[0] = LabelsFound(first.layer, {**first.options, "background": BACKGROUND})
        rest = (1 - min(covered, 1)) * ground.area if ground and covered is not None else 0.0
        names, amounts[BACKGROUND] = [BACKGROUND, *names], rest
        proposal.total += rest
        proposal.notes.append(f"pixels in no polygon are the class '{BACKGROUND}'")
    elif not is_whole:
        share = "" if covered is None else f"polygons cover {covered:.0%} of the images; "
        proposal.notes.append(
            f"{share}pixels in no polygon are ignored (to make them a class, add it to classes and "
            "palette, and name it by background=... of the first LabelFile)"
        )
    plain = unique_names(names)
    others = [name for name in plain if name != BACKGROUND]
    shown = dict(zip(others, distinct_colors([None] * len(others)), strict=True))
    colors = [shown.get(name, _GRAY) for name in plain]
    for name, color in zip(plain, colors, strict=True):
        source = "no polygon" if name == BACKGROUND else name if chosen else "polygons"
        proposal.classes.append(ClassFound(name, color, amounts[name], source))
    return proposal, found


@dataclass(frozen=True)
class _Table:
    """The polygons of a layer.

    Attributes:
        cells: value of each polygon, by attribute; only attributes that all files with polygons
            have.
        shapes: each polygon (n,), as far as it is on the ground of the images, in meters.
    """

    cells: Mapping[str, Sequence[Any]]
    shapes: np.ndarray

    @property
    def areas(self) -> list[float]:
        """Area of each polygon in square meters; 0 where it is no place on Earth."""
        return np.nan_to_num(shapely.area(self.shapes), posinf=0).tolist()


def ground_of(grids: Iterable[EarthGrid]) -> shapely.Geometry | None:
    """Find the ground of images, in meters, in a system that keeps areas; None if not known.

    Args:
        grids: the pixels of the images.
    """
    shapes, pixels = [], 0.0
    for grid in grids:
        if grid.resolution is None:
            return None
        pixels = max(pixels, grid.height * grid.width * grid.resolution**2)
        down, across = np.array([0, 0, 1, 1]) * grid.height, np.array([0, 1, 1, 0]) * grid.width
        transform: Any = grid.transform
        corners = np.stack(transform @ (across, down), axis=1)
        shape = geopandas.GeoSeries([shapely.Polygon(corners)], crs=grid.crs.to_wkt())
        shapes += shape.to_crs(_EQUAL_AREA).tolist()
    sizes = shapely.area(shapes)
    # Across the date line, or around a pole, the corners enclose other ground.
    if not np.isfinite(sizes).all() or sizes.min() == 0 or sizes.max() > _DISTORTED * pixels:
        return None
    return shapely.union_all(made_valid(np.array(shapes)))


def _covered(tables: Iterable[_Table], ground: shapely.Geometry) -> float:
    """Compute which share of the ground polygons cover; where they overlap, it counts once."""
    shapes = np.concatenate([table.shapes for table in tables])
    found = shapely.area(shapes)
    if found.sum() >= _WHOLE * ground.area:
        return float(shapely.union_all(shapes).area / ground.area)
    return float(found.sum() / ground.area)


def _table(layer: Layer, ground: shapely.Geometry | None) -> _Table:
    """Read the attributes of all polygons of a layer, and their shapes."""
    frames = [_read(path, layer.layer) for path in layer.paths]
    shapes: list[np.ndarray] = []
    for path, frame in zip(layer.paths, frames, strict=True):
        if frame.crs is None:
            raise InputError(
                path,
                "does not say in which reference system its coordinates are",
                "name it (ogr2ogr -a_srs EPSG:...)",
            )
        shapes.append(_shapes(path, frame, ground))
    # A file of an image without objects may have no attributes.
    frames = [frame for frame in frames if len(frame)] or frames[:1]
    names = [name for name in frames[0].columns if name != frames[0].geometry.name]
    shared = [name for name in names if all(name in frame.columns for frame in frames)]
    cells = {str(name): [cell for frame in frames for cell in frame[name]] for name in shared}
    return _Table(cells, np.concatenate(shapes))


def _shapes(
    path: Path, frame: geopandas.GeoDataFrame, ground: shapely.Geometry | None
) -> np.ndarray:
    """Bring polygons into meters, and cut them at the border of the ground."""
    try:
        shapes = frame.geometry.to_crs(_EQUAL_AREA).to_numpy()
    except ProjError as error:
        raise no_transform(path, CRS.from_wkt(frame.crs.to_wkt()), _EQUAL_AREA) from error
    shapes[~np.isfinite(shapely.bounds(shapes)).all(axis=1)] = shapely.Polygon()
    if ground is None:
        return shapes
    shapely.prepare(ground)
    rest = ~shapely.contains_properly(ground, shapes)
    shapes[rest] = shapely.intersection(made_valid(shapes[rest]), ground)
    return shapes


def _columns(tables: Mapping[Layer, _Table]) -> list[str]:
    return list(dict.fromkeys(name for table in tables.values() for name in table.cells))


def _check_attribute(tables: Mapping[Layer, _Table], attribute: str) -> None:
    if not any(attribute in table.cells for table in tables.values()):
        known = _columns(tables)
        path = next(iter(tables)).paths[0]
        raise InputError(path, f"has no attribute '{attribute}'{nearest(attribute, known)}")


def _choose(tables: Mapping[Layer, _Table]) -> str | None:
    """Choose the attribute that has the class: one that all layers have, with few texts."""
    best: tuple[tuple[bool, bool, int], str] | None = None
    for name in _columns(tables):
        if _TECHNICAL.fullmatch(name) or any(name not in t.cells for t in tables.values()):
            continue
        cells = [cell for table in tables.values() for cell in table.cells[name]]
        values = {text_of(cell) for cell in cells} - {""}
        is_text = any(isinstance(cell, str) for cell in cells)
        is_named = _BY_NAME.fullmatch(name) is not None
        if not 2 <= len(values) <= _MOST or not (is_text or is_named):
            continue
        if len(values) > len(cells) / 2 and not is_named:  # names of single objects
            continue
        rank = (not is_named, not is_text, len(values))
        if best is None or rank < best[0]:
            best = rank, name
    return best[1] if best else None


def _note_choice(
    proposal: Proposal,
    tables: Mapping[Layer, _Table],
    chosen: str | None,
    names: Sequence[str],
) -> None:
    """Say which attribute has the class, and which others there are."""
    others = [name for name in _columns(tables) if name != chosen]
    rest = f" (others: {listed(others, 20)}; attribute=NAME chooses one)" if others else ""
    if chosen:
        proposal.notes.append(f"the attribute '{chosen}' has the class{rest}")
    elif len(names) == 1:
        proposal.notes.append(
            f"no attribute has a few texts, so all polygons are one class, '{names[0]}'{rest}"
        )
    else:
        proposal.notes.append(f"each layer of polygons is a class: {listed(names, 20)}{rest}")
