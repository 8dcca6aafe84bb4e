"""Reading of finished maps and masks: their classes, and the layers beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import matplotlib as mpl
import numpy as np
import rasterio
from rasterio.windows import Window

from network.datasets.schema import DatasetInfo
from network.errors import InputError, warn
from network.maps.layers import LABELS, LAYERS, NO_DATA, STEPS
from network.progress import progress_bar
from network.rasters.header import OPTIONS
from network.rasters.legend_files import NamedValue, read_attribute_table
from network.rasters.memory import raster_in_memory
from network.rasters.pixels import count_labels
from network.rasters.source import Source
from network.rasters.view import View, on_grid, view_of

MOST_CLASSES = 64
"""Number of values, or colors, above which a raster without names is taken for a photo."""

_ROWS = 512


@dataclass(frozen=True)
class MapClass:
    """A class of a map.

    Attributes:
        label: value of its pixels.
        name: its name.
        color: red, green and blue, 0 to 255.
        pixels: number of its pixels.
    """

    label: int
    name: str
    color: tuple[int, int, int]
    pixels: int


@dataclass(frozen=True)
class FinishedMap:
    """A map or a mask that was predicted.

    Attributes:
        labels: the labels.
        classes: the classes, by label.
        layers: shares from 0 to 1 that lie beside the map, by the name of the layer. They have one
            band, or one for each class.
    """

    labels: View
    classes: tuple[MapClass, ...]
    layers: dict[str, View]

    @property
    def shares(self) -> list[float]:
        """Share of each class in all pixels of a class, 0 to 1."""
        total = max(1, sum(entry.pixels for entry in self.classes))
        return [entry.pixels / total for entry in self.classes]


def read_map(path: Path, info: DatasetInfo | None = None) -> FinishedMap:
    """Open a map that ``predict.py`` has written, or another raster of labels or class colors.

    Names and colors come from ``info``, else from the map's side file and its color table. Numbers
    of pixels come from the side file, or they are counted.

    Args:
        path: a GeoTIFF of labels, or a mask of labels or of colors.
        info: description of the classes; None if the map has names and colors itself.

    Raises:
        InputError: the file cannot be read, or it is no map of labels.
    """
    view = view_of(path, is_labels=True)
    layer = _layer_of(path)
    if layer:
        raise _no_map(path, f"is the layer {layer} of a map")
    if view.dtype != "uint8" or view.bands not in (1, 3):
        bands = "1 band" if view.bands == 1 else f"{view.bands} bands"
        raise _no_map(path, f"has {bands} of {view.dtype}")
    if view.bands == 3:
        return FinishedMap(*_from_colors(view, info), layers={})
    rows = read_attribute_table(path)
    counts = _known_counts(rows, view)
    if counts is None:
        counts = _count_labels(view, is_named=bool(rows or info or view.table))
    if info is not None and info.ignore_index < len(counts):
        counts[info.ignore_index] = 0
    classes = _classes(view, rows, counts, info)
    return FinishedMap(view, classes, _find_layers(view, len(classes)))


def read_image(path: Path, map_: FinishedMap, info: DatasetInfo | None = None) -> View:
    """Open the image of a map, in the rows and columns of the map.

    Args:
        path: the image.
        map_: the map.
        info: description of the data set, which says whether photos are turned as by a viewer. If
            it is None, a photo is turned if it then has the size of the map.

    Raises:
        InputError: the file cannot be read, or it does not fit the map.
    """
    size = map_.labels.height, map_.labels.width
    with Source(path, turn=True) as source:
        turn = source.is_turned and source.size == size
    if info is not None and info.exif_orientation is not None:
        turn = info.exif_orientation == "shown"
    return on_grid(view_of(path, turn=turn), map_.labels)


def _no_map(path: Path, problem: str) -> InputError:
    return InputError(
        path,
        f"{problem}; a map has one band of labels (uint8), a mask may have class colors instead",
        "give the file that predict.py wrote: NAME.tif or NAME.png",
    )


def _layer_of(path: Path) -> str | None:
    """Find the layer that a file is, such as ``NAME_confidence.tif`` beside ``NAME.tif``."""
    names = (name for name in LAYERS if name and path.stem.endswith(f"_{name}"))
    return next((name for name in names if _is_share(path)), None)


# Classes ----------------------------------------------------------------------------------------


def _known_counts(rows: Sequence[NamedValue], view: View) -> np.ndarray | None:
    """Take the number of pixels of each label from a table; None if it has none that can be."""
    counts = np.zeros(256, np.int64)
    for row in rows:
        if row.pixels is None or not 0 <= row.value < 256:
            return None
        counts[row.value] = row.pixels
    is_possible = 0 < counts.sum() <= view.height * view.width and counts.min() >= 0
    return counts if is_possible else None


def _count_labels(view: View, *, is_named: bool) -> np.ndarray:
    """Count the valid pixels of each label.

    Args:
        view: the labels.
        is_named: whether the values have names or colors. Without them, a raster with many values
            is refused.
    """
    counts = np.zeros(256, np.int64)
    for _, (labels,), valid in _strips(view):
        counts += count_labels(labels, valid)
        if not is_named and np.count_nonzero(counts) > MOST_CLASSES:
            raise _no_map(view.path, f"has more than {MOST_CLASSES} values and no names")
    return counts


def _strips(view: View) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield rows, values (bands, h, w) and valid pixels (h, w) from the top to the bottom."""
    bands = list(range(1, view.bands + 1))
    with (
        view.opened() as file,
        progress_bar(total=view.height, desc=f"Counting {view.path.name}", unit="row") as bar,
    ):
        for top in range(0, view.height, _ROWS):
            rows = slice(top, min(top + _ROWS, view.height))
            window = Window.from_slices(rows, slice(0, view.width))
            yield rows, file.read(bands, window=window), file.dataset_mask(window=window) > 0
            bar.update(rows.stop - rows.start)


