"""Ablations as data: which variants a table compares, and how they are run and put together.

Sources: BiCoR-Seg, arXiv 2512.20255, tables 4 and 5 and figure 3; D2LS, arXiv 2503.06683, its table
of dictionary and losses.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from network.config import Experiment, default_settings, override, settings
from network.datasets.files import replacing
from network.datasets.info import VAIHINGEN
from network.engine.comparison import Comparison, Model, check_runs_of_one_model, compare
from network.engine.comparison_tables import caption
from network.engine.evaluate import evaluate
from network.engine.protocol import defines_training
from network.engine.report.published import PUBLISHED
from network.engine.results import SCORES_FILE, read_result
from network.engine.train import train_once
from network.errors import InputError
from network.losses.bicor import BiCoRLoss
from network.losses.d2ls import D2LSLoss
from network.models.bicor import BiCoRSeg
from network.models.d2ls import D2LS

NETWORKS = {"bicor": (BiCoRSeg, BiCoRLoss), "d2ls": (D2LS, D2LSLoss)}

ABLATION_FILE = "ablation.json"

# Of the base config's model and loss, what every variant has too.
_SHARED = (
    *("model.encoder", "model.weights", "model.drop_path", "model.dim", "model.bands"),
    *("model.checkpoint_encoder", "model.checkpoint_decoder", "loss.smoothing"),
)


@dataclass(frozen=True)
class Variant:
    """One row.

    Attributes:
        network: a key of ``NETWORKS``.
        overrides: of its model and loss.
        published: mIoU in percent, by data set.
    """

    name: str
    network: str
    overrides: tuple[str, ...] = ()
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """Its name as that of a folder."""
        return re.sub(r"[^\w.=-]+", "_", self.name).strip("_")


@dataclass(frozen=True)
class Table:
    """The rows of one table, and what their names tell apart."""

    title: str
    variants: tuple[Variant, ...]


def _components(name: str, heatmap: float, fisher: float, published: float) -> Variant:
    options = ("model.layers=2", "model.aux=False")
    weights = (f"loss.heatmap={heatmap}", f"loss.fisher={fisher}")
    return Variant(name, "bicor", options + weights, {"loveda": published})


def _d2ls(name: str, published: Sequence[float], *overrides: str) -> Variant:
    """With the layers that D2LS has on the data set: two on Vaihingen, three elsewhere."""
    by_set = dict(zip(("loveda", "vaihingen", "grass"), published, strict=False))
    return Variant(name, "d2ls", overrides, by_set)


TABLES = {
    # All rows without the auxiliary output, of which the paper's text does not speak.
    "components": Table(
        "BiCoR-Seg, table 4: components",
        (
            Variant(
                "cross-attention baseline",
                "d2ls",
                ("model.layers=3", "model.aux=False", "loss.contrastive=0.0"),
                {"loveda": 54.20},
            ),
            _components("HBIS", 0.0, 0.0, 55.15),
            _components("HBIS + Fisher loss", 0.0, 0.1, 55.21),
            _components("HBIS + heatmap loss", 0.1, 0.0, 55.36),
            _components("HBIS + both", 0.1, 0.1, 55.49),
        ),
    ),
    "layers": Table(
        "BiCoR-Seg, table 5: HBIS layers",
        tuple(
            Variant(
                f"L = {layers}",
                "bicor",
                (f"model.layers={layers}",),
                {"loveda": loveda, "vaihingen": vaihingen},
            )
            for layers, loveda, vaihingen in (
                (1, 55.29, 84.54),
                (2, 55.49, 85.37),
                (3, 55.28, 84.67),
            )
        ),
    ),
    "topk": Table(
        "BiCoR-Seg, figure 3: share of the pixels that a class is refined from",
        tuple(
            Variant(f"ratio {ratio}", "bicor", ("model.layers=2", f"model.topk_ratio={ratio}"))
            for ratio in (0.005, 0.01, 0.02, 0.05, 0.1, 1.0)
        ),
    ),
    "d2ls": Table(
        "D2LS: dictionary and losses",
        (
            # The paper's "static loss only" is this network again, but for an unused generator.
            _d2ls(
                "without generator",
                (54.81, 84.40, 50.70),
                *("model.generator=False", "model.aux=False", "loss.contrastive=0.0"),
            ),
            _d2ls(
                "dynamic alone",
                (54.93, 85.17, 51.38),
                *("model.aux=False", "loss.contrastive=0.0"),
            ),
            _d2ls("static and dynamic", (54.95, 85.17, 51.53), "loss.contrastive=0.0"),
            _d2ls("all, with contrastive loss", (55.27, 85.27, 51.96)),
            _d2ls("embeddings of ones", (), *("model.embeddings=ones", "model.aux=False")),
            _d2ls("embeddings of zeros", (), *("model.embeddings=zeros", "model.aux=False")),
        ),
    ),
}


def variant_experiment(base: Experiment, table: str, variant: Variant, seed: int) -> Experiment:
    """The experiment of one run: data, optimizer and encoder of ``base``, else the variant's.

    Raises:
        InputError: the base's model has no encoder, or a value does not fit.
    """
    of_base = settings(base)
    if not {"model.encoder", "model.dim", "loss.smoothing"} <= of_base.keys():
        raise InputError(
            f"{base.config}: has no model.encoder, model.dim and loss.smoothing to ablate with; "
            "give a config of BiCoR-Seg or D2LS"
        )
    shared: dict[str, dict] = {"model": {}, "loss": {}}
    for key in _SHARED:
        section, _, name = key.partition(".")
        if key in of_base:
            shared[section][name] = of_base[key]
    network, loss = NETWORKS[variant.network]
    info = base.dataset
    if variant.network == "d2ls":
        shared["model"]["layers"] = 2 if info.name == VAIHINGEN.name else 3
    experiment = replace(
        base,
        model=partial(network, info.num_classes, **shared["model"]),
        loss=partial(loss, info.ignore_index, **shared["loss"]),
        name=f"ablation/{table}/{info.name}/{variant.slug}/seed{seed}",
        seed=seed,
    )
    return override(experiment, variant.overrides)


def check_overrides(words: Sequence[str]) -> None:
    """Raise an :class:`InputError` for an override that the variants would not heed."""
    for word in words:
        key = word.partition("=")[0]
        if key.startswith(("model.", "loss.")) and key not in _SHARED:
            raise InputError(
                f"override '{word}': is each variant's own; of model and loss only "
                f"{', '.join(_SHARED)} can be changed for all"
            )
        if key in ("seed", "name"):
            raise InputError(f"override '{word}': each run has its own; see --seeds")


def result_folder(output: Path, variant: Variant, seed: int) -> Path:
    """Where the test of one run leaves its masks and scores."""
    return output / variant.slug / f"seed{seed}"


def run_variant(experiment: Experiment, folder: Path, split: str, **options) -> None:
    """Train and test one run, each only as far as that is not done.

    Args:
        options: of the training, see :func:`network.engine.train.train`.
    """
    run = train_once(experiment, **options)
    checkpoint = run / ("best.ckpt" if experiment.data.val else "last.ckpt")
    evaluate(experiment, checkpoint=checkpoint, output=folder, split=split)


def claim_folder(output: Path, table: str, base: Experiment, split: str) -> None:
    """Make ``output`` the folder of this ablation.

    Raises:
        InputError: it is that of another one.
    """
    keys = {
        key: value
        for key, value in settings(base).items()
        if key in _SHARED
        or key == "data.root"
        or (defines_training(key) and not key.startswith(("model.", "loss.", "seed")))
    }
    own = {"table": table, "data_set": base.dataset.name, "split": split, **keys}
    own = json.loads(json.dumps(own))  # as it will be read back
    defaults = json.loads(json.dumps(default_settings(base), default=str))
    path = output / ABLATION_FILE
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = {}
        found = {key: default for key, default in defaults.items() if key in own} | found
        for key in own.keys() | found.keys():
            if own.get(key) != found.get(key):
                raise InputError(
                    f"{output}: holds another ablation ({key} {found.get(key)}, not "
                    f"{own.get(key)}); choose another -o"
                )
        return
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output}: holds other files; choose another -o")
    with replacing(path) as partial_file:
        partial_file.write_text(json.dumps(own, indent=2) + "\n")


def is_done(folder: Path) -> bool:
    """Whether a run has its scores."""
    return (folder / SCORES_FILE).is_file()


def collect(output: Path, table: Table, seeds: Sequence[int]) -> list[Comparison]:
    """The finished runs of ``output`` in one table for each kind of labels.

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


