"""Functions to build the variants of an ablation, run them, and collect their results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import nn

from network.benchmark.complexity import benchmark_models
from network.config import Experiment, default_settings, override, settings
from network.datasets.info import VAIHINGEN
from network.datasets.segmentation import find_samples
from network.differences import defines_training
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.evaluation.figure_fonts import save_figure
from network.evaluation.results import SCORES_FILE, read_result
from network.evaluation.scores import MAIN, overall_scores
from network.factories import parameters
from network.losses.bicor import BiCoRLoss
from network.losses.d2ls import D2LSLoss
from network.losses.joint import JointLoss
from network.maps.evaluate import evaluate_scenes
from network.models.bicor import BiCoRSeg
from network.models.d2ls import D2LS
from network.models.smp import SMPSegmenter
from network.models.unetformer import UNetFormer
from network.points.labels import is_drawn_by, make_point_labels, masks_digest
from network.reporting.comparison import (
    Comparison,
    Model,
    check_runs_of_one_model,
    compare,
    paired_differences,
)
from network.reporting.comparison_tables import caption, difference_lines
from network.reporting.published import PUBLISHED
from network.studies.ablation_tables import PIXELS, PLAIN, TABLES, Table, Variant
from network.studies.claims import claim
from network.training.train import train_once

NETWORKS: dict[str, tuple[type[nn.Module], Callable[..., nn.Module]]] = {
    "bicor": (BiCoRSeg, BiCoRLoss),
    "d2ls": (D2LS, D2LSLoss),
    "unetformer": (UNetFormer, JointLoss),
    "smp": (SMPSegmenter, JointLoss),
}

ABLATION_FILE = "ablation.json"

_KEPT = (
    *("model.out_indices", "model.freeze", "model.lora", "model.drop_path"),
    *("loss.weights", "loss.max_ratio", "loss.hard_share"),
)
"""Settings of the base config's model and loss that every variant must be able to keep."""

_SHARED = (
    *("model.encoder", "model.weights", "model.dim", "model.bands"),
    *("model.checkpoint_encoder", "model.checkpoint_decoder", "loss.smoothing"),
    *_KEPT,
)
"""Settings that all variants share, as far as they have them."""


@dataclass(frozen=True)
class Cost:
    """The cost of a forward pass of a network with one image.

    Attributes:
        parameters: number of parameters, in millions.
        gmacs: multiply-accumulates, in billions.
        milliseconds: median time.
        side: height and width of the image, in pixels.
        device: what computed, ``"cpu"`` or ``"cuda"``.
    """

    parameters: float
    gmacs: float
    milliseconds: float
    side: int
    device: str


def variant_experiment(base: Experiment, table: str, variant: Variant, seed: int) -> Experiment:
    """Build the experiment of one run.

    Data and optimizer come from the base config. A variant with a network of its own also keeps the
    settings in ``_SHARED``; any other variant keeps all that it does not override.

    Args:
        base: experiment of the base config.
        table: key of the table.
        variant: the variant.
        seed: seed of the run.

    Raises:
        InputError: the model of the base has no encoder, or a value does not fit.
    """
    run_name = f"ablation/{table}/{base.dataset.name}/{variant.slug}/seed{seed}"
    if variant.network is None:
        of_points = variant.points is not None or variant.has_full_masks
        if of_points and "loss.counted" not in settings(base):
            raise InputError(
                base.config,
                "its loss is not PartialCrossEntropy, which points need",
                "give a config such as config/drone/resnet18_points.py",
            )
        known = settings(base)
        # Not every network can adapt its encoder.
        words = [w for w in variant.overrides if w not in PLAIN or w.partition("=")[0] in known]
        words += [f"data.train_labels={variant.labels}"] if of_points else []
        experiment = override(replace(base, name=run_name, seed=seed), words)
        if variant.points:
            _check_budget(experiment)
        return experiment
    of_base = settings(base)
    if not {"model.encoder", "model.dim", "loss.smoothing"} <= of_base.keys():
        raise InputError(
            base.config,
            "lacks model.encoder, model.dim or loss.smoothing, which this ablation needs",
            "give a config of BiCoR-Seg or D2LS",
        )
    network, loss = NETWORKS[variant.network]
    known = {"model": parameters(network), "loss": parameters(loss)}
    shared: dict[str, dict] = {"model": {}, "loss": {}}
    for key in _SHARED:
        section, _, name = key.partition(".")
        if key not in of_base:
            continue
        if name in known[section]:
            shared[section][name] = of_base[key]
        elif key in _KEPT and of_base[key] != default_settings(base).get(key):
            raise InputError(
                f"{key}={of_base[key]}",
                f"the row '{variant.name}' has no such setting",
                f"give {key}={default_settings(base).get(key)}, or choose other rows by --variants",
            )
    info = base.dataset
    if variant.network == "d2ls":
        shared["model"]["layers"] = 2 if info.name == VAIHINGEN.name else 3
    experiment = replace(
        base,
        model=partial(network, info.num_classes, **shared["model"]),
        loss=partial(loss, info.ignore_index, **shared["loss"]),
        name=run_name,
        seed=seed,
    )
    return override(experiment, variant.overrides)


