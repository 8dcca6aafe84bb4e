"""Figures of the chain, with its stages side by side and with IoU against the threshold."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from network.buildings.seeds import UNSURE
from network.buildings.work import Work, read_map
from network.datasets.files import read_mask, read_rgb
from network.datasets.info import BUILDING
from network.datasets.segmentation import evenly_spread
from network.evaluation.figure_fonts import save_figure

IMAGES = 6
COLORS = {0: (40, 40, 40), 1: (255, 210, 60), UNSURE: (120, 140, 200)}
"""RGB colors of background, building and unsure pixels."""


def write_chain_panel(work: Work, output: Path) -> None:
    """Draw a few positive tiles with their maps, seeds, pseudo masks and, if known, the truth."""
    shown = evenly_spread(work.positives, IMAGES)
    has_truth = work.train_truth.is_dir()
    columns = ["image", "CAM", "expanded CAM", "seed", "refined map", "pseudo mask"]
    columns += ["truth"] if has_truth else []
    size = 1.8 * len(columns), 1.8 * len(shown) + 0.9
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(shown), len(columns), squeeze=False)
    for row, tile in zip(axes, shown, strict=True):
        folders = [work.seeds, work.pseudo, *([work.train_truth] if has_truth else [])]
        seed, *masks = (_colored(folder / f"{tile.name}.png") for folder in folders)
        cam, bac, ar = (read_map(work.maps(kind) / f"{tile.name}.npy") for kind in _MAPS)
        pictures = (read_rgb(tile.image), cam, bac, seed, ar[1], *masks)
        for axis, column, pixels in zip(row, columns, pictures, strict=True):
            # Only maps use the color map; images have their own colors.
            axis.imshow(pixels, interpolation="none", cmap="magma", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            if axis in axes[0]:
                axis.set_title(column)
        row[0].set_ylabel(tile.name, fontsize=6)
    names = {0: "background", 1: "building", 255: "unsure"}
    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*COLORS[label]), edgecolor="gray", label=name)
        for label, name in names.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    save_figure(figure, output)


_MAPS = ("cam", "bac", "ar")


def _colored(path: Path) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    for label, color in COLORS.items():
        table[label] = color
    return table[read_mask(path, BUILDING)]


def write_thresholds(
    curves: Mapping[str, Sequence[float]], taken: float | None, output: Path
) -> None:
    """Plot the IoU of buildings in positive tiles against the threshold, one line for each map.

    Args:
        curves: IoU, 0 to 1, at evenly spaced thresholds from 0, by name of the map.
        taken: the threshold that the chain applies to the refined map; None if it applies none.
        output: the image file to write.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    for name, ious in curves.items():
        thresholds = np.arange(len(ious)) / len(ious)
        axis.plot(thresholds, 100 * np.array(ious), label=name)
    if taken is not None:
        label = "threshold of the refined map (AR)"
        axis.axvline(taken, color="gray", linewidth=0.8, linestyle="--", label=label)
    axis.set(xlabel="threshold", ylabel="IoU of buildings, percent", xlim=(0, 1), ylim=(0, 100))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    save_figure(figure, output)