def to_markdown(table: Table, comparisons: Sequence[Comparison], data_set: str) -> str:
    """Mean and deviation over seeds of each variant.

    Beside them the published mIoU, where split and masks are those of the published rows.
    """
    parts = [
        f"{table.title}. Tested without augmentation. Published rows had more views, and their "
        "protocol is not known in full: compare differences within a column."
    ]
    for comparison in comparisons:
        protocol, stated = comparison.models[0].runs[0].protocol, PUBLISHED.get(data_set)
        is_same = stated and (stated.split, stated.kind) == (protocol["split"], comparison.kind)
        headings = [*comparison.columns[:3], "published mIoU"]
        rows = [
            f"| variant | runs | {' | '.join(headings)} |",
            "| --- | ---: |" + " ---: |" * len(headings),
        ]
        for variant, model, cells in zip(
            table.variants, comparison.models, comparison.cells, strict=True
        ):
            published = variant.published.get(data_set) if is_same else None
            shown = [_text(cell.mean, cell.std) for cell in cells[:3]]
            shown.append("-" if published is None else f"{published:.2f}")
            rows.append(f"| {variant.name} | {len(model.runs)} | {' | '.join(shown)} |")
        parts += [caption(comparison), "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _text(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    return f"{100 * mean:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def write_figure(table: Table, comparison: Comparison, path: Path) -> None:
    """mIoU of every run as a point, mean and deviation as a bar."""
    figure = Figure(figsize=(1.6 + 1.3 * len(table.variants), 4.2), layout="constrained")
    axis = figure.subplots()
    column = comparison.columns.index("mIoU")
    for place, (model, cells) in enumerate(zip(comparison.models, comparison.cells, strict=True)):
        points = [100 * run.scores[comparison.kind]["mIoU"] for run in model.runs]
        axis.plot([place] * len(points), points, "o", color="tab:blue", alpha=0.5)
        cell = cells[column]
        deviation = 100 * (cell.std or 0)
        axis.errorbar(place, 100 * cell.mean, deviation, fmt="_", color="black", capsize=5, ms=18)
    names = [variant.name.replace(" + ", "\n+ ") for variant in table.variants]
    axis.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=8)
    axis.set(ylabel="mIoU, percent", title=table.title)
    axis.grid(axis="y", alpha=0.3)
    with replacing(path) as partial_file:
        figure.savefig(partial_file, format="png", dpi=110)