def _classes(
    view: View, rows: Sequence[NamedValue], counts: np.ndarray, info: DatasetInfo | None
) -> tuple[MapClass, ...]:
    """Name the classes and color them; labels without a name are listed if there are pixels."""
    names = {row.value: row.name for row in rows}
    table = {row.value: row.color for row in rows if row.color is not None}
    colors = dict(view.table or {}) | table
    if info is not None:
        names = dict(enumerate(info.classes))
        colors |= dict(enumerate(info.palette))
    labels = sorted(set(names) | set(np.flatnonzero(counts).tolist()))
    return tuple(
        MapClass(
            label,
            names.get(label, f"class {label}"),
            colors.get(label) or _some_color(number),
            int(counts[label]),
        )
        for number, label in enumerate(labels)
        if 0 <= label < 256
    )


def _some_color(number: int) -> tuple[int, int, int]:
    """Choose a color for a class that has none; neighbors in the legend differ."""
    red, green, blue = mpl.colormaps["tab20"](number % 20)[:3]
    return round(255 * red), round(255 * green), round(255 * blue)


def _from_colors(view: View, info: DatasetInfo | None) -> tuple[View, tuple[MapClass, ...]]:
    """Turn a mask of colors into labels in memory. Colors without a name are called ``#rrggbb``."""
    names = dict(zip(info.palette, info.classes, strict=True)) if info else {}
    colors = list(names)
    labels = np.full((view.height, view.width), NO_DATA, np.uint8)
    counts = np.zeros(256, np.int64)
    for rows, pixels, valid in _strips(view):
        codes, rest = _codes(pixels), valid
        for label in count():
            if label == len(colors):
                if not rest.any():
                    break
                row, column = np.unravel_index(rest.argmax(), rest.shape)
                colors.append(tuple(pixels[:, row, column].tolist()))
                if len(colors) > min(MOST_CLASSES + len(names), NO_DATA):
                    raise _no_map(view.path, f"has more than {MOST_CLASSES} colors")
            same = rest & (codes == _codes(np.array(colors[label])))
            labels[rows][same] = label
            counts[label] += np.count_nonzero(same)
            rest = rest & ~same
    classes = tuple(
        MapClass(label, names.get(color, "#{:02x}{:02x}{:02x}".format(*color)), color, pixels)
        for label, (color, pixels) in enumerate(zip(colors, counts.tolist(), strict=False))
    )
    valid = labels != NO_DATA
    memory = raster_in_memory(
        labels[..., None], None if valid.all() else valid, place=view.place, is_labels=True
    )
    return replace(view, bands=1, memory=memory), classes


def _codes(colors: np.ndarray) -> np.ndarray:
    """Turn red, green and blue (3, ...) into one number for each color."""
    red, green, blue = colors.astype(np.uint32)
    return red << 16 | green << 8 | blue


# Layers -----------------------------------------------------------------------------------------


def _find_layers(labels: View, classes: int) -> dict[str, View]:
    """Find the layers beside a map. Those that do not belong to it are left out, with a warning."""
    found = {}
    for name, layer in LAYERS.items():
        path = labels.path.with_name(f"{labels.path.stem}_{name}.tif")
        if layer is LABELS or not path.is_file():
            continue
        view = view_of(path)
        size = labels.height, labels.width
        if (view.height, view.width) != size or view.bands != layer.bands(classes):
            warn(f"{path}: has another size or other bands than {labels.path}, so it is left out")
        elif not _is_share(path):
            warn(f"{path}: its values have not the scale 1/{STEPS}, so it is left out")
        else:
            found[name] = view
    return found


def _is_share(path: Path) -> bool:
    with rasterio.Env(**OPTIONS), rasterio.open(path) as file:
        return file.dtypes[0] == "uint8" and abs(file.scales[0] * STEPS - 1) < 1e-6
