"""A picture of a map for a paper: image, prediction, legend and scale bar."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch

from network.errors import InputError
from network.evaluation.figure_fonts import fonts_chosen, save_figure
from network.maps.read import FinishedMap
from network.rasters.display import choose_bands, display_of
from network.rasters.place import Ground, ground_at_middle
from network.rasters.shrink import shrink
from network.rasters.view import View

WIDTH = 2000
"""Width of a picture in pixels."""

LIMITS = 300, 20_000
"""Smallest and largest width."""

INCHES = 7.2
"""Width of the page that letters are sized for: two columns of a paper."""

_FONT = 8  # points
_MARGIN, _GAP, _TITLE, _FOOT = 0.04, 0.1, 0.2, 0.26  # inches
_TALLEST = 8.0  # inches
_WIDE = 2.4  # width of a map over its height, from which on panels stand one below the other
_TURNED = 5.0  # degrees from which on an arrow shows north
_NO_DATA = "0.88"


def write_map_picture(
    map_: FinishedMap,
    output: Path,
    image: View | None = None,
    bands: Sequence[int] | None = None,
    width: int = WIDTH,
) -> None:
    """Draw a map, beside its image if there is one, as a PNG file.

    Below them are a scale bar, if the map lies on Earth, and the classes with their shares of the
    area. If north is not at the top, an arrow shows it.

    Args:
        map_: the map.
        output: the PNG file.
        image: the image in the map's rows and columns; None to draw the map alone.
        bands: numbers of the bands of the image that are shown; None for the first three.
        width: width of the picture in pixels.

    Raises:
        InputError: a file cannot be read or written, or the width is out of range.
    """
    check_picture(output, width)
    panels: list[tuple[str, Callable[[tuple[int, int]], np.ndarray]]] = []
    if image is not None:
        panels.append(("Image", partial(_draw_image, image, choose_bands(image, bands))))
    panels.append(("Prediction", partial(_draw_labels, map_)))
    labels = map_.labels
    figure = Figure(figsize=(INCHES, INCHES), dpi=width / INCHES)  # the height is set below
    FigureCanvasAgg(figure)
    legend, height = _add_legend(figure, map_)
    ground = ground_at_middle(labels.place, labels.height, labels.width)
    layout = _plan(labels.width / labels.height, len(panels), bool(ground), height, figure.dpi)
    figure.set_size_inches(INCHES, layout.height)
    legend.set_bbox_to_anchor((0.5, _MARGIN / layout.height))
    for (title, draw), box in zip(panels, layout.panels, strict=True):
        axes = figure.add_axes(layout.share(box), facecolor=_NO_DATA)
        rows, columns = round(box.height * figure.dpi), round(box.width * figure.dpi)
        pixels = draw((min(rows, labels.height), min(columns, labels.width)))
        # The extent is that of the map, so what is drawn over it is placed in its pixels.
        extent = (0, labels.width, labels.height, 0)
        axes.imshow(pixels, interpolation="nearest", extent=extent, aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=_FONT, loc="left", pad=3)
        for spine in axes.spines.values():
            spine.set(linewidth=0.4, color="0.4")
    if ground and layout.foot:
        axes = figure.add_axes(layout.share(layout.foot))
        axes.set(xlim=(0, labels.width), ylim=(0, 1))
        axes.axis("off")
        _add_scale_bar(axes, ground, labels.width)
        if abs(ground.north) > _TURNED:
            _add_north(axes, ground.north, layout.foot)
    save_figure(figure, output, dpi=figure.dpi)


def check_picture(output: Path, width: int) -> None:
    """Check what is asked of a picture, before the map is read.

    Args:
        output: the file.
        width: width of the picture in pixels.

    Raises:
        InputError: the file is no PNG file, or the width is out of range.
    """
    if not LIMITS[0] <= width <= LIMITS[1]:
        raise InputError(f"width={width}", f"must be {LIMITS[0]} to {LIMITS[1]}")
    if output.suffix.lower() != ".png":
        raise InputError(output, "is no name of a PNG file", "give a name that ends in .png")


@dataclass(frozen=True)
class _Box:
    """A rectangle on the page; left, bottom, width and height in inches."""

    left: float
    bottom: float
    width: float
    height: float


@dataclass(frozen=True)
class _Layout:
    """Places on the page: a box for each panel, one for the scale bar, and the page's height."""

    panels: list[_Box]
    foot: _Box | None
    height: float

    def share(self, box: _Box) -> tuple[float, float, float, float]:
        """Return a box in shares of the page, as Matplotlib wants it."""
        across, up = INCHES, self.height
        return box.left / across, box.bottom / up, box.width / across, box.height / up


