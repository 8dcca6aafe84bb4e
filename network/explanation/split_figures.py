"""Figures of many images: their class embeddings in a plane, and errors near and far of borders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from network.datasets.schema import DatasetInfo
from network.evaluation.figure_fonts import save_figure
from network.explanation.borders import BorderErrors
from network.explanation.embeddings import LayerEmbeddings, Projection

Color = tuple[float, float, float]
"""Red, green and blue, from 0 to 1."""

MARKERS = "osD^vP*Xhp<>"
"""Shapes of the points of the classes, in turn, since some palettes have similar colors."""

_DPI = 130
_BEHIND = "#eef0f3"


def write_embeddings(
    layers: Sequence[LayerEmbeddings],
    projections: Sequence[tuple[Projection, Projection]],
    present: np.ndarray,
    info: DatasetInfo,
    output: Path,
    title: str,
) -> None:
    """Draw the class embeddings of many images: a column for each layer, PCA above t-SNE.

    Args:
        layers: the embeddings of each layer.
        projections: PCA and t-SNE of each layer.
        present: (n, k) bool, whether the class is in the truth of the image; the points of the
            other classes are hollow.
        info: description of the classes.
        output: the PNG file to write.
        title: title of the figure.
    """
    columns = len(layers)
    figure = Figure(figsize=(max(4.0 * columns, 6.5), 8.3), layout="constrained")
    grid = figure.subplots(2, columns, squeeze=False)
    for column, (layer, (pca, tsne)) in enumerate(zip(layers, projections, strict=True)):
        found = layer.scatter
        upper, lower = grid[:, column]
        upper.set_title(
            f"{layer.name}: within / between = {found.ratio.item():.3g}\n"
            f"within {found.within.mean().item():.3g}, between {found.between.item():.3g}",
            fontsize=10,
        )
        first, second = (f"{100 * share:.0f} % of the variance" for share in pca.variance or ())
        upper.set_xlabel(f"PCA 1, {first}", fontsize=8)
        upper.set_ylabel(f"PCA 2, {second}", fontsize=8)
        lower.set_xlabel("t-SNE 1", fontsize=8)
        lower.set_ylabel("t-SNE 2", fontsize=8)
        for axes, projection in ((upper, pca), (lower, tsne)):
            _draw_points(axes, projection.points, present, info)
    handles = [_handle(info, label) for label in range(info.num_classes)]
    if not present.all():
        handles.append(_marker("o", "none", "hollow: not in the image"))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), int(figure.get_figwidth() / 1.7)),
        fontsize=9,
        # As behind the points, so that a white class is not taken for a hollow one.
        facecolor=_BEHIND,
        edgecolor="none",
    )
    figure.suptitle(title, fontsize=10)
    save_figure(figure, output, _DPI)


def _draw_points(axes: Axes, points: np.ndarray, present: np.ndarray, info: DatasetInfo) -> None:
    axes.set_facecolor(_BEHIND)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.06)
    for label in range(info.num_classes):
        color, marker = _color(info, label), MARKERS[label % len(MARKERS)]
        for is_in, shown in ((False, ~present[:, label]), (True, present[:, label])):
            x, y = points[shown, label].T
            axes.scatter(
                x,
                y,
                s=26,
                marker=marker,
                facecolors=[color] if is_in else "none",
                edgecolors=["black" if is_in else _darker(color)],
                linewidths=0.5 if is_in else 1.0,
                zorder=2 + is_in,
            )


def _handle(info: DatasetInfo, label: int) -> Line2D:
    return _marker(MARKERS[label % len(MARKERS)], _color(info, label), info.classes[label])


def _color(info: DatasetInfo, label: int) -> Color:
    red, green, blue = info.palette[label]
    return red / 255, green / 255, blue / 255


def _darker(color: Color) -> Color:
    red, green, blue = color
    return 0.75 * red, 0.75 * green, 0.75 * blue


def _marker(marker: str, color: Color | str, label: str) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="",
        marker=marker,
        markersize=7,
        markerfacecolor=color,
        markeredgecolor="0.5" if color == "none" else "black",
        markeredgewidth=0.6,
        label=label,
    )


def write_border_errors(errors: BorderErrors, info: DatasetInfo, output: Path, title: str) -> None:
    """Draw how often a class is taken for another, and how much of that is near their border.

    Args:
        errors: the counts.
        info: description of the classes.
        output: the PNG file to write.
        title: title of the figure.
    """
    wrong, pixels, k = errors.near + errors.far, errors.pixels, info.num_classes
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = 100 * wrong / pixels[:, None]
        near = 100 * errors.near / wrong
        near_of_all = 100 * errors.near.sum() / wrong.sum()
        accuracy = 100 * errors.right / pixels
    shares[np.diag_indices(k)] = np.nan
    # The titles need some width, even with few classes.
    size = max(4.4 + 1.24 * k, 9.8), 1.9 + 0.5 * k
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_matrix(left, shares, info, "Reds", max(1.0, np.nanmax(shares, initial=0)))
    for label in range(k):
        _write(left, label, label, float(accuracy[label]), "0.45")
    left.set_title("taken for another class, % of the true class\n(gray: right)", fontsize=9)
    _draw_matrix(right, near, info, "Blues", 100.0)
    right.set_title(
        f"of these pixels, % within {errors.distance} pixels of a border\n"
        "with the class that they are taken for (– none)",  # noqa: RUF001
        fontsize=9,
    )
    total = "no pixel is wrong"
    if wrong.any():
        total = f"{near_of_all:.0f} % of all wrong pixels lie within {errors.distance} pixels of a "
        total += "border with the class that they are taken for"
    figure.suptitle(f"{title}\n{total}", fontsize=10)
    save_figure(figure, output, _DPI)


def _draw_matrix(
    axes: Axes, values: np.ndarray, info: DatasetInfo, colors: str, highest: float
) -> None:
    axes.imshow(np.nan_to_num(values), cmap=colors, vmin=0, vmax=1.25 * highest, aspect="auto")
    places = np.arange(info.num_classes)
    axes.set_xticks(places, info.classes, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(places, info.classes, fontsize=8)
    axes.set_xlabel("prediction", fontsize=9)
    axes.set_ylabel("truth", fontsize=9)
    axes.tick_params(length=0)
    for edge in axes.spines.values():
        edge.set_visible(False)
    for row, column in np.ndindex(*values.shape):
        if row != column:
            is_dark = values[row, column] > 0.65 * highest
            _write(axes, row, column, float(values[row, column]), "white" if is_dark else "black")


def _write(axes: Axes, row: int, column: int, value: float, color: str) -> None:
    known = not np.isnan(value)
    digits = 0 if value >= 9.95 else 1
    text = f"{value:.{digits}f}" if known else "–"  # noqa: RUF001
    axes.text(
        column, row, text, ha="center", va="center", fontsize=8, color=color if known else "0.6"
    )