def _check_budget(experiment: Experiment) -> None:
    """Raise an :class:`InputError` if a run would use other labels than those of its points."""
    chosen = settings(experiment)
    for key, value in (("data.label_share", 1.0), ("loss.counted", "labels")):
        if chosen.get(key, value) != value:
            raise InputError(
                experiment.config,
                f"{key}={chosen[key]} would use other labels than the points of this run",
                f"give {key}={value}",
            )


def training_masks(base: Experiment) -> str:
    """Compute the digest of the masks that all variants are trained on, directly or by points."""
    info, split = base.dataset, base.data.train
    return masks_digest(find_samples(info, base.root, split), info, split)


def prepare_labels(base: Experiment, table: Table, masks: str, workers: int = 1) -> None:
    """Draw the points for the variants, unless they were already drawn from these masks.

    Args:
        base: experiment of the base config.
        table: the table.
        masks: digest of the masks, see :func:`training_masks`.
        workers: number of processes.
    """
    info, split = base.dataset, base.data.train
    for variant in table.variants:
        if not variant.points or not variant.labels:
            continue
        folders = info.relabeled(split, variant.labels).folders(split)
        paths = [base.root / folder.masks[0].folder for folder in folders]
        if not all(is_drawn_by(path, variant.points, masks) for path in paths):
            make_point_labels(
                info, base.root, split, variant.labels, variant.points, workers=workers
            )


def check_overrides(words: Sequence[str], table: Table) -> None:
    """Raise an :class:`InputError` for an override that the variants would ignore."""
    for word in words:
        key = word.partition("=")[0]
        if table.is_of_base:
            # A row of "adaptation" trains from scratch, whatever weights the others begin with.
            is_shared = key in _SHARED and not table.sets_always(key)
            if key in table.own_keys and not is_shared:
                raise InputError(f"override '{word}'", "each variant sets this itself")
        elif key.startswith(("model.", "loss.")) and key not in _SHARED:
            raise InputError(
                f"override '{word}'",
                "each variant sets this itself",
                f"of model and loss only {', '.join(_SHARED)} can be changed for all",
            )
        if key in ("seed", "name"):
            raise InputError(f"override '{word}'", "each run has its own", "give seeds=N")


def result_folder(output: Path, variant: Variant, seed: int) -> Path:
    """Name the folder of the masks and scores of one run."""
    return output / variant.slug / f"seed{seed}"


def run_variant(experiment: Experiment, folder: Path, split: str, **options: Any) -> None:
    """Train and test one run; finished work is not repeated.

    Args:
        experiment: experiment of the run.
        folder: folder of the masks and scores.
        split: name of the split to test on.
        options: options of the training, see :func:`network.training.train.train`.
    """
    run = train_once(experiment, **options)
    checkpoint = run / ("best.ckpt" if experiment.data.val else "last.ckpt")
    test = evaluate_scenes if experiment.dataset.scenes(split) else evaluate
    test(experiment, checkpoint=checkpoint, output=folder, split=split)


def claim_folder(output: Path, table: str, base: Experiment, split: str, masks: str = "") -> None:
    """Reserve a folder for an ablation.

    Args:
        output: the folder.
        table: key of the table in ``TABLES``, or another name.
        base: experiment of the base config.
        split: name of the split to test on.
        masks: digest of the masks, see :func:`training_masks`.

    Raises:
        InputError: the folder belongs to another ablation, or holds other files.
    """
    known = TABLES.get(table)
    is_of_base = known is not None and known.is_of_base
    left_to_variants = known.own_keys if known is not None and known.is_of_base else set()

    def is_kept(key: str) -> bool:
        if key == "data.root" or (key in _SHARED and not (is_of_base and key in _KEPT)):
            return True
        of_variants = key.startswith(("model.", "loss.")) and not is_of_base
        return defines_training(key) and not (
            of_variants or key in left_to_variants or key == "seed"
        )

    keys = {key: value for key, value in settings(base).items() if is_kept(key)}
    own = {"table": table, "data_set": base.dataset.name, "split": split, "masks": masks, **keys}
    # Older folders do not store the digest.
    claim(output, ABLATION_FILE, own, default_settings(base) | {"masks": masks})