def _plan(ratio: float, count: int, has_foot: bool, legend: float, dpi: float) -> _Layout:
    """Plan the page from below: legend, scale bar, panels with their titles.

    Args:
        ratio: width of the map over its height.
        count: number of panels.
        has_foot: whether there is a scale bar.
        legend: height of the legend in inches.
        dpi: pixels of an inch; boxes of panels begin and end with whole pixels.
    """
    is_stacked = count > 1 and ratio > _WIDE
    columns = 1 if is_stacked else count
    width = (INCHES - 2 * _MARGIN - (columns - 1) * _GAP) / columns
    height = min(width / ratio, _TALLEST)
    width = height * ratio
    left = (INCHES - columns * width - (columns - 1) * _GAP) / 2
    bottom = 2 * _MARGIN + legend
    foot = None
    if has_foot:
        foot = _Box(left, bottom, width, _FOOT)
        bottom += _FOOT

    def whole(inches: float) -> float:
        return max(1, round(inches * dpi)) / dpi

    boxes = [
        _Box(whole(left + column * (width + _GAP)), whole(row), whole(width), whole(height))
        for row in ([bottom + height + _TITLE, bottom] if is_stacked else [bottom])
        for column in range(columns)
    ]
    return _Layout(boxes, foot, whole(boxes[0].bottom + boxes[0].height + _TITLE))


def _draw_image(image: View, bands: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """Read the image as RGBA (h, w, 4) uint8."""
    with image.opened() as file:
        display = display_of(image, bands, file)
        is_labels = display.table is not None
        values, valid = shrink(file, list(bands), *size, is_labels=is_labels, what=image.path.name)
    return np.dstack([display.to_rgb(values), np.where(valid, 255, 0).astype(np.uint8)])


def _draw_labels(map_: FinishedMap, size: tuple[int, int]) -> np.ndarray:
    """Read the map in the colors of its classes, as RGBA (h, w, 4) uint8."""
    colors = np.zeros((256, 4), np.uint8)
    for entry in map_.classes:
        colors[entry.label] = *entry.color, 255
    with map_.labels.opened() as file:
        values, valid = shrink(file, [1], *size, is_labels=True, what=map_.labels.path.name)
    return np.where(valid[..., None], colors[values[..., 0]], 0).astype(np.uint8)


def _add_legend(figure: Figure, map_: FinishedMap) -> tuple[Legend, float]:
    """Add the classes with their shares, in as many columns as fit; return the height, too."""
    handles = [
        Patch(
            facecolor="#{:02x}{:02x}{:02x}".format(*entry.color),
            edgecolor="0.4",
            linewidth=0.4,
            label=f"{entry.name}  {100 * share:.1f} %",
        )
        for entry, share in zip(map_.classes, map_.shares, strict=True)
    ]
    for columns in range(max(1, len(handles)), 0, -1):
        legend = figure.legend(
            handles=handles,
            loc="lower center",
            ncols=columns,
            fontsize=_FONT,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            handlelength=1.1,
            handleheight=1.1,
            columnspacing=1.6,
        )
        with fonts_chosen(figure):
            box = legend.get_window_extent()
        if columns == 1 or box.width / figure.dpi <= INCHES - 2 * _MARGIN:
            break
        legend.remove()
    return legend, box.height / figure.dpi


def round_length(longest: float) -> float:
    """Find the largest length of the form 1, 2 or 5 times a power of ten up to ``longest``.

    Examples:
        >>> round_length(730)
        500.0
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= longest * (1 + 1e-9))


def _add_scale_bar(axes: Axes, ground: Ground, width: int) -> None:
    """Draw a bar of a round length, of at most a third of the map."""
    meters = round_length(ground.meters * width / 3)
    bar = meters / ground.meters
    axes.plot([0, 0, bar, bar], [0.75, 0.45, 0.45, 0.75], color="black", linewidth=1, clip_on=False)
    unit, size = next(pair for pair in (("km", 1e3), ("m", 1), ("cm", 1e-2)) if meters >= pair[1])
    text = f" {meters / size:g} {unit}"
    axes.text(bar, 0.55, text, fontsize=_FONT, ha="left", va="center")


def _add_north(axes: Axes, degrees: float, box: _Box) -> None:
    """Draw an arrow to the north at the right end of a strip."""
    radius = 0.4 * box.height
    across, up = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    middle = 1 - 1.2 * radius / box.width, 0.5
    step = radius * across / box.width, radius * up / box.height
    axes.annotate(
        "",
        xy=(middle[0] + step[0], middle[1] + step[1]),
        xytext=(middle[0] - step[0], middle[1] - step[1]),
        xycoords="axes fraction",
        arrowprops={
            "arrowstyle": "-|>",
            "linewidth": 1,
            "color": "black",
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
    left = middle[0] - 1.6 * radius / box.width
    axes.text(left, 0.5, "N", transform=axes.transAxes, fontsize=_FONT, ha="right", va="center")
