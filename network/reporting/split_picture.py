"""A picture of the areas of splits: where they lie, how large they are, and what is in them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.path import Path as Curve

from network.datasets.on_earth.split import Division, Part
from network.evaluation.figure_fonts import save_figure
from network.reporting.map_picture import round_length

COLORS = {"train": "#4477aa", "val": "#ddaa33", "test": "#bb5566"}
"""Colors of the splits, which people who do not see all colors can tell apart."""

_WIDTH = 7.2  # inches
_FONT = 8  # points
_COLUMNS = 6  # of the legend of classes
_GROUND, _EDGE = "0.86", "0.6"


def write_split_picture(
    division: Division,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    path: Path,
    title: str,
) -> None:
    """Draw the areas of splits over the borders of the images, as a PNG file.

    Below are the area of each split, and the share of each class in it.

    Args:
        division: the splits, or folds.
        classes: names of the classes; empty if there are no labels.
        palette: red, green and blue of each class.
        path: the PNG file.
        title: what stands above the picture.

    Raises:
        InputError: the file cannot be written.
    """
    parts, blocks = division.parts, division.blocks
    left, bottom, right, top = shapely.total_bounds(blocks.outlines).tolist()
    ratio = (top - bottom) / (right - left)
    # A map, a scale bar, the splits; bars of classes, the numbers below them, the classes.
    rows = [min(max(_WIDTH * ratio, 0.5), 7.0), 0.35, 0.22 * math.ceil(len(parts) / 3)]
    if classes:
        rows += [0.12 + 0.24 * (len(parts) + 1), 0.4, 0.2 * math.ceil(len(classes) / _COLUMNS)]
    height = sum(rows) + 0.5
    figure = Figure(figsize=(_WIDTH, height))
    FigureCanvasAgg(figure)
    tops = height - 0.36 - np.cumsum([0, *rows])

    def place(row: int, indent: float = 0.1) -> Axes:
        inches = indent, tops[row + 1], _WIDTH - indent - 0.15, rows[row]
        sizes = (_WIDTH, height) * 2
        box = tuple(length / whole for length, whole in zip(inches, sizes, strict=True))
        return figure.add_axes(box)

    colors = _colors_of(parts)
    where = 0.1 / _WIDTH, 1 - 0.2 / height
    figure.text(*where, title, fontsize=_FONT + 1, va="center")
    axes = place(0)
    _draw(axes, blocks.outlines, facecolor=_GROUND, edgecolor=_EDGE, linewidth=0.6)
    for part in parts:
        _draw(axes, part.ground, facecolor=colors[part.name], edgecolor="white", linewidth=0.3)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", anchor="W")
    axes.axis("off")
    axes.apply_aspect()
    strip = place(1)
    shown = axes.get_position().width / strip.get_position().width
    _add_scale_bar(strip, (right - left) / shown)
    _add_legend(place(2), parts, colors)
    if classes:
        _add_bars(place(3, indent=0.75), parts, palette)
        _add_classes(place(5), classes, palette)
    save_figure(figure, path, dpi=200)


def _colors_of(parts: Sequence[Part]) -> dict[str, str]:
    hues = matplotlib.color_sequences["tab20" if len(parts) > 10 else "tab10"]
    return {
        part.name: COLORS.get(part.name, matplotlib.colors.to_hex(hues[number % len(hues)]))
        for number, part in enumerate(parts)
    }


def _title_of(part: Part) -> str:
    return part.name if part.name in COLORS else f"fold {part.name}"


def _draw(axes: Axes, shapes: np.ndarray, **style: Any) -> None:
    curves = [_curve(shape) for shape in shapes if not shape.is_empty]
    axes.add_collection(PathCollection(curves, **style))


def _curve(shape: shapely.Geometry) -> Curve:
    """Turn polygons into a path of Matplotlib; holes turn the other way round."""
    rings = [
        Curve(shapely.get_coordinates(ring), closed=True)
        for polygon in shapely.get_parts(shape)
        for ring in shapely.get_rings(shapely.orient_polygons(polygon))
    ]
    return Curve.make_compound_path(*rings)


def _add_scale_bar(axes: Axes, meters: float) -> None:
    """Draw a bar of a round length below the map; the axes are so wide on the ground."""
    length = round_length(meters / 4)
    axes.set(xlim=(0, meters), ylim=(0, 1))
    axes.axis("off")
    ends = [0, 0, length, length], [0.65, 0.35, 0.35, 0.65]
    axes.plot(*ends, color="black", linewidth=1, clip_on=False)
    unit, size = ("km", 1e3) if length >= 1e3 else ("m", 1)
    axes.text(length, 0.45, f"  {length / size:g} {unit}", fontsize=_FONT, va="center")
    guard = Patch(facecolor=_GROUND, edgecolor=_EDGE, linewidth=0.6, label="in no split")
    axes.legend(handles=[guard], loc="center right", frameon=False, fontsize=_FONT, borderpad=0)


def _add_legend(axes: Axes, parts: Sequence[Part], colors: dict[str, str]) -> None:
    """List the splits with their areas."""
    axes.axis("off")
    total = sum(part.area for part in parts)
    handles = [
        Patch(
            facecolor=colors[part.name],
            label=f"{_title_of(part)}  {square_kilometers(part.area)} km² "
            f"({100 * part.area / total:.0f} %)",
        )
        for part in parts
    ]
    axes.legend(
        handles=handles, loc="upper left", ncols=3, frameon=False, fontsize=_FONT, borderpad=0
    )


def square_kilometers(area: float) -> str:
    """Write an area in square meters as square kilometers, with three digits.

    Examples:
        >>> square_kilometers(77_247), square_kilometers(1_234_567_890)
        ('0.0772', '1,235')
    """
    kilometers = area / 1e6
    if kilometers >= 100:
        return f"{kilometers:,.0f}"
    digits = 2 - math.floor(math.log10(kilometers)) if kilometers > 0 else 0
    return f"{kilometers:.{digits}f}"


def _add_bars(axes: Axes, parts: Sequence[Part], palette: Sequence[tuple[int, int, int]]) -> None:
    """Draw the share of each class in each split as a bar, and in all ground above them."""
    everything = sum((part.counts + part.lost for part in parts), np.zeros(len(palette)))
    counts = np.array([everything, *(part.counts for part in parts)], float)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    starts = np.cumsum(shares, axis=1) - shares
    for label, color in enumerate(palette):
        axes.barh(
            range(len(shares)),
            shares[:, label],
            left=starts[:, label],
            height=0.75,
            color="#{:02x}{:02x}{:02x}".format(*color),
            edgecolor="0.4",
            linewidth=0.3,
        )
    names = ["all", *map(_title_of, parts)]
    axes.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
    axes.set_yticklabels(names)
    axes.set_xlabel("share of the labeled pixels, %", fontsize=_FONT, labelpad=1)
    axes.tick_params(labelsize=_FONT, length=2, pad=2)
    axes.spines[["top", "right"]].set_visible(False)


def _add_classes(
    axes: Axes, classes: Sequence[str], palette: Sequence[tuple[int, int, int]]
) -> None:
    axes.axis("off")
    handles = [
        Patch(
            facecolor="#{:02x}{:02x}{:02x}".format(*color),
            edgecolor="0.4",
            linewidth=0.3,
            label=name,
        )
        for name, color in zip(classes, palette, strict=True)
    ]
    axes.legend(
        handles=handles,
        loc="upper left",
        ncols=_COLUMNS,
        frameon=False,
        fontsize=_FONT,
        borderpad=0,
    )
