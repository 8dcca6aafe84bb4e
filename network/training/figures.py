"""Figures of a finished training: its curves, and a panel of training images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from network.config import Experiment
from network.datasets.cut_windows import cut_window, everything, labeled_window
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, evenly_spread, find_samples
from network.errors import InputError
from network.evaluation.evaluate import predict_samples
from network.evaluation.figure_fonts import save_figure
from network.evaluation.figures import write_panel
from network.evaluation.shown_windows import has_large
from network.points.labels import dense_counts
from network.settings import Data
from network.training.data import drawn_share
from network.training.runs import read_curves

CURVES, PANEL = "curves.png", "panel.png"
IMAGES = 4
PATCH = 1024
_TRAINED_ON = "trained_on"


def missing_figures(run: Path, logs: Path) -> list[Path]:
    """List the figures that :func:`write_training_figures` would add.

    Args:
        run: folder of the checkpoints.
        logs: folder of the logs.
    """
    names = (CURVES, PANEL) if read_curves(run / "last.ckpt") else (PANEL,)
    return [logs / name for name in names if not (logs / name).is_file()]


def write_training_figures(
    experiment: Experiment, run: Path, logs: Path, device: torch.device
) -> None:
    """Write ``curves.png`` and ``panel.png`` of a training.

    Args:
        experiment: the experiment.
        run: folder of the checkpoints.
        logs: folder of the logs, which gets the figures.
        device: device of the predictions.
    """
    curves = read_curves(run / "last.ckpt")
    if curves:  # a run that was moved away from its logs has no curves
        write_curves(curves, logs / CURVES, experiment.name)
    best = run / "best.ckpt"
    checkpoint = best if best.is_file() else run / "last.ckpt"
    info = experiment.dataset
    samples, trained_on = _training_samples(experiment)
    with TemporaryDirectory() as folder, TemporaryDirectory() as cut:
        if has_large(samples, info, experiment.data):
            samples, trained_on = _cut(samples, trained_on, info, experiment.data, Path(cut))
            info = info.decoded
        # Without masks, the predictions are not scored.
        images = [replace(sample, masks={}) for sample in samples]
        predict_samples(experiment, checkpoint, images, Path(folder), device, PATCH)
        write_panel(
            samples,
            Path(folder),
            info,
            logs / PANEL,
            f"{experiment.name}, training images, {checkpoint.name}",
            trained_on,
        )


def _cut(
    samples: Sequence[Sample],
    trained_on: Sequence[Path] | None,
    info: DatasetInfo,
    data: Data,
    folder: Path,
) -> tuple[list[Sample], list[Path] | None]:
    """Cut windows out of large images and their masks; other images are copied as they are."""
    cut, other_masks = [], []
    masks: Sequence[Path | None] = trained_on or [None] * len(samples)
    for sample, mask in zip(samples, masks, strict=True):
        others = {} if mask is None else {_TRAINED_ON: mask}
        # Where the network has seen labels, which may be a few points.
        both = replace(sample, masks=others | sample.masks)
        is_cut = has_large([sample], info, data)
        window = labeled_window(both, info, PATCH) if is_cut else everything(sample)
        small = cut_window(both, window, info, folder)
        if mask is not None:
            other_masks.append(small.masks.pop(_TRAINED_ON))
        cut.append(small)
    return cut, other_masks if trained_on else None


def _training_samples(experiment: Experiment) -> tuple[list[Sample], list[Path] | None]:
    """Find a few training images, and their training masks if these are not the data set's own.

    Dense masks are shown only if the training used them, or if points were drawn from them.
    Otherwise nothing has opened them, so they are not opened here either.
    """
    info, data, root = experiment.dataset, experiment.data, experiment.root

    def some(described: DatasetInfo) -> list[Sample]:
        samples: Sequence[Sample] = find_samples(described, root, data.train)
        if data.image_share < 1:
            samples = drawn_share(samples, data.image_share, described, experiment.seed)
        return evenly_spread(samples, IMAGES)

    if not data.train_labels:
        return some(info), None
    sparse = some(info.relabeled(data.train, data.train_labels))
    trained_on = [next(iter(sample.masks.values())) for sample in sparse]
    try:
        dense_counts(sorted({path.parent for path in trained_on}))
        dense = {sample.name: sample for sample in find_samples(info, root, data.train)}
    except InputError:  # they come from elsewhere, or the dense masks are gone
        return [replace(sample, masks={}) for sample in sparse], trained_on
    return [dense[sample.name] for sample in sparse], trained_on


def write_curves(
    curves: Mapping[str, Sequence[tuple[int, float]]], output: Path, title: str
) -> None:
    """Draw loss, OA and mIoU of training and validation by epoch.

    Args:
        curves: (epoch, value) by name, as logged.
        output: the PNG file to write.
        title: title of the figure.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axis, what in zip(figure.subplots(1, 3), ("loss", "OA", "mIoU"), strict=True):
        for split, color in (("train", "tab:blue"), ("val", "tab:orange")):
            points = curves.get(f"{split}/{what}")
            if points:
                epochs, values = zip(*points, strict=True)
                percent = [value if what == "loss" else 100 * value for value in values]
                axis.plot(epochs, percent, "o-", ms=3, color=color, label=split)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(xlabel="epoch", title=what if what == "loss" else f"{what}, percent")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.suptitle(title)
    save_figure(figure, output)
