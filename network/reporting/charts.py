"""Geometry of the line charts that the template of the page draws as SVG, in the page's colors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 30

Series = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Point:
    """A place in the SVG with its label.

    Attributes:
        x: distance from the left edge.
        y: distance from the top edge.
        label: text of the place.
    """

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes:
        title: title of the chart.
        lines: points of each line, by its name.
        x_ticks: ticks of the horizontal axis.
        y_ticks: ticks of the vertical axis.
    """

    title: str
    lines: dict[str, list[Point]]
    x_ticks: list[Point]
    y_ticks: list[Point]


def line_chart(title: str, series: Series, unit: str = "epoch") -> Chart | None:
    """Compute a chart of lines over an axis of whole numbers; None if there is nothing to draw.

    Args:
        title: title of the chart.
        series: (x, y) of each line, by its name; values that are not finite are left out.
        unit: unit of the horizontal axis, for the labels.
    """
    series = {name: [(x, y) for x, y in line if math.isfinite(y)] for name, line in series.items()}
    points = [point for line in series.values() for point in line]
    if not points:
        return None
    xs, ys = zip(*points, strict=True)
    x_ticks = MaxNLocator(8, integer=True).tick_values(min(xs), max(max(xs), min(xs) + 1))
    y_ticks = MaxNLocator(5).tick_values(min(ys), max(ys))
    low, high = y_ticks[0], y_ticks[-1]
    start, end = min(xs), max(max(xs), min(xs) + 1)

    def place(x: float, y: float, label: str) -> Point:
        across = LEFT + (x - start) / (end - start) * (WIDTH - LEFT - RIGHT)
        down = TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return Point(round(across, 1), round(down, 1), label)

    return Chart(
        title=title,
        lines={
            name: [place(x, y, f"{name}, {unit} {x:g}: {y:.4g}") for x, y in line]
            for name, line in series.items()
            if line
        },
        x_ticks=[place(x, low, f"{x:g}") for x in x_ticks if start <= x <= end],
        y_ticks=[place(start, y, f"{y:.4g}") for y in y_ticks],
    )
