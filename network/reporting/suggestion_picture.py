"""A picture of windows to label next, over the maps that they were found in."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from network.evaluation.figure_fonts import save_figure
from network.maps.read import FinishedMap, read_map
from network.maps.suggest import Suggestion, Suggestions
from network.rasters.shrink import shrink

MOST_MAPS = 12
"""Number of maps that are shown, those with the first windows."""

_WIDTH, _COLUMNS = 7.2, 4  # inches; maps in a row
_FONT = 8  # points
_SIDE = 600  # largest side of a shown map, in pixels
_FADED = 0.55  # share of white, so that the windows stand out


def write_suggestion_picture(found: Suggestions, path: Path, title: str) -> None:
    """Draw windows with their ranks over their maps, as a PNG file.

    Args:
        found: the windows.
        path: the PNG file.
        title: what stands above the picture.

    Raises:
        InputError: a map cannot be read, or the file cannot be written.
    """
    by_map: dict[Path, list[tuple[int, Suggestion]]] = {}
    for rank, window in enumerate(found.windows, 1):
        by_map.setdefault(window.map, []).append((rank, window))
    shown = list(by_map.items())[:MOST_MAPS]
    maps = [read_map(path) for path, _ in shown]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    tallest = max(m.labels.height / m.labels.width for m in maps)
    height = rows * (min(_WIDTH / columns * tallest, 6.0) + 0.25) + 0.7
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    left = len(by_map) - len(shown)
    more = f" ({left} more maps are not shown)" if left else ""
    figure.suptitle(f"{title}{more}", fontsize=_FONT + 1)
    for place, (map_, (file, windows)) in enumerate(zip(maps, shown, strict=True), 1):
        axes = figure.add_subplot(rows, columns, place)
        extent = (0, map_.labels.width, map_.labels.height, 0)
        axes.imshow(_draw(map_), extent=extent, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(file.stem, fontsize=_FONT, pad=2)
        _add_windows(axes, windows)
    handles = [
        Patch(facecolor=to_hex(_faded(entry.color)), edgecolor="0.5", label=entry.name)
        for entry in found.classes
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=6, fontsize=_FONT, frameon=False
    )
    save_figure(figure, path, dpi=150)


def _add_windows(axes: Axes, windows: Sequence[tuple[int, Suggestion]]) -> None:
    for rank, window in windows:
        rows, columns = window.window
        across, down = columns.stop - columns.start, rows.stop - rows.start
        axes.add_patch(
            Rectangle((columns.start, rows.start), across, down, fill=False, edgecolor="black")
        )
        axes.text(
            columns.start + across / 2,
            rows.start + down / 2,
            str(rank),
            fontsize=_FONT,
            ha="center",
            va="center",
            weight="bold",
        )


def _draw(map_: FinishedMap) -> np.ndarray:
    """Read a map in the faded colors of its classes, (h, w, 3), 0 to 1."""
    labels = map_.labels
    factor = max(1.0, max(labels.height, labels.width) / _SIDE)
    size = round(labels.height / factor), round(labels.width / factor)
    colors = np.ones((256, 3))
    for entry in map_.classes:
        colors[entry.label] = _faded(entry.color)
    with labels.opened() as file:
        values, valid = shrink(file, [1], *size, is_labels=True, what=labels.path.name)
    return np.where(valid[..., None], colors[values[..., 0]], 1.0)


def _faded(color: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = (_FADED + (1 - _FADED) * value / 255 for value in color)
    return red, green, blue