def is_done(folder: Path) -> bool:
    """Tell whether a run has its scores."""
    return (folder / SCORES_FILE).is_file()


def collect(output: Path, table: Table, seeds: Sequence[int]) -> list[Comparison]:
    """Compare the finished runs of an ablation, in one table for each kind of labels.

    Args:
        output: folder of the ablation.
        table: the table.
        seeds: seeds of the runs.

    Raises:
        InputError: a run is not finished, or results do not belong together.
    """
    models = []
    for variant in table.variants:
        found = [read_result(result_folder(output, variant, seed)) for seed in seeds]
        for other in found[1:]:
            check_runs_of_one_model(found[0], other)
        models.append(Model(variant.name, tuple(found)))
    return [compare(models, kind, mixed=True) for kind in models[0].runs[0].scores]


def measure_costs(base: Experiment, table: Table, table_name: str) -> list[Cost]:
    """Measure what a forward pass of each variant costs, with one image of the crops' size.

    Args:
        base: experiment of the base config.
        table: the table.
        table_name: key of the table.
    """
    experiments = [variant_experiment(base, table_name, v, seed=0) for v in table.variants]
    side = -(-base.data.crop // 32) * 32
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = benchmark_models(experiments, size=side, repeats=5, device=device)
    return [
        Cost(row["params M"], row["GMACs"], 1000 / row["images/s"], side, device.type)
        for row in rows
    ]


def to_markdown(
    table: Table,
    comparisons: Sequence[Comparison],
    data_set: str,
    costs: Sequence[Cost] | None = None,
) -> str:
    """Write mean and deviation over the seeds of each variant as Markdown.

    Below it stands the difference of each variant from the first one, by a paired bootstrap over
    the test images. If split and masks are those of the published rows, the published mIoU is given
    too.

    Args:
        table: the table.
        comparisons: comparisons for each kind of labels.
        data_set: name of the data set.
        costs: cost of each variant, which gets columns of its own.
    """
    is_published = any(variant.published for variant in table.variants)
    note = (
        " Published rows had more views, and their protocol is not known in full: compare "
        "differences within a column."
    )
    parts = [f"{table.title}. Tested without augmentation.{note if is_published else ''}"]
    for comparison in comparisons:
        protocol, stated = comparison.models[0].runs[0].protocol, PUBLISHED.get(data_set)
        is_same = stated and (stated.split, stated.kind) == (protocol.split, comparison.kind)
        known = overall_scores()
        shown = [n for n, c in enumerate(comparison.columns) if table.has_costs or c in MAIN]
        headings = [known[comparison.columns[n]].heading for n in shown]
        headings += ["published mIoU"] if is_published else []
        headings += ["parameters, M", "GMACs", "ms"] if costs else []
        rows = [
            f"| variant | runs | {' | '.join(headings)} |",
            "| --- | ---: |" + " ---: |" * len(headings),
        ]
        for number, (variant, model, cells) in enumerate(
            zip(table.variants, comparison.models, comparison.cells, strict=True)
        ):
            published = variant.published.get(data_set) if is_same else None
            texts = [_text(cells[n].mean, cells[n].std) for n in shown]
            if is_published:
                texts.append("-" if published is None else f"{published:.2f}")
            if costs:
                cost = costs[number]
                texts += [f"{cost.parameters:.1f}", f"{cost.gmacs:.2f}", f"{cost.milliseconds:.0f}"]
            rows.append(f"| {variant.name} | {len(model.runs)} | {' | '.join(texts)} |")
        # The rows differ in this on purpose, so the caption must not warn of it.
        of_data = {"data.train_labels", "data.image_share", "data.unlabeled"}
        varied = {"trained on"} if table.own_keys & of_data else set()
        kept = {k: v for k, v in comparison.differences.items() if k not in varied}
        parts += [caption(replace(comparison, differences=kept)), "\n".join(rows)]
        if len(comparison.models) > 1:
            found = paired_differences(comparison.models, comparison.kind)
            parts.append("\n".join(f"- {line}" for line in difference_lines(found)))
    if costs:
        parts.append(
            f"Costs of a forward pass with one image of {costs[0].side} x {costs[0].side} pixels, "
            f"{_device_in_words(costs[0].device)}; median of 5."
        )
    return "\n\n".join(parts) + "\n"


def _device_in_words(device: str) -> str:
    return f"{torch.get_num_threads()} threads of the CPU" if device == "cpu" else f"on {device}"


def _write_points_figure(table: Table, comparison: Comparison, path: Path) -> None:
    """Draw mIoU against the share of labeled pixels; full masks are dashed lines."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axis = figure.subplots()
    column = comparison.columns.index("mIoU")
    # Share of labeled pixels (None for all), mean and deviation, by the overrides.
    lines: dict[tuple[str, ...], list[tuple[float | None, float, float]]] = {}
    for variant, cells in zip(table.variants, comparison.cells, strict=True):
        cell = cells[column]
        if cell.mean is not None:
            point = _share(variant), 100 * cell.mean, 100 * (cell.std or 0)
            lines.setdefault(variant.overrides, []).append(point)
    for number, overrides in enumerate(lines):
        color = f"C{number}"
        label = ", ".join(overrides)
        points = [point for point in lines[overrides] if point[0] is not None]
        if points:  # --variants may leave only full masks
            shares, means, deviations = zip(*points, strict=True)
            axis.errorbar(
                shares, means, deviations, fmt="o-", capsize=4, ms=4, color=color, label=label
            )
        for share, mean, std in lines[overrides]:
            if share is None:
                axis.axhline(mean, color=color, linestyle="--", label=f"{label}, full masks")
                axis.axhspan(mean - std, mean + std, color=color, alpha=0.12)
    axis.set_xscale("log")
    found = {_share(variant) for variant in table.variants}
    budgets = sorted(share for share in found if share is not None)
    names = [f"{round(share * PIXELS / 100)}\n{share:.2g} %" for share in budgets]
    axis.set_xticks(budgets, names)
    axis.set_xticks([], minor=True)
    axis.set(xlabel="points of 300 x 300 pixels; share of the pixels", ylabel="mIoU, percent")
    axis.set_title(table.title)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _share(variant: Variant) -> float | None:
    """Get the percentage of labeled pixels; None for whole masks."""
    return variant.points.share if variant.points else None


def _text(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    return f"{100 * mean:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def _write_costs_figure(
    table: Table, comparison: Comparison, costs: Sequence[Cost], path: Path
) -> None:
    """Draw the mIoU of each variant, with its deviation over the runs, against its GMACs."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axis = figure.subplots()
    column = comparison.columns.index("mIoU")
    for variant, cells, cost in zip(table.variants, comparison.cells, costs, strict=True):
        cell = cells[column]
        if cell.mean is None:
            continue
        mean = 100 * cell.mean
        axis.errorbar(cost.gmacs, mean, 100 * (cell.std or 0), fmt="o", ms=6, capsize=4)
        axis.annotate(
            variant.name, (cost.gmacs, mean), (6, 5), textcoords="offset points", fontsize=8
        )
    side = costs[0].side
    # Costs differ by a factor, and cheap networks would lie upon each other otherwise.
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.margins(x=0.15)
    axis.set(
        xlabel=f"GMACs of a forward pass, {side} x {side} pixels",
        ylabel="mIoU, percent",
        title=table.title,
    )
    axis.grid(alpha=0.3)
    save_figure(figure, path)


def write_figure(
    table: Table, comparison: Comparison, path: Path, costs: Sequence[Cost] | None = None
) -> None:
    """Draw the mIoU of each run as a point, with mean and deviation of each variant as a bar.

    A table of point labels gets lines instead, and a table with costs gets mIoU against cost.

    Args:
        table: the table.
        comparison: the comparison for one kind of labels.
        path: the PNG file to write.
        costs: cost of each variant.
    """
    if table.has_points:
        _write_points_figure(table, comparison, path)
        return
    if costs:
        _write_costs_figure(table, comparison, costs, path)
        return
    figure = Figure(figsize=(1.6 + 1.3 * len(table.variants), 4.2), layout="constrained")
    axis = figure.subplots()
    column = comparison.columns.index("mIoU")
    for place, (model, cells) in enumerate(zip(comparison.models, comparison.cells, strict=True)):
        found = [run.scores[comparison.kind].overall["mIoU"] for run in model.runs]
        points = [100 * miou for miou in found if miou is not None]
        axis.plot([place] * len(points), points, "o", color="tab:blue", alpha=0.5)
        cell = cells[column]
        if cell.mean is None:
            continue
        deviation = 100 * (cell.std or 0)
        axis.errorbar(place, 100 * cell.mean, deviation, fmt="_", color="black", capsize=5, ms=18)
    names = [variant.name.replace(" + ", "\n+ ") for variant in table.variants]
    axis.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=8)
    axis.set(ylabel="mIoU, percent", title=table.title)
    axis.grid(axis="y", alpha=0.3)
    save_figure(figure, path)
