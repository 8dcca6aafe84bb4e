"""Figures of a look at one image: class heatmaps, and the pixels that classes pool from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from network.datasets.schema import DatasetInfo
from network.evaluation.figure_fonts import save_figure
from network.explanation.looks import Look, pooled_shares

PANEL = 1.75
"""Width of a panel of one class, in inches."""

_COLORS = "inferno"
_OUTLINE = "#35c9ff"
_PHOTO_SHARE = 0.3  # of the photo under a heatmap
_SIDE = 512  # longest side of a shown map, in pixels
_DPI = 130
_DENSE = 0.25  # with more pixels than this share, weights are drawn and not dots


def write_heatmaps(look: Look, info: DatasetInfo, output: Path, title: str) -> None:
    """Draw image, truth and prediction, and below them a row of class heatmaps for each layer.

    All heatmaps have one color scale, from 0 to 1. A thin line shows where the class is in the
    truth.

    Args:
        look: the image, with heatmaps.
        info: description of the classes.
        output: the PNG file to write.
        title: title of the figure.
    """
    gray = _gray(look.photo)

    def draw(axes: Axes, layer: int, label: int) -> None:
        heat = cv2.resize(
            look.heatmaps[layer][label], gray.shape[::-1], interpolation=cv2.INTER_LINEAR
        )
        axes.imshow(_over(matplotlib.colormaps[_COLORS](heat)[..., :3], gray[..., None] / 255))

    figure, upper, lower = _figure(look, info, len(look.heatmaps), title, with_images=True)
    assert upper is not None
    _draw_images(upper, look, info)
    axes = _draw_grid(lower, look, info, len(look.heatmaps), draw)
    # The bar shows a color as it is over a medium gray.
    colors = _over(matplotlib.colormaps[_COLORS](np.linspace(0, 1, 256))[:, :3], 0.5)
    scale = ScalarMappable(cmap=matplotlib.colors.ListedColormap(colors))
    scale.set_clim(0, 1)
    bar = lower.colorbar(scale, ax=axes, fraction=0.02, pad=0.01, aspect=30)
    bar.set_label("softmax over the classes", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    save_figure(figure, output, _DPI)


def write_pooled(look: Look, info: DatasetInfo, output: Path, title: str) -> None:
    """Draw the pixels that each class embedding is refined from, a row for each layer.

    Below each panel stands the share of their weight that lies on the class in the truth. A thin
    line shows where that is.

    Args:
        look: the image, with pooled pixels.
        info: description of the classes.
        output: the PNG file to write.
        title: title of the figure.
    """
    gray = _gray(look.photo)
    faded = np.repeat((120 + 0.5 * gray)[..., None] / 255, 3, axis=2)
    shares = [
        [None] * info.num_classes if look.truth is None else pooled_shares(layer, look.truth)
        for layer in look.pooling
    ]
    present = look.present(info.num_classes)

    def draw(axes: Axes, layer: int, label: int) -> None:
        axes.imshow(faded)
        _draw_weights(axes, look.pooling[layer][label], info.palette[label], gray.shape)
        share = shares[layer][label]
        if share is not None:
            axes.set_xlabel(f"{100 * share:.0f} % on the class", fontsize=8, labelpad=2)
        elif not present[label]:
            axes.set_xlabel("not in the truth", fontsize=8, labelpad=2, color="0.45")

    figure, _, lower = _figure(look, info, len(look.pooling), title, with_images=False)
    _draw_grid(lower, look, info, len(look.pooling), draw)
    save_figure(figure, output, _DPI)


def _figure(
    look: Look, info: DatasetInfo, layers: int, title: str, *, with_images: bool
) -> tuple[Figure, SubFigure | None, SubFigure]:
    """Make a figure with a part for the images, if there is one, and a part for the classes."""
    height, width = look.photo.shape[:2]
    tall = min(2.5, max(0.4, height / width))
    across = max(PANEL * info.num_classes + 0.9, 7.0)
    own = (across - 0.9) / info.num_classes * tall + (0.05 if with_images else 0.28)
    lower = layers * own + (0.35 if with_images else 0.15)
    upper = min(across / 3 - 0.1, 3.0) * min(tall, 1.0) + 0.75 if with_images else 0.0
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(across, upper + lower + 0.4), layout=layout)
    figure.suptitle(title, fontsize=10)
    if not with_images:
        return figure, None, figure.add_subfigure(figure.add_gridspec(1, 1)[0])
    grid = figure.add_gridspec(2, 1, height_ratios=[upper, lower])
    return figure, figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])


def _draw_images(part: SubFigure, look: Look, info: DatasetInfo) -> None:
    pictures = {"image": look.photo}
    if look.truth is not None:
        pictures["truth"] = info.to_rgb(look.truth)
    pictures["prediction"] = info.to_rgb(look.shown)
    for axes, (name, pixels) in zip(part.subplots(1, len(pictures)), pictures.items(), strict=True):
        axes.imshow(pixels, interpolation="antialiased" if name == "image" else "nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
    handles = [
        Patch(facecolor=(r / 255, g / 255, b / 255), edgecolor="gray", label=name)
        for name, (r, g, b) in zip(info.classes, info.palette, strict=True)
    ]
    part.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(8, len(handles)),
        fontsize=8,
        frameon=False,
    )


def _draw_grid(
    part: SubFigure,
    look: Look,
    info: DatasetInfo,
    layers: int,
    draw: Callable[[Axes, int, int], None],
) -> Sequence[Axes]:
    """Draw a panel for each layer and class, with the outline of the class in the truth."""
    grid = part.subplots(layers, info.num_classes, squeeze=False)
    height, width = _gray(look.photo).shape
    for layer, row in enumerate(grid):
        for label, axes in enumerate(row):
            draw(axes, layer, label)
            if look.truth is not None:
                _draw_outline(axes, look.truth == label, (height, width))
            axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            if layer == 0:
                axes.set_title(info.classes[label], fontsize=9)
        row[0].set_ylabel(f"layer {layer + 1}", fontsize=9)
    return list(grid.ravel())


def _draw_outline(axes: Axes, mask: np.ndarray, size: tuple[int, int]) -> None:
    """Draw a line around the pixels of a mask, which is shown at another size."""
    small = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    if 0 < small.mean() < 1:
        axes.contour(small, [0.5], colors=_OUTLINE, linewidths=0.6)


def _draw_weights(
    axes: Axes, weights: np.ndarray, color: tuple[int, int, int], size: tuple[int, int]
) -> None:
    """Draw the pixels with weight as dots; if there are many, draw the weights as a layer."""
    (height, width), (rows, columns) = size, weights.shape
    red, green, blue = (value / 255 for value in color)
    if np.count_nonzero(weights) > _DENSE * weights.size:
        alpha = weights / weights.max()
        layer = np.dstack([*(np.full(weights.shape, value) for value in (red, green, blue)), alpha])
        axes.imshow(layer, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")
        return
    y, x = np.nonzero(weights)
    places = (x + 0.5) * width / columns - 0.5, (y + 0.5) * height / rows - 0.5
    # A dark rim, since a class may be white or yellow.
    axes.scatter(*places, s=5, c="black", linewidths=0)
    axes.scatter(*places, s=2, color=(red, green, blue), linewidths=0)


def _gray(photo: np.ndarray) -> np.ndarray:
    """Make a gray picture (h, w) uint8 of a photo, no larger than it is shown."""
    height, width = photo.shape[:2]
    scale = min(1, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    gray = photo.mean(axis=2).astype(np.uint8)
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)


def _over(colors: np.ndarray, gray: np.ndarray | float) -> np.ndarray:
    """Mix the colors of a heatmap, 0 to 1, with the photo under it."""
    return (1 - _PHOTO_SHARE) * colors + _PHOTO_SHARE * gray
